// Samples of counters, and rates from them.

/** Of one model; counters begin at 0 when the server starts. */
export interface ModelSample {
  running: number;
  waiting: number;
  held_bytes: number;
  steps: number;
  prefill_tokens: number;
  decode_tokens: number;
  ram_bytes: number;
  disk_bytes: number;
  asked_tokens: number;
  hit_tokens: number;
}

export interface Sample {
  /** Milliseconds since 1970. */
  at: number;
  /** Of the process; null where the system does not say. */
  resident_bytes: number | null;
  models: ModelSample[];
}

export interface Figures {
  at: number;
  resident: number | null;
  model: ModelSample;
}

export const latest = (samples: readonly Sample[]): number => samples.at(-1)?.at ?? 0;

export function summed(models: readonly ModelSample[]): ModelSample {
  const sum: ModelSample = {
    running: 0, waiting: 0, held_bytes: 0, steps: 0, prefill_tokens: 0, decode_tokens: 0, ram_bytes: 0, disk_bytes: 0,
    asked_tokens: 0, hit_tokens: 0,
  };
  for (const model of models) {
    for (const key of Object.keys(sum) as (keyof ModelSample)[]) sum[key] += model[key];
  }
  return sum;
}

type Counter = "prefill_tokens" | "decode_tokens" | "steps" | "asked_tokens" | "hit_tokens";

/** Growth per second, at each sample since the one before; the first has none. */
export function rate(figures: readonly Figures[], counter: Counter): (number | null)[] {
  return figures.map((now, i) => {
    const before = figures[i - 1];
    if (!before || now.at <= before.at) return null;
    return (Math.max(0, now.model[counter] - before.model[counter]) * 1000) / (now.at - before.at);
  });
}

/** Growth of some counters per growth of others; null where those stood still. */
export function ratio(figures: readonly Figures[], over: Counter[], under: Counter): (number | null)[] {
  return figures.map((now, i) => {
    const before = figures[i - 1];
    if (!before) return null;
    const growth = (counter: Counter) => now.model[counter] - before.model[counter];
    const below = growth(under);
    return below > 0 ? over.reduce((sum, counter) => sum + growth(counter), 0) / below : null;
  });
}
