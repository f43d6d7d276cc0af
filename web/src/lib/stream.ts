// A streamed reply: bytes to events to what has been written so far.

import { createParser } from "eventsource-parser";
import type { Finish, Usage } from "./conversation";

/** What one event adds. */
export interface Delta {
  text: string;
  reasoning: string;
  finish: Finish | null;
  usage: Usage | null;
}

/** The server broke off with an error of its own. */
export class StreamError extends Error {}

/** The stream ended before the server said that it was done. */
export class StreamCut extends Error {}

interface Chunk {
  error?: { message?: string };
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: RawUsage | null;
}

interface RawUsage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_cache_hit_tokens?: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
  completion_tokens_details?: { reasoning_tokens?: number } | null;
}

/** Reads a reply's body to its end. Resolves at `[DONE]`. */
export async function readStream(body: ReadableStream<Uint8Array>, onDelta: (delta: Delta) => void): Promise<void> {
  let done = false;
  let failure: Error | null = null;
  const parser = createParser({
    onEvent({ data }) {
      if (done || failure) return;
      if (data === "[DONE]") {
        done = true;
        return;
      }
      try {
        onDelta(parseChunk(data));
      } catch (error) {
        failure = error as Error;
      }
    },
  });
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    while (!done && !failure) {
      const { value, done: ended } = await reader.read();
      if (ended) break;
      parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    // After [DONE] nothing follows; after a failure nothing is wanted.
    reader.cancel().catch(() => undefined);
  }
  if (failure) throw failure;
  if (!done) throw new StreamCut("the stream ended without [DONE]");
}

/** One event's data. */
export function parseChunk(data: string): Delta {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    throw new StreamCut(`an event is not JSON: ${data.slice(0, 100)}`);
  }
  if (chunk.error) throw new StreamError(chunk.error.message ?? "");
  const choice = chunk.choices?.[0];
  return {
    text: choice?.delta?.content ?? "",
    reasoning: choice?.delta?.reasoning_content ?? "",
    finish: finishOf(choice?.finish_reason),
    usage: chunk.usage ? usageOf(chunk.usage) : null,
  };
}

function finishOf(reason: string | null | undefined): Finish | null {
  switch (reason) {
    case null:
    case undefined:
      return null;
    case "length":
      return "length";
    case "content_filter":
      return "filter";
    case "insufficient_system_resource":
      return "lost";
    default:
      return "stop";
  }
}

function usageOf(raw: RawUsage): Usage {
  const prompt = raw.prompt_tokens ?? 0;
  const hit = raw.prompt_cache_hit_tokens ?? raw.prompt_tokens_details?.cached_tokens ?? 0;
  return {
    prompt,
    hit,
    miss: prompt - hit,
    output: raw.completion_tokens ?? 0,
    reasoning: raw.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}
