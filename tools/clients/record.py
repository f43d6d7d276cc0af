#!/usr/bin/env python3
"""Stands between an agent and Fathom: passes everything on, and writes down what was said. Standard library only.

    record.py --to http://127.0.0.1:8017 --port 9017 --out run.jsonl
    record.py … --seed 3
    record.py … --call Bash --with '{"command": "echo hello"}'
    record.py … --call apply_patch --text '*** Begin Patch…'

The built-in model has 9 million parameters and cannot plan code, and agents do not let their users set `tool_choice`. So that a
tool's round trip can be shown with it, --call NAME rewrites requests that offer the tool NAME and hold no tool result yet: the tool
choice becomes NAME, once, which Fathom's grammar then enforces, and with --with or --text the tool's schema (or grammar) allows only
these arguments. --seed makes a run repeatable. Nothing else of a request changes, and replies pass as they are. The server has no
switch for this.

Each line of --out is one exchange: method, path, headers without keys, body and reply. Texts of requests are shortened to --keep
characters, for they hold the agents' own prompts; lines of replies to ten times that.
"""

import argparse
import http.client
import http.server
import json
import sys
import threading
import urllib.parse

SECRET = {"authorization", "x-api-key", "cookie"}
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"}


def shortened(value, keep):
    """`value` with every text longer than `keep` cut in the middle."""
    if isinstance(value, str) and len(value) > keep:
        half = keep // 2
        return f"{value[:half]}[… {len(value) - 2 * half} characters …]{value[-half:]}"
    if isinstance(value, list):
        return [shortened(item, keep) for item in value]
    if isinstance(value, dict):
        return {key: shortened(item, keep) for key, item in value.items()}
    return value


def has_result(body):
    """Whether a tool has been called already."""
    for message in body.get("messages", []):
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        if message.get("role") == "tool" or any(block.get("type") == "tool_result" for block in blocks):
            return True
    items = body.get("input")
    items = items if isinstance(items, list) else []
    return any(item.get("type", "").endswith("_call_output") for item in items)


def narrowed(arguments):
    """A schema that allows these arguments and no others."""
    return {
        "type": "object",
        "properties": {key: {"type": "string", "enum": [value]} for key, value in arguments.items()},
        "required": list(arguments),
        "additionalProperties": False,
    }


def force(body, name, arguments, text):
    """Rewrites a request to call `name`; returns whether it did."""
    if has_result(body):
        return False
    for tool in body.get("tools", []):
        function = tool.get("function", tool)
        if function.get("name") != name:
            continue
        # Once is enough: a small model that is made to call goes on calling.
        body["parallel_tool_calls"] = False
        if tool.get("type") == "custom" and "input_schema" not in tool:
            body["tool_choice"] = {"type": "custom", "name": name}
            if text is not None:
                tool["format"] = {"type": "grammar", "syntax": "lark", "definition": "start: " + json.dumps(text)}
            return True
        if "input_schema" in tool:
            del body["parallel_tool_calls"]
            schema, body["tool_choice"] = "input_schema", {"type": "tool", "name": name, "disable_parallel_tool_use": True}
        elif function is tool:
            schema, body["tool_choice"] = "parameters", {"type": "function", "name": name}
        else:
            schema, body["tool_choice"] = "parameters", {"type": "function", "function": {"name": name}}
        if arguments is not None:
            function[schema] = narrowed(arguments)
            function["strict"] = True
        return True
    return False


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the agent."""

    def exchange(self):
        options = self.server.options
        length = int(self.headers.get("content-length") or 0)
        sent = self.rfile.read(length)
        try:
            body = json.loads(sent)
        except ValueError:
            body = None
        forced = False
        if isinstance(body, dict):
            if options.call:
                forced = force(body, options.call, options.arguments, options.text)
            if options.seed is not None:
                body["seed"] = options.seed
            sent = json.dumps(body).encode()
        to = urllib.parse.urlsplit(options.to)
        upstream = http.client.HTTPConnection(to.hostname, to.port or 80, timeout=600)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
        upstream.request(self.command, to.path.rstrip("/") + self.path, sent, headers)
        reply = upstream.getresponse()
        self.send_response(reply.status)
        for key, value in reply.getheaders():
            if key.lower() not in HOP:
                self.send_header(key, value)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        received = bytearray()
        cut = None
        try:
            while chunk := reply.read1(65536):
                received += chunk
                self.wfile.write(chunk)
                self.wfile.flush()
        except OSError as error:
            cut = str(error)
        upstream.close()
        kept = {key: value for key, value in self.headers.items() if key.lower() not in SECRET}
        record = {
            "request": {
                "method": self.command,
                "path": self.path,
                "headers": kept,
                "forced": forced,
                "body": shortened(body, options.keep),
            },
            "reply": {
                "status": reply.status,
                "headers": dict(reply.getheaders()),
                "body": shortened(received.decode(errors="replace").split("\n"), 10 * options.keep),
            },
        }
        if cut:
            record["cut"] = cut
        with self.server.writing:
            print(json.dumps(record, ensure_ascii=False), file=self.server.out, flush=True)

    do_GET = do_POST = do_HEAD = do_DELETE = exchange

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="http://127.0.0.1:8017", help="where Fathom listens")
    parser.add_argument("--port", type=int, default=9017)
    parser.add_argument("--out", required=True)
    parser.add_argument("--keep", type=int, default=300, help="longest text of a request written down, in characters")
    parser.add_argument("--seed", type=int, help="the seed of every answer")
    parser.add_argument("--call", metavar="NAME", help="the tool to call first")
    parser.add_argument("--with", dest="arguments", type=json.loads, metavar="JSON", help="its arguments, texts only")
    parser.add_argument("--text", help="what a custom tool is given")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.options, server.writing = options, threading.Lock()
    server.out = open(options.out, "a", encoding="utf-8")
    print(f"http://127.0.0.1:{options.port} -> {options.to}", file=sys.stderr, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
