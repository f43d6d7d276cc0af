// The server.

import type { Problem, Thinking } from "./conversation";
import type { Price } from "./money";
import type { WireMessage, WireRequest } from "./prompt";
import { type Delta, readStream, StreamError } from "./stream";

export interface ModelInfo {
  id: string;
  name: string;
  tier: "flash" | "pro" | null;
  /** Tokens that prompt and answer may have together. */
  context: number;
  thinking: Thinking[];
  price: Price | null;
  sampling: { temperature: number; top_p: number };
}

export interface Info {
  version: string;
  key_needed: boolean;
  /** Empty where a key is needed and none was given. */
  models: ModelInfo[];
}

/** A request failed; says how. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.kind);
  }
}

const KEY = "fathom.key";

export function storedKey(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function storeKey(key: string): void {
  try {
    if (key) localStorage.setItem(KEY, key);
    else localStorage.removeItem(KEY);
  } catch {
    // Then it has to be given again.
  }
}

export async function info(): Promise<Info> {
  return (await request("/page/info")).json() as Promise<Info>;
}

/** Tokens of a text. */
export async function countTokens(model: string, text: string, signal?: AbortSignal): Promise<number> {
  return tokens({ model, text, ids: false }, signal);
}

/** Tokens of messages, with the marks around them. */
export async function countMessages(model: string, messages: WireMessage[], signal?: AbortSignal): Promise<number> {
  return tokens({ model, messages, ids: false }, signal);
}

async function tokens(body: unknown, signal?: AbortSignal): Promise<number> {
  const reply = await request("/tokenize", { body, signal });
  return ((await reply.json()) as { tokens: number }).tokens;
}

/** Streams an answer; returns when it is complete. */
export async function chat(body: WireRequest, signal: AbortSignal, onDelta: (delta: Delta) => void): Promise<void> {
  const continues = body.messages.at(-1)?.prefix === true;
  const reply = await request(continues ? "/beta/chat/completions" : "/v1/chat/completions", { body, signal });
  if (!reply.body) throw new ApiError({ kind: "server", detail: "" });
  try {
    await readStream(reply.body, onDelta);
  } catch (error) {
    if (error instanceof StreamError) throw new ApiError({ kind: "server", detail: error.message });
    throw error;
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, { signal })).json() as Promise<T>;
}

async function request(path: string, options: { body?: unknown; signal?: AbortSignal } = {}): Promise<Response> {
  const key = storedKey();
  const headers: Record<string, string> = {};
  if (key) headers["Authorization"] = `Bearer ${key}`;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  let reply: Response;
  try {
    reply = await fetch(path, {
      method: options.body === undefined ? "GET" : "POST",
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new ApiError({ kind: "network", detail: "" });
  }
  if (reply.ok) return reply;
  throw new ApiError({ kind: kindOf(reply.status), detail: messageOf(await reply.text().catch(() => "")) });
}

function kindOf(status: number): Problem["kind"] {
  if (status === 401 || status === 403) return "key";
  if (status === 402) return "balance";
  if (status === 429 || status === 503) return "busy";
  return status < 500 ? "request" : "server";
}

/** What an error reply says: the message of the usual envelope, or a short text as it is. */
export function messageOf(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error?: { message?: unknown } };
    if (typeof error?.message === "string") return error.message;
  } catch {
    // Some errors are plain text.
  }
  return body.startsWith("<") ? "" : body.slice(0, 500);
}
