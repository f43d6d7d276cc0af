import { t } from "../strings";
import { Icon } from "../ui/icon";
import { run } from "./actions";
import { Composer } from "./composer";
import { Dialogs } from "./dialogs";
import { DropTarget } from "./drop";
import { Header } from "./header";
import { Problems } from "./problems";
import { Sidebar } from "./sidebar";
import { Thread } from "./thread";
import { announcement, drawer, narrow, notice, sidebar } from "./view";

export function App() {
  const shown = narrow.value ? drawer.value : sidebar.value;
  return (
    <div class={`app ${shown ? "with-sidebar" : ""}`}>
      <a class="skip" href="#message" onClick={focusMessage}>
        {t().skipToMessage}
      </a>
      {shown && <Sidebar />}
      {shown && narrow.value && <div class="scrim" onClick={() => (drawer.value = false)} />}
      <main class="main">
        <Header />
        <Thread />
        <Problems />
        <Composer />
      </main>
      <DropTarget />
      <Dialogs />
      {notice.value && (
        <div class={`notice ${notice.value.bad ? "notice-bad" : ""}`} role={notice.value.bad ? "alert" : "status"}>
          {notice.value.bad && <Icon name="alert" />}
          <span>{notice.value.text}</span>
          <button type="button" class="icon-button" onClick={() => (notice.value = null)} aria-label={t().close}>
            <Icon name="close" size={16} />
          </button>
        </div>
      )}
      <div class="visually-hidden" role="status" aria-live="polite">
        {run.value ? t().answering : announcement.value}
      </div>
    </div>
  );
}

function focusMessage(event: Event): void {
  event.preventDefault();
  document.getElementById("message")?.focus();
}
