import assert from "node:assert/strict";
import { test } from "node:test";
import { type Figures, latest, type ModelSample, rate, ratio, summed } from "../src/admin/samples";

const model = (prefill_tokens: number, steps: number): ModelSample => ({
  running: 1, waiting: 2, held_bytes: 3, steps, prefill_tokens, decode_tokens: 0, ram_bytes: 4, disk_bytes: 5, asked_tokens: 0, hit_tokens: 0,
});
const figures: Figures[] = [
  { at: 1000, resident: 0, model: model(0, 0) },
  { at: 2000, resident: 0, model: model(100, 2) },
  { at: 4000, resident: 0, model: model(400, 2) },
  // Started again.
  { at: 5000, resident: 0, model: model(0, 0) },
];

test("rates are growth over time, whatever the distance of samples", () => {
  assert.deepEqual(rate(figures, "prefill_tokens"), [null, 100, 150, 0]);
  assert.deepEqual(ratio(figures, ["prefill_tokens", "decode_tokens"], "steps"), [null, 50, null, null]);
});

test("all models together", () => {
  const sum = summed([model(1, 2), model(10, 20)]);
  assert.equal(sum.prefill_tokens, 11);
  assert.equal(sum.running, 2);
  assert.equal(latest([]), 0);
});
