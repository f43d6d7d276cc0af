import type { Conversation } from "../lib/conversation";
import { ageGroup } from "../lib/format";
import { t } from "../strings";
import { Icon } from "../ui/icon";
import { Mark } from "../ui/mark";
import { Menu } from "../ui/menu";
import { conversations, exportJson, go, lasting, openId } from "./library";
import { runs } from "./runs";
import { download } from "./save";
import { dialog, drawer, narrow, sidebar } from "./view";

const GROUPS = ["today", "yesterday", "week", "month", "older"] as const;

export function Sidebar() {
  const now = Date.now();
  const groups = GROUPS.map((name) => ({
    name,
    list: conversations.value.filter((c) => ageGroup(c.updated, now) === name),
  }));
  const hide = () => {
    if (narrow.value) drawer.value = false;
    else sidebar.value = false;
  };
  const startNew = () => {
    go(null);
    drawer.value = false;
    document.getElementById("message")?.focus();
  };
  return (
    <nav class="sidebar" aria-label={t().conversations}>
      <div class="sidebar-head">
        <span class="brand">
          <Mark />
          {t().appName}
        </span>
        <button type="button" class="icon-button" onClick={hide} aria-label={t().closeSidebar} title={t().closeSidebar}>
          <Icon name="panel" size={20} />
        </button>
      </div>
      <div class="sidebar-actions">
        <button type="button" class="side-button" onClick={startNew}>
          <Icon name="new" />
          <span>{t().newChat}</span>
          <kbd>Ctrl ⇧ O</kbd>
        </button>
        <button type="button" class="side-button" onClick={() => (dialog.value = { name: "search" })}>
          <Icon name="search" />
          <span>{t().search}</span>
          <kbd>Ctrl K</kbd>
        </button>
      </div>
      <div class="sidebar-list">
        {conversations.value.length === 0 && <p class="sidebar-empty">{t().noConversations}</p>}
        {!lasting.value && <p class="sidebar-empty">{t().notLasting}</p>}
        {groups.map(
          ({ name, list }) =>
            list.length > 0 && (
              <section key={name}>
                <h2>{t()[name]}</h2>
                <ul>
                  {list.map((conversation) => (
                    <Entry key={conversation.id} conversation={conversation} />
                  ))}
                </ul>
              </section>
            ),
        )}
      </div>
      <div class="sidebar-foot">
        <button type="button" class="side-button" onClick={() => (dialog.value = { name: "settings" })}>
          <Icon name="settings" />
          <span>{t().settings}</span>
        </button>
        <button
          type="button"
          class="icon-button"
          onClick={() => (dialog.value = { name: "help" })}
          aria-label={t().help}
          title={t().help}
        >
          <Icon name="keyboard" />
        </button>
      </div>
    </nav>
  );
}

function Entry({ conversation }: { conversation: Conversation }) {
  const title = conversation.title || t().untitled;
  const here = conversation.id === openId.value;
  const onClick = (event: MouseEvent) => {
    event.preventDefault();
    go(conversation.id);
    drawer.value = false;
  };
  const items = [
    { label: t().rename, icon: "edit", act: () => (dialog.value = { name: "rename", conversation }) },
    {
      label: t().export,
      icon: "export",
      act: () => void exportJson([conversation.id]).then((json) => download(json, title)),
    },
    { label: t().delete, icon: "delete", danger: true, act: () => (dialog.value = { name: "delete", conversation }) },
  ] as const;
  return (
    <li class={here ? "entry entry-here" : "entry"}>
      <a href={`#c=${conversation.id}`} onClick={onClick} aria-current={here ? "page" : undefined} title={title}>
        {runs.value.has(conversation.id) && <span class="entry-dot" role="img" aria-label={t().answering} />}
        {title}
      </a>
      <Menu
        label={t().more(title)}
        button={<Icon name="more" size={16} />}
        buttonClass="icon-button entry-more"
        items={[...items]}
        align="end"
      />
    </li>
  );
}
