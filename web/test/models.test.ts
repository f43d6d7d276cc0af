import assert from "node:assert/strict";
import { test } from "node:test";
import { info, keyWanted, modelNamed, modelTitle, thinkingOf } from "../src/chat/models";
import type { ModelInfo } from "../src/lib/api";

const model = (id: string, tier: ModelInfo["tier"], thinking: ModelInfo["thinking"] = ["off", "high", "max"]): ModelInfo => ({
  id, name: id, tier, context: 1000, thinking, price: null, sampling: { temperature: 1, top_p: 1 },
});

test("models are called by their tier where that tells them apart", () => {
  const [flash, pro, other] = [model("v4-flash", "flash"), model("v4-pro", "pro"), model("small", "flash")];
  const titles = (models: ModelInfo[]) => {
    info.value = { version: "1", key_needed: false, models };
    return models.map(modelTitle);
  };
  assert.deepEqual(titles([flash, pro]), ["Quick", "Expert"]);
  assert.deepEqual(titles([flash]), ["v4-flash"]);
  assert.deepEqual(titles([flash, pro, other]), ["v4-flash", "Expert", "small"]);
  assert.equal(modelNamed("v4-pro")?.id, "v4-pro");
  assert.equal(modelNamed("gone")?.id, "v4-flash");
});

test("the level of thinking that a model has", () => {
  const three = model("a", null);
  assert.equal(thinkingOf(three, null), "high");
  assert.equal(thinkingOf(three, "max"), "max");
  assert.equal(thinkingOf(three, "off"), "off");
  assert.equal(thinkingOf(three, "low"), "high");
  assert.equal(thinkingOf(model("b", null, ["off"]), "max"), "off");
  assert.equal(thinkingOf(null, "max"), "off");
});

test("a key is asked for only where one is needed", () => {
  info.value = { version: "1", key_needed: true, models: [] };
  assert.equal(keyWanted.value, true);
  info.value = { version: "1", key_needed: true, models: [model("a", null)] };
  assert.equal(keyWanted.value, false);
});
