import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Thinking } from "../lib/conversation";
import { count } from "../lib/format";
import { forecast } from "../lib/meter";
import { locale, t } from "../strings";
import { Icon } from "../ui/icon";
import { Menu } from "../ui/menu";
import { model, pickThinking, run, send, thinking } from "./actions";
import { addFiles, clear, draftTokens, files, removeFile, setText, text } from "./draft";
import { FileChip } from "./file-chip";
import { openId, path } from "./library";
import { Meter } from "./meter";
import { editing, narrow, say } from "./view";

export function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);

  // As high as its text, up to a limit that the style sets.
  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "0";
    element.style.height = `${element.scrollHeight}px`;
  }, [text.value, narrow.value]);

  // Phones would open their keyboard.
  useEffect(() => {
    if (!narrow.value) area.current?.focus();
  }, [openId.value]);

  const counting = files.value.some((file) => file.tokens === undefined);
  const ready = model.value !== null && !run.value && !counting && (text.value.trim() !== "" || files.value.length > 0);

  const submit = () => {
    const current = model.value;
    if (!ready || !current) return;
    const { hit, miss } = forecast(path.value, draftTokens.value);
    if (hit + miss >= current.context) {
      say(t().tooLong(count(hit + miss, locale.value), count(current.context, locale.value)), true);
      return;
    }
    const attached = files.value.map(({ name, bytes, text: content, tokens }) => ({
      name,
      bytes,
      text: content,
      tokens: tokens ?? null,
    }));
    const said = text.value.trim();
    clear();
    void send(said, attached);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    // Enter ends a word in an input method for Chinese; it does not send.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && text.value === "" && !run.value) {
      const last = path.value.findLast((m) => m.role === "user");
      if (!last) return;
      event.preventDefault();
      editing.value = last;
    }
  };

  const onPaste = (event: ClipboardEvent) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length === 0) return;
    event.preventDefault();
    void addFiles(pasted);
  };

  return (
    <div class="composer-area">
      <div class="composer" onClick={(event) => event.target === event.currentTarget && area.current?.focus()}>
        {files.value.length > 0 && (
          <div class="chips">
            {files.value.map((file) => (
              <FileChip key={file.id} {...file} onRemove={() => removeFile(file.id)} />
            ))}
          </div>
        )}
        <textarea
          id="message"
          ref={area}
          rows={1}
          value={text.value}
          placeholder={t().placeholder}
          aria-label={t().placeholder}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          onPaste={onPaste}
          enterkeyhint="send"
        />
        <div class="composer-row">
          <button
            type="button"
            class="icon-button"
            onClick={() => picker.current?.click()}
            aria-label={t().attach}
            title={`${t().attach}: ${t().dropNote}`}
          >
            <Icon name="attach" size={20} />
          </button>
          <input
            ref={picker}
            type="file"
            multiple
            hidden
            onChange={(event) => {
              const input = event.currentTarget;
              void addFiles([...(input.files ?? [])]);
              input.value = "";
            }}
          />
          <ThinkingSwitch />
          <span class="spacer" />
          <Meter />
          {run.value ? (
            <button type="button" class="send" onClick={() => run.value?.stop()} aria-label={t().stop} title={`${t().stop} (Esc)`}>
              <Icon name="stop" size={16} />
            </button>
          ) : (
            <button type="button" class="send" disabled={!ready} onClick={submit} aria-label={t().send} title={t().send}>
              <Icon name="up" size={20} />
            </button>
          )}
        </div>
      </div>
      <p class="footnote">{t().footnote}</p>
    </div>
  );
}

function ThinkingSwitch() {
  const levels = model.value?.thinking ?? [];
  if (levels.length < 2) return null;
  const names: Record<Thinking, [string, string]> = {
    off: [t().thinkingOff, t().thinkingOffNote],
    low: [t().thinkingLow, t().thinkingLowNote],
    high: [t().thinkingHigh, t().thinkingHighNote],
    max: [t().thinkingMax, t().thinkingMaxNote],
  };
  const now = thinking.value;
  const button = (
    <>
      <Icon name="thinking" size={18} />
      <span>
        {t().thinking}
        <span class="pill-value">: {names[now][0]}</span>
      </span>
    </>
  );
  return (
    <Menu
      label={`${t().thinking}: ${names[now][0]}`}
      button={button}
      buttonClass={now === "off" ? "pill" : "pill pill-on"}
      place="above"
      heading={t().thinking}
      items={levels.map((level) => ({
        label: names[level][0],
        note: names[level][1],
        chosen: level === now,
        act: () => pickThinking(level),
      }))}
    />
  );
}
