#!/usr/bin/env python3
"""Chat completions of a running `fathom serve` through the openai package: openai_chat.py BASE_URL."""

import json
import sys
import time
from typing import Literal

import openai
import pydantic

import checks

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = [{"role": "user", "content": "What is 3 plus 4?"}]
OFF = {"thinking": {"type": "disabled"}}


def collect(stream):
    """The pieces of a streamed reply: reasoning, content, tool calls, finish reason, usage."""
    reasoning, content, calls, finish, usage = "", "", {}, None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or []:
                entry = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                entry["id"] += call.id or ""
                entry["name"] += call.function.name or ""
                entry["arguments"] += call.function.arguments or ""
            finish = choice.finish_reason or finish
    return reasoning, content, calls, finish, usage


class Chat:
    def __init__(self, base_url):
        self.client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
        self.model = self.client.models.list().data[0].id

    def create(self, **request):
        request = {"model": self.model, "messages": QUESTION, "max_tokens": 64, "seed": 7} | request
        return self.client.chat.completions.create(**request)

    def not_streamed(self):
        reply = self.create(extra_body=OFF)
        choice, usage = reply.choices[0], reply.usage
        assert choice.message.role == "assistant" and choice.message.content
        assert choice.finish_reason in ("stop", "length")
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens

    def streamed_equals_not_streamed(self):
        for extra in (OFF, {}):
            whole = self.create(extra_body=extra)
            stream = self.create(extra_body=extra, stream=True, stream_options={"include_usage": True})
            reasoning, content, _, finish, usage = collect(stream)
            message = whole.choices[0].message
            assert content == (message.content or "")
            assert reasoning == (getattr(message, "reasoning_content", None) or "")
            assert finish == whole.choices[0].finish_reason
            assert usage.completion_tokens == whole.usage.completion_tokens
            # The second time, everything but the last prompt token is cached.
            assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1

    def thinking(self):
        reply = self.create(reasoning_effort="high", max_tokens=400)
        assert reply.choices[0].message.reasoning_content
        assert reply.usage.completion_tokens_details.reasoning_tokens > 0

    def max_completion_tokens(self):
        reply = self.client.chat.completions.create(
            model=self.model, messages=QUESTION, max_completion_tokens=3, extra_body=OFF
        )
        assert reply.usage.completion_tokens == 3 and reply.choices[0].finish_reason == "length"

    def greedy_repeats(self):
        texts = {self.create(temperature=0, seed=seed, extra_body=OFF).choices[0].message.content for seed in range(3)}
        assert len(texts) == 1

    def seeds_repeat(self):
        text = lambda seed: self.create(seed=seed, temperature=2.0, extra_body=OFF).choices[0].message.content
        assert text(1) == text(1)
        assert len({text(seed) for seed in range(1, 6)}) > 1

    def stop_string(self):
        whole = self.create(extra_body=OFF).choices[0].message.content
        stop = whole[3:5]
        reply = self.create(extra_body=OFF, stop=[stop])
        assert reply.choices[0].message.content == whole[: whole.index(stop)]
        assert reply.choices[0].finish_reason == "stop"

    def logprobs(self):
        reply = self.create(extra_body=OFF, logprobs=True, top_logprobs=3, temperature=0)
        tokens = reply.choices[0].logprobs.content
        assert b"".join(bytes(token.bytes) for token in tokens).decode() == reply.choices[0].message.content
        for token in tokens:
            assert len(token.top_logprobs) == 3 and token.logprob == token.top_logprobs[0].logprob <= 0

    def json_schema(self):
        """A schema holds while thinking too, and the SDK's own parsing accepts the reply."""

        class Sum(pydantic.BaseModel):
            left: int
            operator: Literal["plus", "minus"]
            result: int

        for extra in (OFF, {}):
            reply = self.client.chat.completions.parse(
                model=self.model, messages=QUESTION, seed=7, max_tokens=600, response_format=Sum, extra_body=extra
            )
            assert isinstance(reply.choices[0].message.parsed, Sum), reply

    def json_object(self):
        question = [{"role": "user", "content": "Answer in json: what is 3 plus 4?"}]
        reply = self.create(messages=question, response_format={"type": "json_object"}, max_tokens=400, extra_body=OFF)
        if reply.choices[0].finish_reason == "stop":
            json.loads(reply.choices[0].message.content)

    def named_tool(self):
        """A named choice is honoured while thinking, with arguments that follow the schema."""
        choice = {"type": "function", "function": {"name": "get_weather"}}
        for extra in (OFF, {}):
            reply = self.create(tools=[WEATHER], tool_choice=choice, max_tokens=800, extra_body=extra)
            calls = reply.choices[0].message.tool_calls
            assert reply.choices[0].finish_reason in ("tool_calls", "length") and calls, reply
            if reply.choices[0].finish_reason == "tool_calls":
                assert {call.function.name for call in calls} == {"get_weather"}
                assert all(set(json.loads(call.function.arguments)) == {"city"} for call in calls)

    def required_tool(self):
        request = {"tools": [WEATHER], "tool_choice": "required", "extra_body": OFF, "max_tokens": 200, "temperature": 0}
        request["messages"] = [{"role": "user", "content": "What is the weather in Paris?"}]
        whole = self.create(**request)
        _, _, calls, finish, _ = collect(self.create(**request, stream=True))
        ours = whole.choices[0].message.tool_calls
        assert finish == whole.choices[0].finish_reason in ("tool_calls", "length")
        assert [(call["name"], call["arguments"]) for call in calls.values()] == [
            (call.function.name, call.function.arguments) for call in ours
        ]
        print("   ", [(call.function.name, call.function.arguments) for call in ours])
        for call in ours:
            json.loads(call.function.arguments)
        answers = [{"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear"}'} for call in ours]
        turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in ours]}
        again = self.create(messages=[*request["messages"], turn, *answers], tools=[WEATHER], extra_body=OFF)
        assert again.choices[0].finish_reason

    def next_turn_is_cached(self):
        first = self.create(extra_body=OFF, temperature=0)
        turn = {"role": "assistant", "content": first.choices[0].message.content}
        more = {"role": "user", "content": "And 5 plus 6?"}
        second = self.create(messages=[*QUESTION, turn, more], extra_body=OFF)
        assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1

    def errors(self):
        for request, kind, part in [
            ({"model": "no-such-model"}, openai.BadRequestError, "supported API model names"),
            ({"messages": []}, openai.BadRequestError, "Empty input messages"),
            ({"temperature": 9}, openai.BadRequestError, "range of temperature"),
            ({"messages": [{"role": "user", "content": "word " * 200_000}]}, openai.BadRequestError, "maximum context"),
        ]:
            try:
                self.create(**request)
            except kind as error:
                assert part in error.body["message"], error.body
            else:
                raise AssertionError(f"{request} was accepted")

    def dropped_connection(self):
        """A client that leaves frees its place at once: eight long answers in a row, each dropped after its first piece."""
        started = time.monotonic()
        for _ in range(8):
            stream = self.create(stream=True, max_tokens=20_000, temperature=2.0)
            next(iter(stream))
            stream.close()
        self.create(max_tokens=1)
        assert time.monotonic() - started < 20


if __name__ == "__main__":
    checks.run(Chat(sys.argv[1]), f"openai {openai.__version__}: chat completions")
