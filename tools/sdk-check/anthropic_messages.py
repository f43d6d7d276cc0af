#!/usr/bin/env python3
"""Messages of a running `fathom serve` through the anthropic package: anthropic_messages.py ROOT_URL."""

import sys

import anthropic

import checks

QUESTION = [{"role": "user", "content": "What is 3 plus 4?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
OFF = {"type": "disabled"}
# The package has no such argument any more; the wire does.
GREEDY = {"temperature": 0}


class Messages:
    def __init__(self, root):
        self._client = anthropic.Anthropic(base_url=root + "/anthropic", api_key="unused", max_retries=0)

    def _create(self, **request):
        return self._client.messages.create(**self._request(**request))

    def _request(self, **request):
        return {"model": "claude-opus-4-8", "messages": QUESTION, "max_tokens": 400} | request

    def message(self):
        reply = self._create()
        assert [block.type for block in reply.content] == ["thinking", "text"], reply.content
        assert reply.stop_reason in ("end_turn", "max_tokens") and reply.usage.output_tokens > 0

    def without_thinking(self):
        reply = self._create(thinking=OFF, extra_body=GREEDY)
        assert [block.type for block in reply.content] == ["text"]

    def streamed(self):
        with self._client.messages.stream(**self._request(thinking=OFF, extra_body=GREEDY)) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == final.content[0].text == self._create(thinking=OFF, extra_body=GREEDY).content[0].text

    def cut_and_stopped(self):
        assert self._create(max_tokens=2, thinking=OFF).stop_reason == "max_tokens"
        whole = self._create(thinking=OFF, extra_body=GREEDY).content[0].text
        reply = self._create(thinking=OFF, extra_body=GREEDY, stop_sequences=[whole[3:5]])
        assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", whole[3:5])

    def tool(self):
        """A forced call, its result, and the answer."""
        ask = {"role": "user", "content": "What is the weather in Paris?"}
        choice = {"type": "tool", "name": "get_weather"}
        reply = self._create(messages=[ask], tools=[WEATHER], tool_choice=choice, thinking=OFF)
        calls = [block for block in reply.content if block.type == "tool_use"]
        assert calls and reply.stop_reason in ("tool_use", "max_tokens"), reply
        assert all(set(call.input) == {"city"} for call in calls)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "clear"} for call in calls]
        turn = [ask, {"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
        again = self._create(messages=turn, tools=[WEATHER], thinking=OFF)
        assert again.usage.cache_read_input_tokens > 0 or again.usage.input_tokens < 128

    def tokens_are_counted(self):
        counted = self._client.messages.count_tokens(model="claude-opus-4-8", messages=QUESTION)
        usage = self._create(max_tokens=1).usage
        assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens

    def models(self):
        assert self._client.models.list().data

    def errors(self):
        for request, kind in [
            ({"model": "gpt-4"}, anthropic.BadRequestError),
            ({"messages": []}, anthropic.BadRequestError),
            ({"extra_body": {"temperature": 9}}, anthropic.BadRequestError),
        ]:
            try:
                self._create(**request)
            except kind as error:
                assert error.message
            else:
                raise AssertionError(f"{request} was accepted")


if __name__ == "__main__":
    checks.run(Messages(sys.argv[1]), f"anthropic {anthropic.__version__}: messages")
