// The conversations, and which of them is open.

import { computed, signal } from "@preact/signals";
import {
  choose,
  type Conversation,
  type Message,
  newId,
  NO_SETTINGS,
  type Settings,
  shownPath,
} from "../lib/conversation";
import { remembered } from "../lib/remembered";
import { openStore, type Store } from "../lib/store";
import { type Bundle, exported, imported } from "../lib/transfer";

let store: Store;

/** Newest first. */
export const conversations = signal<Conversation[]>([]);
export const lasting = signal(true);
/** The open conversation's id; null on the empty page. */
export const openId = signal<string | null>(null);
/** All messages of the open conversation, shown or not. */
export const messages = signal<Message[]>([]);

export const open = computed(() => conversations.value.find((c) => c.id === openId.value) ?? null);
export const path = computed(() => (open.value ? shownPath(open.value, messages.value) : []));

/** Settings for new conversations. */
export const defaults = remembered<Settings>("settings", NO_SETTINGS, (v) => ({ ...NO_SETTINGS, ...(v as Settings) }));
/** Settings of the conversation that does not exist yet. */
export const unsaved = signal<Settings>(defaults.value);
export const settings = computed(() => open.value?.settings ?? unsaved.value);

/** Tells other tabs of changes. */
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("fathom.conversations");
const tell = () => channel?.postMessage("changed");

export async function openLibrary(): Promise<void> {
  store = await openStore();
  lasting.value = store.lasting;
  conversations.value = await store.conversations();
  await follow();
  addEventListener("hashchange", () => void follow());
  if (channel) {
    channel.onmessage = async () => {
      conversations.value = await store.conversations();
      if (openId.value) messages.value = merged(await store.messages(openId.value));
    };
  }
}

/** Messages of another tab; what is written here just now is newer than what is stored. */
function merged(stored: Message[]): Message[] {
  const here = new Map(messages.value.map((m) => [m.id, m]));
  return stored.map((m) => (here.get(m.id)?.text.length ?? 0) > m.text.length ? (here.get(m.id) as Message) : m);
}

/** Opens what the address says. */
async function follow(): Promise<void> {
  const id = /^#c=([0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;
  const known = id !== null && conversations.value.some((c) => c.id === id) ? id : null;
  if (known === openId.value) return;
  if (known === null) {
    openId.value = null;
    messages.value = [];
    unsaved.value = defaults.value;
    return;
  }
  const loaded = await store.messages(known);
  openId.value = known;
  messages.value = loaded;
}

export function go(id: string | null): void {
  const hash = id === null ? "" : `#c=${id}`;
  if (location.hash === hash) return;
  history.pushState(null, "", hash || location.pathname);
  void follow();
}

/** Makes a conversation and opens it. */
export function begin(title: string, model: string): Conversation {
  const now = Date.now();
  const made: Conversation = {
    id: newId(),
    title,
    created: now,
    updated: now,
    settings: unsaved.value,
    model,
    thinking: null,
    chosen: {},
  };
  conversations.value = [made, ...conversations.value];
  openId.value = made.id;
  messages.value = [];
  history.pushState(null, "", `#c=${made.id}`);
  return made;
}

/** Adds or replaces messages and shows them. */
export async function put(id: string, ...changed: Message[]): Promise<void> {
  let conversation = conversations.value.find((c) => c.id === id);
  if (!conversation) return;
  for (const message of changed) conversation = choose(conversation, message);
  await keep({ ...conversation, updated: Date.now() }, ...changed);
}

/** Stores messages as they are while they are written, without moving anything. */
export async function keep(conversation: Conversation, ...changed: Message[]): Promise<void> {
  if (!conversations.value.some((c) => c.id === conversation.id)) return;
  const others = conversations.value.filter((c) => c.id !== conversation.id);
  conversations.value = [conversation, ...others].sort((a, b) => b.updated - a.updated);
  if (conversation.id === openId.value && changed.length > 0) {
    const ids = new Set(changed.map((m) => m.id));
    messages.value = [...messages.value.filter((m) => !ids.has(m.id)), ...changed];
  }
  await store.put(conversation, ...changed);
  tell();
}

/** Stores an unfinished answer, so that it is there if the page goes away. */
export async function checkpoint(message: Message): Promise<void> {
  const conversation = conversations.value.find((c) => c.id === message.conversation);
  if (conversation) await store.put(conversation, message);
}

export async function show(message: Message): Promise<void> {
  if (open.value) await keep(choose(open.value, message));
}

export async function rename(conversation: Conversation, title: string): Promise<void> {
  await keep({ ...conversation, title });
}

export async function setSettings(next: Settings): Promise<void> {
  if (open.value) await keep({ ...open.value, settings: next });
  else unsaved.value = next;
}

export async function remove(ids: readonly string[]): Promise<void> {
  const gone = new Set(ids);
  conversations.value = conversations.value.filter((c) => !gone.has(c.id));
  if (openId.value && gone.has(openId.value)) go(null);
  for (const id of ids) await store.remove(id);
  tell();
}

export const search = (text: string) => store.search(text, 40);

export async function exportJson(ids: readonly string[]): Promise<string> {
  const bundles: Bundle[] = [];
  for (const conversation of conversations.value.filter((c) => ids.includes(c.id))) {
    bundles.push({ conversation, messages: await store.messages(conversation.id) });
  }
  return exported(bundles);
}

/** Adds the conversations of a file and says how many there were. */
export async function importJson(file: string): Promise<number> {
  const bundles = imported(file);
  for (const { conversation, messages: said } of bundles) await store.put(conversation, ...said);
  conversations.value = await store.conversations();
  tell();
  return bundles.length;
}
