// A panel over the page. The browser's own <dialog> keeps the focus inside and closes on Escape.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../strings";
import { Icon } from "./icon";

interface Props {
  title: string;
  onClose(): void;
  children: ComponentChildren;
  /** A narrower or a wider panel. */
  size?: "small" | "medium";
  /** For panels that show their title in another way. */
  hideTitle?: boolean;
}

export function Dialog({ title, onClose, children, size = "small", hideTitle = false }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`dialog dialog-${size}`}
      aria-label={title}
      onClose={onClose}
      onPointerDown={(event) => {
        // Beside the panel, for the panel's own area is covered by its content.
        if (event.target === dialog.current) onClose();
      }}
    >
      <div class="dialog-body">
        {!hideTitle && (
          <div class="dialog-head">
            <h2>{title}</h2>
            <button type="button" class="icon-button" onClick={onClose} aria-label={t().close} title={t().close}>
              <Icon name="close" />
            </button>
          </div>
        )}
        {children}
      </div>
    </dialog>
  );
}
