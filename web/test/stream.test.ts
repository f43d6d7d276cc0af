import assert from "node:assert/strict";
import { test } from "node:test";
import { type Delta, parseChunk, readStream, StreamCut, StreamError } from "../src/lib/stream";

const chunk = (delta: object, more: object = {}) => ({ choices: [{ index: 0, delta, finish_reason: null, ...more }] });
const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`;

/** A body that arrives in pieces of `size` bytes. */
function body(text: string, size: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
}

const reply =
  ": keep-alive\n\n" +
  event(chunk({ role: "assistant", content: null, reasoning_content: "" })) +
  event(chunk({ content: null, reasoning_content: "思考 🤔" })) +
  event(chunk({ content: "é", reasoning_content: null })) +
  event({
    ...chunk({ content: "" }, { finish_reason: "length" }),
    usage: {
      prompt_tokens: 10,
      completion_tokens: 7,
      prompt_cache_hit_tokens: 4,
      completion_tokens_details: { reasoning_tokens: 3 },
    },
  }) +
  "data: [DONE]\n\n";

test("a reply is the same however it is cut into pieces", async () => {
  for (const size of [1, 2, 3, 5, 17, 1000]) {
    const deltas: Delta[] = [];
    await readStream(body(reply, size), (delta) => deltas.push(delta));
    assert.equal(deltas.map((d) => d.reasoning).join(""), "思考 🤔");
    assert.equal(deltas.map((d) => d.text).join(""), "é");
    assert.equal(deltas.at(-1)?.finish, "length");
    assert.deepEqual(deltas.at(-1)?.usage, { prompt: 10, hit: 4, miss: 6, output: 7, reasoning: 3 });
  }
});

test("what was said before the connection broke is kept, and the break is noticed", async () => {
  const seen: string[] = [];
  const broken = reply.slice(0, reply.indexOf("data: [DONE]"));
  await assert.rejects(readStream(body(broken, 9), (d) => seen.push(d.text)), StreamCut);
  assert.equal(seen.join(""), "é");
});

test("an error in the stream is the server's own", async () => {
  const failing = event(chunk({ content: "a" })) + event({ error: { message: "out of memory" } });
  await assert.rejects(readStream(body(failing, 4), () => undefined), (error: Error) => {
    assert.ok(error instanceof StreamError);
    assert.equal(error.message, "out of memory");
    return true;
  });
});

test("events that are not JSON cut the stream", () => {
  assert.throws(() => parseChunk("<html>"), StreamCut);
});

test("other servers' ways of counting hits", () => {
  const { usage } = parseChunk(
    JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 8 } } }),
  );
  assert.deepEqual(usage, { prompt: 9, hit: 8, miss: 1, output: 1, reasoning: 0 });
});
