// How much of the context is used, and how much of it need not be read again.

import type { Message, Usage } from "./conversation";

/** Tokens; `hit` and `miss` of what will be sent are estimates. */
export interface Forecast {
  /** Tokens of the conversation up to here. */
  used: number;
  hit: number;
  miss: number;
}

/** Tokens that a message costs beside its text: the marks of who speaks. */
const MARKS = 3;

/**
 * What the next request will hold, from the last answer's usage: its prompt and its answer without the reasoning, which
 * is not sent again. What was computed after the reasoning lies behind other tokens in the cache, so with reasoning only
 * the prompt is found there.
 */
export function forecast(path: readonly Message[], draftTokens: number): Forecast {
  let sent = 0;
  let found = 0;
  let tail = 0;
  for (const message of path) {
    if (message.role === "assistant" && message.usage) {
      const { prompt, output, reasoning } = message.usage;
      sent = prompt + output - reasoning;
      found = reasoning > 0 ? prompt : sent;
      tail = 0;
    } else {
      tail += tokensOf(message);
    }
  }
  const draft = draftTokens > 0 ? draftTokens + MARKS : 0;
  const used = sent + tail;
  return { used, hit: found, miss: used - found + draft };
}

function tokensOf(message: Message): number {
  const files = (message.files ?? []).reduce((sum, file) => sum + (file.tokens ?? roughly(file.text)), 0);
  return files + roughly(message.text) + MARKS;
}

/** A guess where the server has not counted: three letters of Latin script or about one and a half ideographs. */
export function roughly(text: string): number {
  let wide = 0;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x2e80) wide++;
  return Math.ceil((text.length - wide) / 3 + wide / 1.5);
}

/** The last answer's usage on the path. */
export function lastUsage(path: readonly Message[]): Usage | null {
  for (let i = path.length - 1; i >= 0; i--) {
    const usage = path[i]?.usage;
    if (usage) return usage;
  }
  return null;
}
