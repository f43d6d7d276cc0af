// The message that is being written, and files that go with it.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, countTokens } from "../lib/api";
import type { Attachment } from "../lib/conversation";
import { FILE_BYTES_MAX, FileError, readText } from "../lib/files";
import { bytes } from "../lib/format";
import { roughly } from "../lib/meter";
import { fileText } from "../lib/prompt";
import { locale, t } from "../strings";
import { model } from "./actions";
import { openId } from "./library";
import { say } from "./view";

export interface Pending extends Omit<Attachment, "tokens"> {
  id: number;
  /** Undefined while it is being counted, null if the server cannot. */
  tokens: number | null | undefined;
}

const texts = new Map<string, string>();
const lists = new Map<string, Pending[]>();
const changed = signal(0);
const here = () => openId.value ?? "";

/** Each conversation has a draft of its own. */
export const text = computed(() => (changed.value, texts.get(here()) ?? ""));
export const files = computed(() => (changed.value, lists.get(here()) ?? []));

export function setText(next: string): void {
  texts.set(here(), next);
  changed.value++;
}

export function clear(): void {
  texts.delete(here());
  lists.delete(here());
  changed.value++;
}

let lastId = 0;

export async function addFiles(added: Iterable<File>): Promise<void> {
  const place = here();
  for (const file of added) {
    let content: string;
    try {
      content = await readText(file);
    } catch (error) {
      say(error instanceof FileError ? fileProblem(error) : String(error), true);
      continue;
    }
    const pending: Pending = { id: ++lastId, name: file.name, bytes: file.size, text: content, tokens: undefined };
    update(place, (list) => [...list, pending]);
    void countFile(place, pending);
  }
}

async function countFile(place: string, pending: Pending): Promise<void> {
  let tokens: number | null = null;
  try {
    if (model.value) tokens = await countTokens(model.value.id, fileText({ ...pending, tokens: null }));
  } catch (error) {
    // A server without the figure is no reason not to send the file; one that says why is heard.
    if (error instanceof ApiError && error.problem.kind === "request" && error.problem.detail) say(error.problem.detail, true);
  }
  update(place, (list) => list.map((f) => (f.id === pending.id ? { ...f, tokens } : f)));
}

export function removeFile(id: number): void {
  update(here(), (list) => list.filter((f) => f.id !== id));
}

function update(place: string, change: (list: Pending[]) => Pending[]): void {
  lists.set(place, change(lists.get(place) ?? []));
  changed.value++;
}

function fileProblem(error: FileError): string {
  const name = error.fileName;
  switch (error.problem) {
    case "large":
      return t().fileLarge(name, bytes(FILE_BYTES_MAX, locale.value));
    case "binary":
      return t().fileBinary(name);
    case "empty":
      return t().fileEmpty(name);
    case "unreadable":
      return t().fileUnreadable(name);
  }
}

/** Tokens of the text, counted by the server a moment after the last key. */
const counted = signal<{ text: string; tokens: number } | null>(null);
const COUNT_AFTER_MS = 400;

effect(() => {
  const now = text.value;
  const id = model.value?.id;
  if (!now.trim() || !id) return;
  const abort = new AbortController();
  const timer = setTimeout(() => {
    countTokens(id, now, abort.signal).then(
      (tokens) => (counted.value = { text: now, tokens }),
      () => undefined,
    );
  }, COUNT_AFTER_MS);
  return () => {
    clearTimeout(timer);
    abort.abort();
  };
});

/** Tokens of the draft: counted where the count is in, guessed until then. */
export const draftTokens = computed(() => {
  const now = text.value;
  const said = !now.trim() ? 0 : counted.value?.text === now ? counted.value.tokens : roughly(now);
  return files.value.reduce((sum, file) => sum + (file.tokens ?? roughly(file.text)), said);
});
