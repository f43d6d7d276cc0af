import { useEffect, useState } from "preact/hooks";
import { time } from "../lib/format";
import type { Found } from "../lib/store";
import { locale, t } from "../strings";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { conversations, go, search } from "./library";

/** Finds conversations by title and by what was said. */
export function SearchDialog({ onClose }: { onClose(): void }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<Found[]>([]);
  const [at, setAt] = useState(0);
  useEffect(() => {
    const wanted = text.trim();
    if (!wanted) {
      setFound(conversations.value.slice(0, 12).map((conversation) => ({ conversation, excerpt: "" })));
      setAt(0);
      return;
    }
    let gone = false;
    const timer = setTimeout(() => {
      void search(wanted).then((list) => {
        if (gone) return;
        setFound(list);
        setAt(0);
      });
    }, 120);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [text]);

  const open = (item: Found | undefined) => {
    if (!item) return;
    onClose();
    go(item.conversation.id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") setAt(Math.min(at + 1, found.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
    else if (event.key === "Enter") open(found[at]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title={t().search} onClose={onClose} size="medium" hideTitle>
      <div class="search-head">
        <Icon name="search" />
        <input
          value={text}
          placeholder={t().searchPlaceholder}
          role="combobox"
          aria-label={t().searchPlaceholder}
          aria-expanded="true"
          aria-controls="found"
          aria-activedescendant={found[at] ? `found-${at}` : undefined}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          autofocus
        />
        <button type="button" class="icon-button" onClick={onClose} aria-label={t().close}>
          <Icon name="close" />
        </button>
      </div>
      <ul class="found" id="found" role="listbox" aria-label={t().conversations}>
        {found.map((item, index) => (
          <li
            key={item.conversation.id}
            id={`found-${index}`}
            role="option"
            aria-selected={index === at}
            onClick={() => open(item)}
            onPointerMove={() => setAt(index)}
          >
            <span class="found-title">{item.conversation.title || t().untitled}</span>
            <span class="found-time">{time(item.conversation.updated, locale.value)}</span>
            {item.excerpt && <span class="found-text">{item.excerpt}</span>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="found-none">{text.trim() ? t().searchNothing : t().noConversations}</p>}
    </Dialog>
  );
}
