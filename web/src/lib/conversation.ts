// A conversation is a tree: editing a message or asking for another answer adds a sibling, and `chosen` says which of
// the siblings is shown. Nothing here touches the page or the store.

import type { Money } from "./money";

export type Thinking = "off" | "low" | "high" | "max";

/** Why an answer ended. `stopped`: by the reader; `lost`: the connection broke; `error`: it never began. */
export type Finish = "stop" | "length" | "filter" | "stopped" | "lost" | "error";

export interface Attachment {
  name: string;
  bytes: number;
  /** Counted by the server; null where it could not be asked. */
  tokens: number | null;
  text: string;
}

/** Tokens of one request. prompt = hit + miss; output includes reasoning. */
export interface Usage {
  prompt: number;
  hit: number;
  miss: number;
  output: number;
  reasoning: number;
}

/** Why there is no answer, or no more of it. */
export interface Problem {
  kind: "key" | "balance" | "busy" | "request" | "server" | "network";
  /** What the server said, if anything. */
  detail: string;
}

export interface Message {
  id: string;
  conversation: string;
  parent: string | null;
  role: "user" | "assistant";
  text: string;
  /** Milliseconds since 1970. */
  created: number;
  files?: Attachment[];
  reasoning?: string;
  reasoningMs?: number;
  /** Time from the first token to the last. */
  writingMs?: number;
  model?: string;
  thinking?: Thinking;
  finish?: Finish;
  problem?: Problem;
  /** Of the last request; an answer that was continued has had several. */
  usage?: Usage;
  /** Of all requests that made this answer. */
  cost?: Money;
}

/** How to answer; what is absent is left to the model's own recommendation. */
export interface Settings {
  system: string;
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
}

export const NO_SETTINGS: Settings = { system: "", temperature: null, topP: null, maxTokens: null };

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  settings: Settings;
  model: string | null;
  thinking: Thinking | null;
  /** Parent id ("" for the first messages) to the id of the child that is shown. */
  chosen: Record<string, string>;
}

const key = (parent: string | null) => parent ?? "";

/** Messages with the same parent, oldest first. */
export function siblings(messages: readonly Message[], parent: string | null): Message[] {
  return messages.filter((m) => m.parent === parent).sort((a, b) => a.created - b.created);
}

/** The messages that are shown, first to last. */
export function shownPath(conversation: Conversation, messages: readonly Message[]): Message[] {
  const children = new Map<string, Message[]>();
  for (const message of messages) {
    const list = children.get(key(message.parent));
    if (list) list.push(message);
    else children.set(key(message.parent), [message]);
  }
  const path: Message[] = [];
  let parent = "";
  for (;;) {
    const list = children.get(parent);
    if (!list) return path;
    // A damaged import could hold a circle; each message is visited once.
    children.delete(parent);
    const wanted = conversation.chosen[parent];
    const newest = list.reduce((a, b) => (b.created >= a.created ? b : a));
    const message = list.find((m) => m.id === wanted) ?? newest;
    path.push(message);
    parent = message.id;
  }
}

/** The messages from the first to `id`, whatever is shown. */
export function pathTo(messages: readonly Message[], id: string): Message[] {
  const byId = new Map(messages.map((m) => [m.id, m]));
  const path: Message[] = [];
  for (let at = byId.get(id); at; at = at.parent === null ? undefined : byId.get(at.parent)) {
    byId.delete(at.id);
    path.unshift(at);
  }
  return path;
}

/** The conversation with `message` shown among its siblings. */
export function choose(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, chosen: { ...conversation.chosen, [key(message.parent)]: message.id } };
}

/** A title from what was said first. */
export function titleFrom(text: string, files: readonly Attachment[] = []): string {
  const line = text.trim().split("\n")[0]?.trim() || files.map((f) => f.name).join(", ");
  const characters = [...line];
  return characters.length > 60 ? `${characters.slice(0, 59).join("").trimEnd()}…` : line;
}

/** An id that sorts and collides with nothing. */
export function newId(): string {
  // Pages on other machines than localhost have no randomUUID without TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}
