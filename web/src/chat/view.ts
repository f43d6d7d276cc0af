// What lies over the conversation.

import { signal } from "@preact/signals";
import type { Conversation, Message } from "../lib/conversation";
import { remembered } from "../lib/remembered";

export type DialogState =
  | { name: "search" | "settings" | "help" | "key" }
  | { name: "rename" | "delete"; conversation: Conversation }
  | { name: "delete-all" };

export const dialog = signal<DialogState | null>(null);

/** Whether the list of conversations is shown beside, on wide windows. */
export const sidebar = remembered("sidebar", true, (v) => v !== false);
/** Whether it is shown over the page, on narrow ones. */
export const drawer = signal(false);

export const narrow = signal(false);
const query = matchMedia("(max-width: 52rem)");
narrow.value = query.matches;
query.addEventListener("change", () => {
  narrow.value = query.matches;
  drawer.value = false;
});

/** The message that is being edited. */
export const editing = signal<Message | null>(null);

/** Said to screen readers. */
export const announcement = signal("");

/** A sentence at the foot of the page, for a while. */
export const notice = signal<{ text: string; bad: boolean } | null>(null);
let timer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string, bad = false): void {
  notice.value = { text, bad };
  clearTimeout(timer);
  timer = setTimeout(() => {
    notice.value = null;
  }, bad ? 8000 : 3000);
}
