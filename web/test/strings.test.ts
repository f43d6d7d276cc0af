import assert from "node:assert/strict";
import { test } from "node:test";
import { preferred } from "../src/strings";
import { en } from "../src/strings/en";
import { zh } from "../src/strings/zh";

test("both languages say the same things, with the same arguments", () => {
  assert.deepEqual(Object.keys(zh).sort(), Object.keys(en).sort());
  for (const [key, value] of Object.entries(en)) {
    const other = zh[key as keyof typeof zh];
    assert.equal(typeof other, typeof value, key);
    if (typeof value === "function") assert.equal((other as () => string).length, value.length, key);
    if (Array.isArray(value)) assert.equal((other as unknown[]).length, value.length, key);
  }
});

test("nothing was left in English", () => {
  // Names and units that are the same in both.
  const same = new Set(["appName", "topP", "version_"]);
  const text = (value: unknown): string =>
    typeof value === "function" ? String(value("1", "1", "1")) : typeof value === "string" ? value : JSON.stringify(value);
  for (const [key, value] of Object.entries(zh)) {
    if (same.has(key)) continue;
    const chinese = /\p{Script=Han}/u.test(text(value));
    const numeral = /^[\d\s/]*(?:token)?$/.test(text(value)) || /^1 token$|^1 \/ 1 token$/.test(text(value));
    assert.ok(chinese || numeral, `${key}: ${text(value)}`);
  }
});

test("the browser's first language that there is", () => {
  assert.equal(preferred(["zh-TW", "en"]), "zh");
  assert.equal(preferred(["de-DE", "en-US", "zh"]), "en");
  assert.equal(preferred(["ja"]), "en");
  assert.equal(preferred([]), "en");
});
