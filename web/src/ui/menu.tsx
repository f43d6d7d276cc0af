// A button that opens a list of choices or actions.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icon";

export interface Item {
  label: string;
  note?: string;
  icon?: IconName;
  /** For choices: whether this one is chosen. */
  chosen?: boolean;
  danger?: boolean;
  act(): void;
}

interface Props {
  label: string;
  button: ComponentChildren;
  buttonClass: string;
  items: Item[];
  /** Where the list opens. */
  place?: "below" | "above";
  align?: "start" | "end";
  heading?: string;
}

export function Menu({ label, button, buttonClass, items, place = "below", align = "start", heading }: Props) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
  const choices = items.some((item) => item.chosen !== undefined);

  useEffect(() => {
    if (!open) return;
    const buttons = itemsOf(root.current);
    (buttons.find((b) => b.getAttribute("aria-checked") === "true") ?? buttons[0])?.focus();
    const away = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [open]);

  const close = () => {
    setOpen(false);
    trigger.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return;
    const buttons = itemsOf(root.current);
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) {
      buttons.at(to % buttons.length)?.focus();
    } else if (event.key === "Escape") {
      close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button
        ref={trigger}
        type="button"
        class={buttonClass}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-label={label}
        title={label}
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        <div class={`menu-list menu-${place} menu-${align}`} role="menu" aria-label={label}>
          {heading && <div class="menu-heading">{heading}</div>}
          {items.map((item) => (
            <button
              key={item.label}
              type="button"
              role={choices ? "menuitemradio" : "menuitem"}
              aria-checked={choices ? item.chosen === true : undefined}
              class={item.danger ? "menu-item menu-danger" : "menu-item"}
              onClick={() => {
                close();
                item.act();
              }}
            >
              {item.icon && <Icon name={item.icon} size={16} />}
              <span class="menu-text">
                <span>{item.label}</span>
                {item.note && <span class="menu-note">{item.note}</span>}
              </span>
              {item.chosen && <Icon name="check" size={16} />}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function itemsOf(root: HTMLElement | null): HTMLButtonElement[] {
  return [...(root?.querySelectorAll<HTMLButtonElement>(".menu-item") ?? [])];
}
