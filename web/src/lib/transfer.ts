// Conversations as a file, and back. What comes back is somebody's file: every field is looked at.

import {
  type Attachment,
  type Conversation,
  type Finish,
  type Message,
  newId,
  NO_SETTINGS,
  type Thinking,
  type Usage,
} from "./conversation";
import type { Money } from "./money";

export const FORMAT = "fathom-conversations";

export interface Bundle {
  conversation: Conversation;
  messages: Message[];
}

export class ImportError extends Error {}

export function exported(bundles: readonly Bundle[]): string {
  const conversations = bundles.map(({ conversation, messages }) => ({ ...conversation, messages }));
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** Conversations of a file, under new ids, so that what is here already is never overwritten. */
export function imported(file: string): Bundle[] {
  let data: unknown;
  try {
    data = JSON.parse(file);
  } catch {
    throw new ImportError("not JSON");
  }
  const outer = record(data);
  if (!outer || outer["format"] !== FORMAT) throw new ImportError("not an export of this page");
  if (outer["version"] !== 1) throw new ImportError(`version ${String(outer["version"])}, expected 1`);
  if (!Array.isArray(outer["conversations"])) throw new ImportError("no conversations");
  return outer["conversations"].map(bundle);
}

type Fields = Record<string, unknown>;

function record(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number | null => (typeof value === "number" && Number.isFinite(value) ? value : null);

function oneOf<T extends string>(value: unknown, choices: readonly T[]): T | undefined {
  return choices.find((choice) => choice === value);
}

const THINKING: readonly Thinking[] = ["off", "low", "high", "max"];
const FINISH: readonly Finish[] = ["stop", "length", "filter", "stopped", "lost", "error"];

function bundle(value: unknown, index: number): Bundle {
  const from = record(value);
  if (!from || !Array.isArray(from["messages"])) throw new ImportError(`conversation ${index + 1} has no messages`);
  const id = newId();
  // Ids of messages are renamed together, before anything refers to them.
  const ids = new Map<string, string>();
  const raw = from["messages"].map(record);
  for (const message of raw) {
    const old = text(message?.["id"]);
    if (!message || !old || ids.has(old)) throw new ImportError(`conversation ${index + 1} has a message without an id of its own`);
    ids.set(old, newId());
  }
  const messages = raw.map((message) => messageOf(message as Fields, id, ids));
  const chosen: Record<string, string> = {};
  for (const [parent, child] of Object.entries(record(from["chosen"]) ?? {})) {
    const [a, b] = [parent === "" ? "" : ids.get(parent), ids.get(text(child))];
    if (a !== undefined && b !== undefined) chosen[a] = b;
  }
  const settings = record(from["settings"]) ?? {};
  const now = Date.now();
  return {
    conversation: {
      id,
      title: text(from["title"]).slice(0, 200),
      created: number(from["created"]) ?? now,
      updated: number(from["updated"]) ?? now,
      settings: {
        ...NO_SETTINGS,
        system: text(settings["system"]),
        temperature: number(settings["temperature"]),
        topP: number(settings["topP"]),
        maxTokens: number(settings["maxTokens"]),
      },
      model: text(from["model"]) || null,
      thinking: oneOf(from["thinking"], THINKING) ?? null,
      chosen,
    },
    messages,
  };
}

function messageOf(from: Fields, conversation: string, ids: Map<string, string>): Message {
  const role = oneOf(from["role"], ["user", "assistant"] as const);
  if (!role) throw new ImportError(`a message's role is ${JSON.stringify(from["role"])}, expected user or assistant`);
  const parent = from["parent"] === null ? null : ids.get(text(from["parent"]));
  if (parent === undefined) throw new ImportError("a message answers one that is not in the file");
  const message: Message = {
    id: ids.get(text(from["id"])) as string,
    conversation,
    parent,
    role,
    text: text(from["text"]),
    created: number(from["created"]) ?? 0,
  };
  if (Array.isArray(from["files"])) message.files = from["files"].map(record).filter((f) => f !== null).map(fileOf);
  if (typeof from["reasoning"] === "string") message.reasoning = from["reasoning"];
  const reasoningMs = number(from["reasoningMs"]);
  if (reasoningMs !== null) message.reasoningMs = reasoningMs;
  const writingMs = number(from["writingMs"]);
  if (writingMs !== null) message.writingMs = writingMs;
  if (typeof from["model"] === "string") message.model = from["model"];
  const thinking = oneOf(from["thinking"], THINKING);
  if (thinking) message.thinking = thinking;
  if (role === "assistant") message.finish = oneOf(from["finish"], FINISH) ?? "stop";
  const usage = usageOf(record(from["usage"]));
  if (usage) message.usage = usage;
  const cost = costOf(record(from["cost"]));
  if (cost) message.cost = cost;
  return message;
}

function fileOf(from: Fields): Attachment {
  return {
    name: text(from["name"]).slice(0, 255),
    bytes: number(from["bytes"]) ?? 0,
    tokens: number(from["tokens"]),
    text: text(from["text"]),
  };
}

function usageOf(from: Fields | null): Usage | null {
  if (!from) return null;
  const of = (key: string) => Math.max(0, number(from[key]) ?? 0);
  return { prompt: of("prompt"), hit: of("hit"), miss: of("miss"), output: of("output"), reasoning: of("reasoning") };
}

function costOf(from: Fields | null): Money | null {
  const amount = number(from?.["amount"]);
  const currency = text(from?.["currency"]);
  return amount !== null && /^[A-Z]{3}$/.test(currency) ? { amount, currency } : null;
}
