import { useState } from "preact/hooks";
import { t } from "../strings";
import { Dialog } from "../ui/dialog";
import { conversations, remove, rename } from "./library";
import { KeyDialog } from "./key-dialog";
import { SearchDialog } from "./search";
import { SettingsDialog } from "./settings";
import { runs } from "./runs";
import { dialog } from "./view";

export function Dialogs() {
  const state = dialog.value;
  const close = () => {
    if (dialog.value === state) dialog.value = null;
  };
  switch (state?.name) {
    case undefined:
      return null;
    case "search":
      return <SearchDialog onClose={close} />;
    case "settings":
      return <SettingsDialog onClose={close} />;
    case "help":
      return <Help onClose={close} />;
    case "key":
      return <KeyDialog onClose={close} />;
    case "rename":
      return <Rename key={state.conversation.id} {...state} onClose={close} />;
    case "delete":
      return (
        <Confirm
          question={t().deleteQuestion(state.conversation.title || t().untitled)}
          onConfirm={() => removeAll([state.conversation.id])}
          onClose={close}
        />
      );
    case "delete-all":
      return (
        <Confirm
          question={t().deleteAllQuestion(conversations.value.length)}
          onConfirm={() => removeAll(conversations.value.map((c) => c.id))}
          onClose={close}
        />
      );
  }
}

function removeAll(ids: string[]): void {
  for (const id of ids) runs.value.get(id)?.stop();
  void remove(ids);
}

function Confirm(props: { question: string; onConfirm(): void; onClose(): void }) {
  return (
    <Dialog title={props.question} onClose={props.onClose}>
      <p class="quiet">{t().deleteDetail}</p>
      <div class="row-end">
        <button type="button" class="button" onClick={props.onClose}>
          {t().cancel}
        </button>
        <button
          type="button"
          class="button button-danger"
          onClick={() => {
            props.onConfirm();
            props.onClose();
          }}
        >
          {t().delete}
        </button>
      </div>
    </Dialog>
  );
}

function Rename({ conversation, onClose }: { conversation: Parameters<typeof rename>[0]; onClose(): void }) {
  const [title, setTitle] = useState(conversation.title);
  const submit = (event: Event) => {
    event.preventDefault();
    if (!title.trim()) return;
    void rename(conversation, title.trim());
    onClose();
  };
  return (
    <Dialog title={t().rename} onClose={onClose}>
      <form onSubmit={submit}>
        <input
          class="field"
          value={title}
          maxLength={200}
          aria-label={t().title}
          onInput={(event) => setTitle(event.currentTarget.value)}
          autofocus
        />
        <div class="row-end">
          <button type="button" class="button" onClick={onClose}>
            {t().cancel}
          </button>
          <button type="submit" class="button button-main" disabled={!title.trim()}>
            {t().save}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Help({ onClose }: { onClose(): void }) {
  const command = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
  const keys: [string[], string][] = [
    [["Enter"], t().keySend],
    [["Shift", "Enter"], t().keyNewline],
    [["Esc"], t().keyStop],
    [["↑"], t().keyEdit],
    [[command, "K"], t().keySearch],
    [[command, "Shift", "O"], t().keyNew],
    [[command, "Shift", "S"], t().keySidebar],
    [["?"], t().keyHelp],
  ];
  return (
    <Dialog title={t().help} onClose={onClose}>
      <dl class="keys">
        {keys.map(([names, text]) => (
          <div key={text}>
            <dt>{text}</dt>
            <dd>
              {names.map((name) => (
                <kbd key={name}>{name}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
