// Conversations in the browser's database, which no server sees.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Conversation, Message } from "./conversation";

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
  messages: { key: string; value: Message; indexes: { conversation: string } };
}

export interface Store {
  /** Whether conversations are still there after the page is closed. */
  readonly lasting: boolean;
  /** Newest first. */
  conversations(): Promise<Conversation[]>;
  messages(conversation: string): Promise<Message[]>;
  put(conversation: Conversation, ...messages: Message[]): Promise<void>;
  remove(conversation: string): Promise<void>;
  /** Removes messages of a conversation that stays. */
  removeMessages(ids: string[]): Promise<void>;
  /** Conversations in whose messages `text` occurs, with the place, newest first. */
  search(text: string, limit: number): Promise<Found[]>;
}

export interface Found {
  conversation: Conversation;
  /** Some words around the place; empty if only the title fits. */
  excerpt: string;
}

/** The browser's database, or memory where the browser has none for us (a private window). */
export async function openStore(name = "fathom"): Promise<Store> {
  try {
    const database = await openDB<Schema>(name, 1, {
      upgrade(db) {
        db.createObjectStore("conversations", { keyPath: "id" });
        db.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
      },
    });
    // Asks the browser not to clear it when the disk runs short; it may say no.
    globalThis.navigator?.storage?.persist?.().catch(() => false);
    return new DatabaseStore(database);
  } catch {
    return new MemoryStore();
  }
}

const newestFirst = (a: Conversation, b: Conversation) => b.updated - a.updated;

class DatabaseStore implements Store {
  readonly lasting = true;
  constructor(private readonly db: IDBPDatabase<Schema>) {}

  async conversations() {
    return (await this.db.getAll("conversations")).sort(newestFirst);
  }

  messages(conversation: string) {
    return this.db.getAllFromIndex("messages", "conversation", conversation);
  }

  async put(conversation: Conversation, ...messages: Message[]) {
    const tx = this.db.transaction(["conversations", "messages"], "readwrite");
    const writes = messages.map((message) => tx.objectStore("messages").put(message));
    await Promise.all([tx.objectStore("conversations").put(conversation), ...writes, tx.done]);
  }

  async remove(conversation: string) {
    const tx = this.db.transaction(["conversations", "messages"], "readwrite");
    const messages = tx.objectStore("messages");
    const keys = await messages.index("conversation").getAllKeys(conversation);
    await Promise.all([
      tx.objectStore("conversations").delete(conversation),
      ...keys.map((key) => messages.delete(key)),
      tx.done,
    ]);
  }

  async removeMessages(ids: string[]) {
    const tx = this.db.transaction("messages", "readwrite");
    await Promise.all([...ids.map((id) => tx.store.delete(id)), tx.done]);
  }

  async search(text: string, limit: number) {
    const found = new Map<string, string>();
    const wanted = text.toLowerCase();
    for (let at = await this.db.transaction("messages").store.openCursor(); at; at = await at.continue()) {
      const { conversation, text: said } = at.value;
      if (!found.has(conversation)) {
        const excerpt = excerptOf(said, wanted);
        if (excerpt) found.set(conversation, excerpt);
      }
    }
    return pick(await this.conversations(), found, wanted, limit);
  }
}

class MemoryStore implements Store {
  readonly lasting = false;
  private readonly all = new Map<string, Conversation>();
  private readonly said = new Map<string, Message>();

  async conversations() {
    return [...this.all.values()].sort(newestFirst);
  }

  async messages(conversation: string) {
    return [...this.said.values()].filter((m) => m.conversation === conversation);
  }

  async put(conversation: Conversation, ...messages: Message[]) {
    this.all.set(conversation.id, conversation);
    for (const message of messages) this.said.set(message.id, message);
  }

  async remove(conversation: string) {
    this.all.delete(conversation);
    for (const message of await this.messages(conversation)) this.said.delete(message.id);
  }

  async removeMessages(ids: string[]) {
    for (const id of ids) this.said.delete(id);
  }

  async search(text: string, limit: number) {
    const found = new Map<string, string>();
    const wanted = text.toLowerCase();
    for (const message of this.said.values()) {
      const excerpt = excerptOf(message.text, wanted);
      if (excerpt) found.set(message.conversation, excerpt);
    }
    return pick(await this.conversations(), found, wanted, limit);
  }
}

function pick(all: Conversation[], found: Map<string, string>, wanted: string, limit: number): Found[] {
  return all
    .filter((c) => found.has(c.id) || c.title.toLowerCase().includes(wanted))
    .slice(0, limit)
    .map((conversation) => ({ conversation, excerpt: found.get(conversation.id) ?? "" }));
}

/** Words around the first place where `wanted`, in lower case, occurs. */
export function excerptOf(text: string, wanted: string): string {
  const at = text.toLowerCase().indexOf(wanted);
  if (at < 0) return "";
  const from = Math.max(0, at - 30);
  const cut = text.slice(from, at + wanted.length + 60).replace(/\s+/g, " ").trim();
  return `${from > 0 ? "…" : ""}${cut}`;
}
