import { useEffect, useRef, useState } from "preact/hooks";
import type { Message } from "../lib/conversation";
import { t } from "../strings";
import { CopyButton } from "../ui/copy-button";
import { Icon } from "../ui/icon";
import { edit, run } from "./actions";
import { FileChip } from "./file-chip";
import { Versions } from "./versions";
import { editing } from "./view";

/** Longer messages are folded. */
const LETTERS_SHOWN = 1200;
const LINES_SHOWN = 16;

export function QuestionView({ message, versions }: { message: Message; versions: Message[] }) {
  const [whole, setWhole] = useState(false);
  if (editing.value?.id === message.id) return <Editor message={message} />;
  const long = message.text.length > LETTERS_SHOWN || message.text.split("\n").length > LINES_SHOWN;
  return (
    <article class="question" aria-label={t().you}>
      {message.files && (
        <div class="chips">
          {message.files.map((file) => (
            <FileChip name={file.name} bytes={file.bytes} tokens={file.tokens} />
          ))}
        </div>
      )}
      {message.text && (
        <div class="bubble">
          <div class={long && !whole ? "bubble-text bubble-folded" : "bubble-text"}>{message.text}</div>
          {long && (
            <button type="button" class="link-button" onClick={() => setWhole(!whole)} aria-expanded={whole}>
              {whole ? t().showLess : t().showMore}
            </button>
          )}
        </div>
      )}
      <div class="actions">
        <Versions message={message} versions={versions} />
        <CopyButton text={() => message.text} label={t().copy} />
        <button
          type="button"
          class="icon-button"
          disabled={run.value !== null}
          onClick={() => (editing.value = message)}
          aria-label={t().edit}
          title={t().edit}
        >
          <Icon name="edit" size={16} />
        </button>
      </div>
    </article>
  );
}

function Editor({ message }: { message: Message }) {
  const [text, setText] = useState(message.text);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const element = area.current;
    element?.focus();
    element?.setSelectionRange(element.value.length, element.value.length);
  }, []);
  const close = () => {
    editing.value = null;
    document.getElementById("message")?.focus();
  };
  const ready = (text.trim() !== "" || message.files !== undefined) && run.value === null;
  const submit = () => {
    if (!ready) return;
    close();
    void edit(message, text.trim());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) submit();
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <article class="question question-editing">
      <textarea
        ref={area}
        class="field"
        rows={Math.min(12, Math.max(2, text.split("\n").length))}
        value={text}
        aria-label={t().editLabel}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="row-end">
        <button type="button" class="button" onClick={close}>
          {t().cancel}
        </button>
        <button type="button" class="button button-main" disabled={!ready} onClick={submit}>
          {t().sendEdited}
        </button>
      </div>
    </article>
  );
}
