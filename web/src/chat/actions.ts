// What a person can do in a conversation.

import { computed } from "@preact/signals";
import {
  type Attachment,
  type Message,
  newId,
  pathTo,
  type Thinking,
  titleFrom,
} from "../lib/conversation";
import { begin, keep, messages, open, openId, path, put, settings } from "./library";
import { keyWanted, lastModel, lastThinking, loadInfo, modelNamed, thinkingOf } from "./models";
import { answer, runs } from "./runs";
import { dialog } from "./view";

export const model = computed(() => modelNamed(open.value?.model ?? lastModel.value));
export const thinking = computed(() => thinkingOf(model.value, open.value?.thinking ?? lastThinking.value));
/** The answer that is being written in the open conversation. */
export const run = computed(() => (openId.value ? (runs.value.get(openId.value) ?? null) : null));

export function pickModel(id: string): void {
  lastModel.value = id;
  if (open.value) void keep({ ...open.value, model: id });
}

export function pickThinking(level: Thinking): void {
  lastThinking.value = level;
  if (open.value) void keep({ ...open.value, thinking: level });
}

/** Says something at the end of what is shown. */
export async function send(text: string, files: Attachment[]): Promise<void> {
  if (!model.value || run.value) return;
  const parent = path.value.at(-1)?.id ?? null;
  const conversation = open.value ?? begin(titleFrom(text, files), model.value.id);
  await say(conversation.id, parent, text, files);
}

/** Says `message` in other words: a version beside it. */
export async function edit(message: Message, text: string): Promise<void> {
  await say(message.conversation, message.parent, text, message.files ?? []);
}

async function say(conversation: string, parent: string | null, text: string, files: Attachment[]): Promise<void> {
  const said: Message = { id: newId(), conversation, parent, role: "user", text, created: Date.now() };
  if (files.length > 0) said.files = files;
  await put(conversation, said);
  await reply(said);
}

/** Another answer beside `message`; or in its place, if there was none. */
export async function regenerate(message: Message): Promise<void> {
  const question = messages.value.find((m) => m.id === message.parent);
  if (question) await reply(question, message.finish === "error" ? message.id : newId());
}

async function reply(question: Message, id = newId()): Promise<void> {
  const { conversation } = question;
  const blank: Message = {
    id,
    conversation,
    parent: question.id,
    role: "assistant",
    text: "",
    // After its question, also where the clock stands still.
    created: Math.max(Date.now(), question.created + 1),
  };
  await write(blank, pathTo(messages.value, question.id));
}

/** Goes on with an answer that was cut. */
export async function resume(message: Message): Promise<void> {
  if (!message.text && !message.reasoning) return regenerate({ ...message, finish: "error" });
  await write(message, pathTo(messages.value, message.id));
}

async function write(blank: Message, asked: Message[]): Promise<void> {
  if (!model.value) return;
  const done = await answer({
    model: model.value,
    thinking: thinking.value,
    settings: settings.value,
    path: asked,
    answer: blank,
  });
  if (done.problem?.kind === "key") {
    await loadInfo();
    if (keyWanted.value) dialog.value = { name: "key" };
  }
}
