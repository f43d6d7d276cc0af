import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, type Conversation, type Message, NO_SETTINGS, pathTo, shownPath, siblings, titleFrom } from "../src/lib/conversation";
import { forecast, lastUsage, roughly } from "../src/lib/meter";
import { costOf, plus, total } from "../src/lib/money";
import { wireRequest } from "../src/lib/prompt";

const conversation: Conversation = {
  id: "c", title: "", created: 0, updated: 0, settings: NO_SETTINGS, model: null, thinking: null, chosen: {},
};

let clock = 0;
function message(id: string, parent: string | null, role: Message["role"], more: Partial<Message> = {}): Message {
  return { id, conversation: "c", parent, role, text: id, created: ++clock, ...more };
}

const usage = (prompt: number, hit: number, output: number, reasoning = 0) => ({ prompt, hit, miss: prompt - hit, output, reasoning });

test("versions: the newest is shown, or the one that was chosen", () => {
  const all = [
    message("u1", null, "user"),
    message("a1", "u1", "assistant"),
    message("a2", "u1", "assistant"),
    message("u2", "a1", "user"),
    message("u1b", null, "user"),
  ];
  const shown = (c: Conversation) => shownPath(c, all).map((m) => m.id);
  assert.deepEqual(shown(conversation), ["u1b"]);
  const first = choose(conversation, all[0] as Message);
  assert.deepEqual(shown(first), ["u1", "a2"]);
  assert.deepEqual(shown(choose(first, all[1] as Message)), ["u1", "a1", "u2"]);
  assert.deepEqual(siblings(all, "u1").map((m) => m.id), ["a1", "a2"]);
  assert.deepEqual(pathTo(all, "u2").map((m) => m.id), ["u1", "a1", "u2"]);
});

test("a circle of messages ends", () => {
  const all = [message("x", "y", "user"), message("y", "x", "assistant")];
  assert.deepEqual(shownPath(conversation, all), []);
  assert.equal(pathTo(all, "x").length, 2);
});

test("requests: settings, files, thinking, and answers that go on", () => {
  const files = [{ name: "a.txt", bytes: 3, tokens: 1, text: "abc" }];
  const path = [message("hello", null, "user", { files }), message("half an", "hello", "assistant", { reasoning: "hm" })];
  const settings = { ...NO_SETTINGS, system: "Be kind.", maxTokens: 5 };
  assert.deepEqual(wireRequest("m", path, settings, "max"), {
    model: "m",
    messages: [
      { role: "system", content: "Be kind." },
      { role: "user", content: "[file name]: a.txt\n[file content begin]\nabc\n[file content end]\nhello" },
      { role: "assistant", content: "half an", reasoning_content: "hm", prefix: true },
    ],
    stream: true,
    stream_options: { include_usage: true },
    thinking: { type: "enabled" },
    reasoning_effort: "max",
    max_tokens: 5,
  });
  const next = [...path, message("more", "half an", "user")];
  const request = wireRequest("m", next, { ...NO_SETTINGS, temperature: 0 }, "off");
  // Reasoning of earlier answers is not sent again.
  assert.deepEqual(request.messages[1], { role: "assistant", content: "half an" });
  assert.deepEqual(request.thinking, { type: "disabled" });
  assert.equal(request.temperature, 0);
  assert.equal(request.reasoning_effort, undefined);
});

test("what will be sent, and what of it is in the cache", () => {
  const answered = (reasoning: number) => [
    message("u", null, "user"),
    message("a", "u", "assistant", { usage: usage(100, 0, 50, reasoning) }),
  ];
  assert.deepEqual(forecast(answered(0), 0), { used: 150, hit: 150, miss: 0 });
  assert.deepEqual(forecast(answered(0), 7), { used: 150, hit: 150, miss: 10 });
  // After reasoning, the answer itself is read again.
  assert.deepEqual(forecast(answered(30), 0), { used: 120, hit: 100, miss: 20 });
  assert.deepEqual(forecast([], 5), { used: 0, hit: 0, miss: 8 });
  assert.equal(lastUsage(answered(0))?.prompt, 100);
  assert.equal(roughly("abcdef"), 2);
  assert.equal(roughly("汉字汉字"), 3);
});

test("costs", () => {
  const price = { currency: "CNY", hit: 0.02, miss: 1, output: 4 };
  const cost = costOf(usage(1_000_000, 500_000, 250_000), price);
  assert.deepEqual(cost, { amount: 1.51, currency: "CNY" });
  assert.equal(costOf(usage(10, 0, 10), null), null);
  assert.equal(costOf(usage(10, 0, 10), { currency: "USD", hit: 0, miss: 0, output: 0 }), null);
  assert.deepEqual(plus({ amount: 1, currency: "CNY" }, { amount: 2, currency: "CNY" }), { amount: 3, currency: "CNY" });
  assert.deepEqual(total([undefined, { amount: 1, currency: "CNY" }, { amount: 2, currency: "USD" }, { amount: 3, currency: "CNY" }]), [
    { amount: 4, currency: "CNY" },
    { amount: 2, currency: "USD" },
  ]);
});

test("titles", () => {
  assert.equal(titleFrom("  Hello\nthere"), "Hello");
  assert.equal([...titleFrom("汉".repeat(100))].length, 60);
  assert.equal(titleFrom("", [{ name: "a.csv", bytes: 1, tokens: null, text: "x" }]), "a.csv");
});
