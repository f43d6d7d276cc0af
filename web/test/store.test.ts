import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Conversation, type Message, NO_SETTINGS } from "../src/lib/conversation";
import { excerptOf, openStore } from "../src/lib/store";
import { exported, imported, ImportError } from "../src/lib/transfer";

const conversation = (id: string, updated: number, title = id): Conversation => ({
  id, title, created: 1, updated, settings: NO_SETTINGS, model: "m", thinking: "high", chosen: {},
});
const message = (id: string, conversation: string, text: string, more: Partial<Message> = {}): Message => ({
  id, conversation, parent: null, role: "user", text, created: 1, ...more,
});

for (const kind of ["database", "memory"]) {
  test(`conversations are kept, found and removed: ${kind}`, async () => {
    const there = globalThis.indexedDB;
    if (kind === "memory") Reflect.deleteProperty(globalThis, "indexedDB");
    const store = await openStore(kind);
    globalThis.indexedDB = there;
    assert.equal(store.lasting, kind === "database");
    await store.put(conversation("a", 1, "Frogs"), message("a1", "a", "Tell me of Frogs and toads"), message("a2", "a", "no"));
    await store.put(conversation("b", 2), message("b1", "b", "toads only"));
    assert.deepEqual((await store.conversations()).map((c) => c.id), ["b", "a"]);
    assert.deepEqual((await store.messages("a")).map((m) => m.id).sort(), ["a1", "a2"]);
    assert.deepEqual((await store.search("TOADS", 9)).map((f) => f.conversation.id), ["b", "a"]);
    assert.deepEqual((await store.search("frogs", 9)).map((f) => f.excerpt), ["Tell me of Frogs and toads"]);
    await store.remove("a");
    assert.deepEqual((await store.conversations()).map((c) => c.id), ["b"]);
    assert.deepEqual(await store.messages("a"), []);
    assert.equal((await store.messages("b")).length, 1);
  });
}

test("excerpts", () => {
  assert.equal(excerptOf("abc", "x"), "");
  assert.equal(excerptOf("a\n b", "b"), "a b");
  assert.match(excerptOf(`${"x".repeat(100)} needle ${"y".repeat(100)}`, "needle"), /^…x+ needle y+$/);
});

test("what is exported comes back the same, under new ids", () => {
  const said = [
    message("u", "c", "hi", { files: [{ name: "f", bytes: 1, tokens: null, text: "x" }] }),
    message("a", "c", "ho", {
      parent: "u", role: "assistant", reasoning: "hm", reasoningMs: 5, writingMs: 9, model: "m", thinking: "max", finish: "length",
      usage: { prompt: 3, hit: 1, miss: 2, output: 4, reasoning: 1 }, cost: { amount: 1, currency: "CNY" },
    }),
  ];
  const made = { ...conversation("c", 5), chosen: { "": "u", u: "a", gone: "x" } };
  const [back] = imported(exported([{ conversation: made, messages: said }]));
  assert.ok(back);
  const [u, a] = back.messages as [Message, Message];
  assert.notEqual(back.conversation.id, "c");
  assert.deepEqual(back.conversation, { ...made, id: back.conversation.id, chosen: { "": u.id, [u.id]: a.id } });
  assert.deepEqual(u, { ...said[0], id: u.id, conversation: back.conversation.id });
  assert.deepEqual(a, { ...said[1], id: a.id, conversation: back.conversation.id, parent: u.id });
});

test("files that are no exports are refused with the reason", () => {
  const wrap = (messages: unknown) => JSON.stringify({ format: "fathom-conversations", version: 1, conversations: [{ messages }] });
  for (const [file, reason] of [
    ["{", /not JSON/],
    ["[]", /not an export/],
    ['{"format":"fathom-conversations","version":2}', /version 2, expected 1/],
    ['{"format":"fathom-conversations","version":1}', /no conversations/],
    [wrap(3), /no messages/],
    [wrap([{}]), /without an id/],
    [wrap([{ id: "a", parent: null, role: "system" }]), /role is "system"/],
    [wrap([{ id: "a", parent: "z", role: "user" }]), /not in the file/],
    [wrap([{ id: "a", parent: null, role: "user" }, { id: "a", parent: null, role: "user" }]), /id of its own/],
  ] as const) {
    assert.throws(() => imported(file), (error: Error) => error instanceof ImportError && reason.test(error.message), file);
  }
});

test("fields of the wrong kind do not get in", () => {
  const [bundle] = imported(
    JSON.stringify({
      format: "fathom-conversations",
      version: 1,
      conversations: [
        {
          title: 5,
          settings: { temperature: "hot", system: ["x"] },
          chosen: { __proto__: "x" },
          messages: [{ id: "a", parent: null, role: "assistant", text: {}, usage: { prompt: "1" }, cost: { amount: 1, currency: "<b>" }, finish: "x" }],
        },
      ],
    }),
  );
  assert.equal(bundle?.conversation.title, "");
  assert.deepEqual(bundle?.conversation.settings, NO_SETTINGS);
  assert.equal(bundle?.messages[0]?.text, "");
  assert.equal(bundle?.messages[0]?.finish, "stop");
  assert.equal(bundle?.messages[0]?.cost, undefined);
  assert.deepEqual(bundle?.messages[0]?.usage, { prompt: 0, hit: 0, miss: 0, output: 0, reasoning: 0 });
});
