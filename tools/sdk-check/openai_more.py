#!/usr/bin/env python3
"""The other wires of a running `fathom serve` through the openai package: openai_more.py ROOT_URL."""

import json
import sys

import openai

import checks

QUESTION = "What is 3 plus 4?"
OFF = {"thinking": {"type": "disabled"}}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class More:
    def __init__(self, root):
        client = lambda path: openai.OpenAI(base_url=root + path, api_key="unused", max_retries=0)
        self._plain, self._v1, self._beta = client(""), client("/v1"), client("/beta")
        self._model = self._v1.models.list().data[0].id

    def roots_are_the_same(self):
        assert self._plain.models.list().data[0].id == self._model
        assert self._v1.models.retrieve(self._model).id == self._model

    def prefix(self):
        """An answer that goes on where its beginning ends."""
        whole = self._beta.chat.completions.create(
            model=self._model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=80, extra_body=OFF
        )
        text = whole.choices[0].message.content
        begun = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text[:4], "prefix": True}]
        rest = self._beta.chat.completions.create(
            model=self._model, messages=begun, temperature=0, max_tokens=80, extra_body=OFF
        )
        assert not rest.choices[0].message.content.startswith(text[:4])

    def completion_of_a_text(self):
        reply = self._v1.completions.create(model=self._model, prompt="Once upon a time", max_tokens=8, seed=1)
        assert reply.object == "text_completion" and reply.usage.completion_tokens <= 8
        pieces = self._v1.completions.create(
            model=self._model, prompt="Once upon a time", max_tokens=8, seed=1, stream=True
        )
        assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == reply.choices[0].text

    def likelihoods_of_a_prompt(self):
        """What evaluation harnesses ask: token ids in, their log-probabilities out."""
        ids = self._v1.post("/tokenize", body={"model": self._model, "text": "Once upon a time"}, cast_to=object)["ids"]
        reply = self._v1.completions.create(
            model=self._model, prompt=[ids, ids[:-1]], max_tokens=1, echo=True, logprobs=1, temperature=0
        )
        assert len(reply.choices) == 2
        for choice, prompt in zip(reply.choices, (ids, ids[:-1]), strict=True):
            values = choice.logprobs.token_logprobs
            assert len(values) >= len(prompt) and values[0] is None
            assert all(value <= 0 for value in values[1:])

    def tokens_there_and_back(self):
        text = "Zwei Füße – 两只脚."
        ids = self._v1.post("/tokenize", body={"model": self._model, "text": text}, cast_to=object)["ids"]
        back = self._v1.post("/detokenize", body={"model": self._model, "ids": ids}, cast_to=object)
        assert back["text"] == text, back

    def _respond(self, **request):
        request = {"model": self._model, "input": QUESTION, "max_output_tokens": 400} | request
        return self._v1.responses.create(**request)

    def response(self):
        reply = self._respond()
        assert reply.status in ("completed", "incomplete") and reply.output_text
        assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
        assert [item.type for item in reply.output][-1] == "message"

    def response_streamed(self):
        """Events are numbered, and their text is the text of the response that ends them."""
        numbers, text, last = [], "", None
        for event in self._respond(stream=True):
            numbers.append(event.sequence_number)
            text += event.delta if event.type == "response.output_text.delta" else ""
            last = event
        assert numbers == list(range(len(numbers)))
        assert last.type in ("response.completed", "response.incomplete")
        assert last.response.output_text == text

    def response_calls_a_tool(self):
        ask = "What is the weather in Paris?"
        reply = self._respond(input=ask, tools=[WEATHER], tool_choice="required", reasoning={"effort": "none"})
        calls = [item for item in reply.output if item.type == "function_call"]
        assert calls, reply
        for call in calls:
            assert set(json.loads(call.arguments)) == {"city"}
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "clear"} for call in calls]
        history = [{"role": "user", "content": ask}, *[item.model_dump() for item in reply.output], *results]
        again = self._respond(input=history, tools=[WEATHER], reasoning={"effort": "none"})
        assert again.status in ("completed", "incomplete")


if __name__ == "__main__":
    checks.run(More(sys.argv[1]), f"openai {openai.__version__}: prefix, completions, tokens, responses")
