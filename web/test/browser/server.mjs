// The real server with the built-in model, and before it a relay that can make it slow, cut its answers or refuse.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** The program: $FATHOM, or what cargo built last. */
export function program() {
  const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
  const candidates = [process.env["FATHOM"], join(target, "debug/fathom"), join(target, "release/fathom")];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error("no fathom program: run `cargo build -p fathom`, or set FATHOM to one");
  return found;
}

/** A file of accounts that is nobody's. */
export function newAccounts() {
  const home = mkdtempSync(join(tmpdir(), "fathom-page-"));
  const file = join(home, "accounts.sqlite");
  return {
    file,
    /** Makes a key and gives its secret. */
    key: (name, ...flags) =>
      JSON.parse(execFileSync(program(), ["keys", "create", name, "--json", "--accounts", file, ...flags], { encoding: "utf8" })).secret,
    end: () => rmSync(home, { recursive: true }),
  };
}

/** Starts `fathom serve` on a free port; resolves once it answers. */
export async function serve(accounts, ...more) {
  const child = spawn(program(), ["serve", "--port", "0", "--accounts", accounts.file, ...more], { stdio: ["ignore", "pipe", "pipe"] });
  const said = { text: "" };
  const url = await new Promise((resolve, reject) => {
    const look = (chunk) => {
      said.text += chunk;
      const match = /https?:\/\/(127\.0\.0\.1:\d+)/.exec(said.text);
      if (match) resolve(`http://${match[1]}`);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.on("exit", (code) => reject(new Error(`fathom serve ended with ${code}:\n${said.text}`)));
  });
  return {
    url,
    end: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve(accounts.end()));
        child.kill("SIGKILL");
      }),
  };
}

/** Relays everything to `upstream`; `rules` may change while it runs. */
export async function relay(upstream) {
  /** delayMs: before each event; cutAfter: events of an answer after which the connection breaks; refuse: a status and body for answers. */
  const rules = { delayMs: 0, cutAfter: Infinity, refuse: null };
  const asked = [];
  const server = http.createServer((request, reply) => {
    const answers = request.url.endsWith("/chat/completions");
    if (answers) asked.push(request.url);
    if (answers && rules.refuse) {
      reply.writeHead(rules.refuse.status, { "content-type": "application/json" });
      reply.end(rules.refuse.body);
      request.resume();
      return;
    }
    const { port, hostname } = new URL(upstream);
    const headers = { ...request.headers, host: `${hostname}:${port}` };
    const onward = http.request({ port, hostname, path: request.url, method: request.method, headers });
    request.pipe(onward);
    reply.on("close", () => onward.destroy());
    onward.on("error", () => reply.destroy());
    onward.on("response", async (response) => {
      reply.writeHead(response.statusCode, response.headers);
      if (!answers || response.statusCode !== 200) return void response.pipe(reply);
      let events = 0;
      let rest = "";
      response.setEncoding("utf8");
      try {
        for await (const chunk of response) {
          rest += chunk;
          for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
            if (events++ >= rules.cutAfter) return reply.destroy();
            if (rules.delayMs > 0) await new Promise((later) => setTimeout(later, rules.delayMs));
            reply.write(rest.slice(0, end + 2));
            rest = rest.slice(end + 2);
          }
        }
        reply.end(rest);
      } catch {
        // The page went away.
        reply.destroy();
      }
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    rules,
    asked,
    end: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
