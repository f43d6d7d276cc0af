// Chat completions of a running `fathom serve` through the AI SDK: node check.mjs ROOT_URL. One line per check; exit status 1 if any fails.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { createDeepSeek } from "@ai-sdk/deepseek";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const root = process.argv[2];
const deepseek = createDeepSeek({ baseURL: `${root}/v1`, apiKey: "unused" });
const { data } = await (await fetch(`${root}/v1/models`)).json();
const model = deepseek(data[0].id);
const off = { deepseek: { thinking: { type: "disabled" } } };
const prompt = "What is 3 plus 4?";
const weather = tool({
  description: "Current weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, sky: "clear" }),
});

const checks = {
  async text() {
    const reply = await generateText({ model, prompt, providerOptions: off, temperature: 0, maxOutputTokens: 80, maxRetries: 0 });
    assert.ok(reply.text);
    assert.ok(["stop", "length"].includes(reply.finishReason));
    assert.equal(reply.usage.totalTokens, reply.usage.inputTokens + reply.usage.outputTokens);
  },

  async reasoning() {
    const reply = await generateText({ model, prompt, maxOutputTokens: 400, maxRetries: 0 });
    assert.ok(reply.reasoningText);
    assert.ok(reply.usage.reasoningTokens > 0);
  },

  async streamIsTheWhole() {
    const request = { model, prompt, providerOptions: off, temperature: 0, maxOutputTokens: 80, maxRetries: 0 };
    const whole = await generateText(request);
    const stream = streamText(request);
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    // The prompt is known by now.
    const { promptCacheHitTokens, promptCacheMissTokens } = (await stream.providerMetadata).deepseek;
    assert.equal(promptCacheMissTokens, 1);
    assert.ok(promptCacheHitTokens > 0);
  },

  async toolLoop() {
    const steps = [];
    const reply = await generateText({
      model,
      prompt: "What is the weather in Paris?",
      providerOptions: off,
      tools: { get_weather: weather },
      // The first step must call, the second answers.
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
      stopWhen: stepCountIs(2),
      maxOutputTokens: 200,
      maxRetries: 0,
      onStepFinish: (step) => steps.push(step.finishReason),
    });
    const [first] = reply.steps;
    assert.ok(first.toolCalls.length > 0);
    assert.deepEqual(Object.keys(first.toolCalls[0].input), ["city"]);
    assert.equal(first.toolResults.length, first.toolCalls.length);
    assert.deepEqual(steps[0], "tool-calls");
    assert.equal(steps.length, 2);
  },

  async streamedToolCall() {
    const stream = streamText({
      model,
      prompt: "What is the weather in Oslo?",
      providerOptions: off,
      tools: { get_weather: weather },
      toolChoice: "required",
      maxOutputTokens: 200,
      maxRetries: 0,
    });
    const calls = [];
    for await (const part of stream.fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "tool-call") calls.push(part);
    }
    assert.ok(calls.length > 0 && calls.every((call) => typeof call.input.city === "string"));
  },

  async errorsAreSentences() {
    const request = { model: deepseek("no-such-model"), prompt, maxRetries: 0 };
    await assert.rejects(generateText(request), /supported API model names/);
  },
};

const { version } = JSON.parse(readFileSync(new URL("node_modules/ai/package.json", import.meta.url)));
console.log(`ai ${version} with @ai-sdk/deepseek: chat completions`);
let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`  ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`  FAIL  ${name}: ${error.stack}`);
  }
}
process.exitCode = failed > 0 ? 1 : 0;
