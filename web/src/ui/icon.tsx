// Icons, drawn by Lucide (ISC licence).

import {
  ArrowDown, ArrowUp, Check, ChevronDown, ChevronLeft, ChevronRight, CircleAlert, Copy, Download, Ellipsis, FileText,
  KeyRound, Keyboard, Lightbulb, Menu, PanelLeft, Paperclip, Pencil, RefreshCw, Search, Settings, Square, SquarePen,
  Trash2, Upload, X, type IconNode,
} from "lucide";
import { h } from "preact";

const ICONS = {
  down: ArrowDown, up: ArrowUp, check: Check, open: ChevronDown, left: ChevronLeft, right: ChevronRight,
  alert: CircleAlert, copy: Copy, export: Download, more: Ellipsis, file: FileText, key: KeyRound, keyboard: Keyboard,
  thinking: Lightbulb, menu: Menu, panel: PanelLeft, attach: Paperclip, edit: Pencil, again: RefreshCw,
  search: Search, settings: Settings, stop: Square, new: SquarePen, delete: Trash2, import: Upload, close: X,
} satisfies Record<string, IconNode>;

export type IconName = keyof typeof ICONS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.75"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {ICONS[name].map(([tag, attributes]) => h(tag, attributes as object))}
    </svg>
  );
}
