// What the server offers.

import { computed, signal } from "@preact/signals";
import { ApiError, type Info, info as fetchInfo, type ModelInfo, storedKey } from "../lib/api";
import type { Problem, Thinking } from "../lib/conversation";
import { remembered } from "../lib/remembered";
import { t } from "../strings";

export const info = signal<Info | null>(null);
/** Why there is no `info`. */
export const infoProblem = signal<Problem | null>(null);

export const lastModel = remembered<string | null>("model", null, (v) => (typeof v === "string" ? v : null));
export const lastThinking = remembered<Thinking | null>("thinking", null, (v) =>
  v === "off" || v === "low" || v === "high" || v === "max" ? v : null,
);

export const models = computed<readonly ModelInfo[]>(() => info.value?.models ?? []);

/** A key is needed, and none was given or it is not known. */
export const keyWanted = computed(() => info.value !== null && info.value.key_needed && models.value.length === 0);

export async function loadInfo(): Promise<void> {
  try {
    info.value = await fetchInfo();
    infoProblem.value = null;
  } catch (error) {
    const problem: Problem =
      error instanceof ApiError ? error.problem : { kind: "server", detail: (error as Error).message };
    if (problem.kind === "key") {
      // The key that is stored here is not known any more.
      info.value = { version: "", key_needed: true, models: [] };
    }
    infoProblem.value = problem;
  }
}

export const keyRefused = computed(() => keyWanted.value && storedKey() !== "");

/** The model of that name, or the first one. */
export function modelNamed(id: string | null): ModelInfo | null {
  return models.value.find((m) => m.id === id) ?? models.value[0] ?? null;
}

/** The level if the model has it, or the one nearest to what most people want. */
export function thinkingOf(model: ModelInfo | null, wanted: Thinking | null): Thinking {
  const levels = model?.thinking ?? ["off"];
  if (wanted && levels.includes(wanted)) return wanted;
  if (wanted && wanted !== "off" && levels.includes("high")) return "high";
  return levels.includes("high") ? "high" : (levels[0] ?? "off");
}

/** What people call the model: by its tier if that tells it from the others, or by its own name. */
export function modelTitle(model: ModelInfo): string {
  const alone = models.value.filter((m) => m.tier === model.tier).length === 1;
  if (model.tier && alone && models.value.length > 1) return model.tier === "pro" ? t().expert : t().quick;
  return model.name;
}
