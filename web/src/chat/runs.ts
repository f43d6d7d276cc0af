// Answers that are being written, at most one a conversation. They go on while another conversation is looked at.

import { type Signal, signal } from "@preact/signals";
import { ApiError, chat, type ModelInfo } from "../lib/api";
import type { Finish, Message, Problem, Settings, Thinking, Usage } from "../lib/conversation";
import { costOf, plus } from "../lib/money";
import { wireRequest } from "../lib/prompt";
import { checkpoint, put } from "./library";

export interface Run {
  /** The answer so far. */
  answer: Signal<Message>;
  phase: Signal<"waiting" | "reasoning" | "writing">;
  stop(): void;
}

/** By conversation. */
export const runs = signal<ReadonlyMap<string, Run>>(new Map());

/** What was written is stored this often. */
const CHECKPOINT_MS = 1500;

interface Job {
  model: ModelInfo;
  thinking: Thinking;
  settings: Settings;
  /** What to answer; ends with the answer itself if it is to go on. */
  path: Message[];
  /** The answer, with what is there of it. */
  answer: Message;
}

/** Answers, and keeps the answer. Never fails: what goes wrong is part of the answer. */
export async function answer(job: Job): Promise<Message> {
  const { conversation } = job.answer;
  runs.value.get(conversation)?.stop();
  const { finish: _, problem: __, ...begun } = job.answer;
  const abort = new AbortController();
  const run: Run = {
    answer: signal<Message>({ ...begun, model: job.model.id, thinking: job.thinking }),
    phase: signal("waiting"),
    stop: () => abort.abort(),
  };
  // Before the answer is in the conversation, so that it is never seen as one that has ended.
  runs.value = new Map(runs.value).set(conversation, run);
  await put(conversation, { ...run.answer.value, finish: "lost" });
  const writing = new Writing(run);
  let outcome: { finish: Finish; problem?: Problem };
  const kept = setInterval(() => void checkpoint({ ...writing.now(), finish: "lost" }), CHECKPOINT_MS);
  try {
    const request = wireRequest(job.model.id, job.path, job.settings, job.thinking);
    await chat(request, abort.signal, (delta) => writing.add(delta.text, delta.reasoning, delta.finish, delta.usage));
    outcome = { finish: writing.finish ?? "stop" };
  } catch (error) {
    outcome = outcomeOf(error, abort.signal.aborted, writing.anything);
  } finally {
    clearInterval(kept);
  }
  const done: Message = { ...writing.now(), ...outcome };
  if (writing.usage) {
    done.usage = writing.usage;
    const cost = plus(done.cost, costOf(writing.usage, job.model.price));
    if (cost) done.cost = cost;
  }
  if (runs.value.get(conversation) === run) {
    const others = new Map(runs.value);
    others.delete(conversation);
    runs.value = others;
  }
  await put(conversation, done);
  return done;
}

function outcomeOf(error: unknown, stopped: boolean, anything: boolean): { finish: Finish; problem?: Problem } {
  if (stopped) return { finish: "stopped" };
  const problem: Problem =
    error instanceof ApiError ? error.problem : { kind: "network", detail: (error as Error).message };
  if (anything) return problem.kind === "network" ? { finish: "lost" } : { finish: "lost", problem };
  return { finish: "error", problem };
}

/** Puts pieces together, and shows them once a frame. */
class Writing {
  private text: string;
  private reasoning: string;
  private readonly earlier: { reasoningMs: number; writingMs: number };
  private first = 0;
  private last = 0;
  private reasoningEnd = 0;
  private due = false;
  anything: boolean;
  finish: Finish | null = null;
  usage: Usage | null = null;

  constructor(private readonly run: Run) {
    const { text, reasoning, reasoningMs, writingMs } = run.answer.value;
    this.text = text;
    this.reasoning = reasoning ?? "";
    this.anything = text !== "" || this.reasoning !== "";
    this.earlier = { reasoningMs: reasoningMs ?? 0, writingMs: writingMs ?? 0 };
  }

  add(text: string, reasoning: string, finish: Finish | null, usage: Usage | null): void {
    this.finish = finish ?? this.finish;
    this.usage = usage ?? this.usage;
    if (!text && !reasoning) return;
    const now = performance.now();
    this.first ||= now;
    this.last = now;
    this.anything = true;
    this.reasoning += reasoning;
    if (text) {
      this.text += text;
      this.reasoningEnd ||= now;
    }
    this.show();
  }

  private show(): void {
    if (this.due) return;
    this.due = true;
    const flush = () => {
      this.due = false;
      this.run.answer.value = this.now();
      this.run.phase.value = this.reasoningEnd ? "writing" : "reasoning";
    };
    // Hidden pages have no frames.
    if (document.hidden) setTimeout(flush, 300);
    else requestAnimationFrame(flush);
  }

  /** The answer as it stands. */
  now(): Message {
    const { earlier, first, last, reasoningEnd, reasoning, text } = this;
    const message: Message = { ...this.run.answer.value, text };
    if (last > first) message.writingMs = earlier.writingMs + last - first;
    if (reasoning) {
      message.reasoning = reasoning;
      message.reasoningMs = earlier.reasoningMs + (first ? (reasoningEnd || last) - first : 0);
    }
    return message;
  }
}
