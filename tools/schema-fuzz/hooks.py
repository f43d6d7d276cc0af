"""Most made-up requests name a model that is served and ask for short answers: otherwise hardly any gets past the model's name."""

import schemathesis

MODEL = "deepseek-v4-flash"
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        # One in eight keeps its own, whatever that is.
        if sum(body["model"].encode(errors="replace")) % 8:
            body["model"] = MODEL
        for limit in LIMITS:
            if isinstance(body.get(limit), int) and body[limit] > 32:
                body[limit] = 1 + body[limit] % 32
    return body
