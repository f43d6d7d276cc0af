// What the server says of itself, once a second.

import { computed, signal } from "@preact/signals";
import { ApiError, getJson } from "../lib/api";
import type { Problem } from "../lib/conversation";
import { latest, type ModelSample, type Sample, summed } from "./samples";

/** A model as it stands now. */
export interface ModelNow {
  id: string;
  numerics: string;
  threads: number;
  context: number;
  cache_ram_budget_bytes: number;
  cache_disk_budget_bytes: number | null;
  lookups: Record<string, number>;
  preemptions: number;
}

interface Live {
  /** Milliseconds since 1970, by the server's clock. */
  now: number;
  started: number;
  version: string;
  models: ModelNow[];
  /** Of the last minutes, oldest first; only those after `since`. */
  samples: Sample[];
}

export const live = signal<Live | null>(null);
export const samples = signal<Sample[]>([]);
export const problem = signal<Problem | null>(null);
/** The model whose figures are shown; null for all together. */
export const shownModel = signal<string | null>(null);

export const models = computed(() => live.value?.models ?? []);

/** Figures of the chosen model, or sums over all. */
export const figures = computed(() => {
  const index = models.value.findIndex((m) => m.id === shownModel.value);
  return samples.value.map((sample) => ({
    at: sample.at,
    resident: sample.resident_bytes,
    model: index < 0 ? summed(sample.models) : (sample.models[index] as ModelSample),
  }));
});

const PERIOD_MS = 1000;
/** As many as the server keeps. */
const SAMPLES_MAX = 600;

/** Asks for ever; less often while nobody looks. */
export async function follow(): Promise<never> {
  for (;;) {
    await ask();
    await new Promise((later) => setTimeout(later, document.hidden ? 10 * PERIOD_MS : PERIOD_MS));
  }
}

export async function ask(): Promise<void> {
  try {
    const reply = await getJson<Live>(`/admin/api/live?since=${latest(samples.value)}`);
    // A server that was started again counts from zero.
    const kept = live.value?.started === reply.started ? samples.value : [];
    live.value = reply;
    samples.value = [...kept, ...reply.samples].slice(-SAMPLES_MAX);
    problem.value = null;
  } catch (error) {
    problem.value = error instanceof ApiError ? error.problem : { kind: "server", detail: (error as Error).message };
  }
}
