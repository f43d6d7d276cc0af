// The pages in a real browser against the real server: `node test/browser.mjs`, a minute or less.
// SHOTS=DIR also takes the screenshots that the documentation shows.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, watched } from "./browser/chromium.mjs";
import { newAccounts, relay, serve } from "./browser/server.mjs";

const shots = process.env["SHOTS"];
let server;
let front;
let browser;

before(async () => {
  server = await serve(newAccounts());
  front = await relay(server.url);
  browser = await launch();
  if (shots) await mkdir(shots, { recursive: true });
});
after(async () => {
  await browser?.close();
  front?.end();
  await server?.end();
});

const shot = async (page, name) => {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`) });
};

/** Runs `body` on a fresh page and holds it to what every page must keep. */
function onPage(name, body, options) {
  test(name, async () => {
    Object.assign(front.rules, { delayMs: 0, cutAfter: Infinity, refuse: null });
    const { page, context, complaints } = await watched(browser, front.url, options);
    page.setDefaultTimeout(15_000);
    try {
      await page.goto(`${front.url}/`);
      await page.waitForSelector("#message");
      await body(page, context);
    } finally {
      await context.close();
    }
    assert.deepEqual(complaints, []);
  });
}

const composer = (page) => page.locator("#message");
const answers = (page) => page.locator(".answer");
/** The last answer's text, once it is complete. */
async function answered(page, nth = -1) {
  const answer = answers(page).nth(nth);
  await answer.locator(".actions").waitFor({ state: "attached" });
  return (await answer.locator(":scope > .md").innerText()).trim();
}
/** The last answer's text, once it is longer than `before` and complete. */
async function continued(page, before) {
  await page.waitForFunction((length) => {
    const answer = [...document.querySelectorAll(".answer")].at(-1);
    const text = answer.querySelector(":scope > .md")?.innerText.trim() ?? "";
    return answer.ariaBusy === "false" && text.length > length;
  }, before.length);
  return answered(page);
}
async function say(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}
async function thinking(page, level) {
  await page.locator(".pill").click();
  await page.getByRole("menuitemradio", { name: level }).click();
}

onPage("a message is answered, with reasoning folded away; a reload keeps it", async (page) => {
  await say(page, "What is 17 + 25?");
  assert.match(await answered(page), /17 \+ 25 = 42/);
  const fold = page.locator(".reasoning-head");
  assert.equal(await fold.getAttribute("aria-expanded"), "false");
  await fold.click();
  assert.match(await page.locator(".reasoning-text").innerText(), /carry 1/);
  assert.match(await page.locator(".figures").innerText(), /\d+ tokens/);
  await page.reload();
  assert.match(await answered(page), /17 \+ 25 = 42/);
  assert.equal(await page.locator(".entry-here").innerText(), "What is 17 + 25?");
});

onPage("an answer appears while it is written, and Escape stops it", async (page) => {
  await thinking(page, "Off");
  front.rules.delayMs = 60;
  await say(page, "Tell me a story about a frog.");
  const text = page.locator(".answer .md");
  await text.waitFor();
  const early = (await text.innerText()).length;
  await page.waitForFunction((n) => document.querySelector(".answer .md").textContent.length > n + 20, early);
  assert.equal(await page.getByRole("button", { name: "Stop" }).count(), 1);
  await page.keyboard.press("Escape");
  await page.getByText("You stopped this answer.").waitFor();
  const kept = (await text.innerText()).trim();
  assert.ok(kept.length > early);
  // It goes on from where it stopped.
  front.rules.delayMs = 0;
  await page.getByRole("button", { name: "Continue" }).click();
  const whole = await continued(page, kept);
  assert.ok(whole.startsWith(kept), `${kept} → ${whole}`);
  assert.equal(front.asked.at(-1), "/beta/chat/completions");
});

onPage("messages are edited and answers asked for again, with versions to page through", async (page) => {
  await thinking(page, "Off");
  await say(page, "What is 8 * 7?");
  assert.match(await answered(page), /56/);
  await page.getByRole("button", { name: "Another answer" }).click();
  await page.locator(".answer .versions-count", { hasText: "2/2" }).waitFor();
  await answered(page);
  await page.locator(".answer").getByRole("button", { name: "Previous version" }).click();
  await page.locator(".answer .versions-count", { hasText: "1/2" }).waitFor();
  // Arrow up edits the last message.
  await composer(page).press("ArrowUp");
  const editor = page.getByRole("textbox", { name: "Edit your message" });
  await editor.fill("What is 17 + 25?");
  await editor.press("Enter");
  await page.locator(".question .versions-count", { hasText: "2/2" }).waitFor();
  assert.match(await answered(page), /42/);
  await page.locator(".question").getByRole("button", { name: "Previous version" }).click();
  assert.match(await answered(page), /56/);
});

onPage("an answer cut by its length goes on", async (page) => {
  await thinking(page, "Off");
  await page.locator(".header").getByRole("button", { name: "Settings" }).click();
  const limit = page.getByRole("spinbutton", { name: "Longest answer" });
  await limit.fill("6");
  await limit.press("Tab");
  await page.keyboard.press("Escape");
  await say(page, "Tell me a story about a frog.");
  await page.getByText("reached its length limit").waitFor();
  const begun = await answered(page);
  await page.getByRole("button", { name: "Continue" }).click();
  const more = await continued(page, begun);
  assert.ok(more.startsWith(begun), `${begun} → ${more}`);
});

onPage("a lost connection keeps what was written", async (page) => {
  await thinking(page, "Off");
  front.rules.delayMs = 15;
  front.rules.cutAfter = 12;
  await say(page, "Tell me a story about a frog.");
  await page.getByText("The connection was lost").waitFor();
  const kept = await answered(page);
  front.rules.cutAfter = Infinity;
  await page.getByRole("button", { name: "Continue" }).click();
  const whole = await continued(page, kept);
  assert.ok(whole.startsWith(kept), `${kept} → ${whole}`);
});

onPage("errors are sentences, and trying again is one press", async (page) => {
  front.rules.refuse = { status: 429, body: '{"error":{"message":"queue full"}}' };
  await say(page, "What is 17 + 25?");
  await page.getByText("The server is busy").waitFor();
  await page.getByText("queue full").waitFor();
  front.rules.refuse = null;
  await page.getByRole("button", { name: "Try again" }).click();
  assert.match(await answered(page), /42/);
  // In place of the failed one, not beside it.
  assert.equal(await page.locator(".answer .versions").count(), 0);
});

onPage("a server that wants a key gets one", async (page) => {
  front.rules.refuse = { status: 401, body: '{"error":{"message":"Authentication Fails"}}' };
  await say(page, "Hello");
  await page.getByText("needs an API key").first().waitFor();
  await page.getByRole("button", { name: "Enter key" }).click();
  await page.getByRole("textbox", { name: "API key" }).or(page.locator('input[type="password"]')).fill("sk-test");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("dialog").waitFor({ state: "detached" });
  front.rules.refuse = null;
  const sent = page.waitForRequest((request) => request.url().endsWith("/chat/completions"));
  await page.getByRole("button", { name: "Try again" }).click();
  assert.equal((await sent).headers()["authorization"], "Bearer sk-test");
  await answered(page);
});

onPage("files are counted, sent and read; what is no text is refused", async (page) => {
  const filler = "It was rainy in Oslo. The baker closed the shop. ".repeat(60);
  const text = `${filler}The key of Falcon is lantern. ${filler}`;
  const drop = async (name, content) => {
    const transfer = await page.evaluateHandle(
      ([file, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([typeof bytes === "string" ? bytes : new Uint8Array(bytes)], file));
        return data;
      },
      [name, content],
    );
    await page.dispatchEvent("body", "dragenter", { dataTransfer: transfer });
    await page.getByText("Drop text files here").waitFor();
    await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
  };
  await drop("photo.png", [0x89, 0x50, 0x4e, 0x47, 0, 0, 0, 13]);
  await page.getByText("photo.png is not a text file").waitFor();
  await drop("notes.txt", text);
  await page.locator(".chip-note", { hasText: /[\d,]{4,} tokens/ }).waitFor();
  await thinking(page, "Off");
  await say(page, "What is the key of Falcon?");
  assert.match(await answered(page), /lantern/);
  await page.locator(".question .chip-name", { hasText: "notes.txt" }).waitFor();
  // The next question finds the file in the cache.
  await say(page, "What is the key of Falcon?");
  await answered(page);
  await page.locator(".answer").nth(1).locator(".figures").waitFor();
  await page.locator(".meter").click();
  const cached = page.locator(".meter-details dl").first().locator("dd").first();
  assert.ok(Number((await cached.innerText()).replace(/\D/g, "")) > 500, await cached.innerText());
  await shot(page, "files-light");
});

onPage("markdown: code, maths, tables, and nothing that runs", async (page) => {
  // The built-in model writes none of this, so the conversation is imported.
  const markdown = [
    "## Compound interest\n\nAfter $n$ years a capital $C$ at rate $r$ is worth\n\n$$C_n = C\\,(1 + r)^n = C \\sum_{k=0}^{n} \\binom{n}{k} r^k$$\n",
    "In Rust:\n\n```rust\n/// Worth after `years` at `rate`.\nfn worth(capital: f64, rate: f64, years: u32) -> f64 {\n    capital * (1.0 + rate).powi(years as i32) // compounded yearly\n}\n```\n",
    "| years | worth |\n|---:|---:|\n| 1 | 1 050 |\n| 10 | 1 629 |\n",
    "1. **Compare** the *effective* rates.\n2. See [the proof](https://example.org/).\n\n<img src=x onerror=alert(1)> <script>alert(2)</script> [x](javascript:alert(3))\n\n![far](https://example.org/p.png)",
    "$$\\sqrt{\\pmb{x}} \\overbrace{a+b}^{c} \\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix} \\left\\lbrace \\dfrac{\\frac{1}{2}}{\\frac{3}{\\frac45}} \\right. \\fbox{x} \\oiint \\colorbox{red}{y}$$ $\\unknowncommand$",
  ].join("\n");
  const file = {
    format: "fathom-conversations",
    version: 1,
    conversations: [
      {
        title: "Compound interest",
        messages: [
          { id: "u", parent: null, role: "user", text: "How does compound interest grow? With code, please.", created: 1 },
          { id: "a", parent: "u", role: "assistant", text: markdown, created: 2, finish: "stop" },
        ],
      },
    ],
  };
  await page.locator(".header").getByRole("button", { name: "Settings" }).click();
  await page.locator('dialog input[type="file"]').setInputFiles({
    name: "chats.json",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(file)),
  });
  await page.getByText("1 chat imported").waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".entry", { hasText: "Compound interest" }).click();
  await page.locator(".katex-display").first().waitFor();
  await page.locator(".hljs-keyword").first().waitFor();
  assert.equal(await page.locator(".answer script, .answer img, .answer [onerror], .answer [style*=url]").count(), 0);
  assert.equal(await page.locator('.answer a[href^="https://example.org/"]').count(), 2);
  // KaTeX sets sizes through the DOM; without them, parts of a formula would lie on each other.
  const heights = await page.locator(".katex .vlist > span").evaluateAll((all) => all.map((e) => e.style.top).filter(Boolean));
  assert.ok(heights.length > 5);
  assert.equal(await page.locator(".math code", { hasText: "unknowncommand" }).count(), 1);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy code" }).click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^\/\/\/ Worth[^]*}$/);
  await page.locator(".thread").evaluate((e) => (e.scrollTop = 0));
  await page.locator(".notice").waitFor({ state: "detached" });
  await shot(page, "markdown-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await shot(page, "markdown-dark");
});

onPage("the list: search, rename, delete, export; keys for all of it", async (page) => {
  await say(page, "What is 17 + 25?");
  await answered(page);
  await page.keyboard.press("Control+Shift+O");
  await page.getByRole("heading", { name: "What shall we look into?" }).waitFor();
  await shot(page, "empty-light");
  await say(page, "Tell me a story about a frog.");
  await answered(page);
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("17 + 25 = 42");
  await page.locator(".found-text").waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".entry-here", { hasText: "What is 17 + 25?" }).waitFor();
  await page.goBack();
  await page.locator(".entry-here", { hasText: "frog" }).waitFor();
  const more = page.locator(".entry-here").getByRole("button", { name: /More for/ });
  await more.click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  await page.getByRole("textbox", { name: "Title" }).fill("Frogs");
  await page.keyboard.press("Enter");
  await page.locator(".entry-here", { hasText: "Frogs" }).waitFor();
  await more.click();
  const download = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "Export" }).click();
  assert.match((await download).suggestedFilename(), /^Frogs \d{4}-\d\d-\d\d\.json$/);
  await more.click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.locator(".entry", { hasText: "Frogs" }).waitFor({ state: "detached" });
  assert.equal(await page.locator(".entry").count(), 1);
  await page.locator("body").press("Shift+?");
  await page.locator("#message").blur();
  await page.keyboard.press("?");
  await page.locator(".keys").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
});

onPage("who scrolls up is let go while an answer grows", async (page) => {
  await thinking(page, "Off");
  for (let i = 0; i < 4; i++) {
    await say(page, "Tell me a story about a frog.");
    await answered(page, i);
  }
  front.rules.delayMs = 100;
  await say(page, "Tell me a story about a pig.");
  await answers(page).nth(4).locator(".md").waitFor();
  const thread = page.locator(".thread");
  const below = () => thread.evaluate((e) => e.scrollHeight - e.clientHeight - e.scrollTop);
  assert.ok((await below()) < 5);
  await thread.evaluate((e) => e.scrollBy(0, -300));
  const top = await thread.evaluate((e) => e.scrollTop);
  const before = await answers(page).nth(4).innerText();
  await page.waitForFunction((n) => [...document.querySelectorAll(".answer")].at(-1).innerText.length > n + 10, before.length);
  assert.equal(await thread.evaluate((e) => e.scrollTop), top);
  await page.getByRole("button", { name: "To the latest message" }).click();
  assert.ok((await below()) < 5);
  await page.keyboard.press("Escape");
});

onPage(
  "on a phone: a drawer, nothing beyond the edge, fingers can hit it",
  async (page) => {
    await page.locator(".empty").waitFor();
    await shot(page, "phone-empty-light");
    await say(page, "What is 17 + 25?");
    await answered(page);
    await shot(page, "phone-light");
    assert.equal(await page.locator(".sidebar").count(), 0);
    await page.getByRole("button", { name: "Show chats" }).click();
    await page.locator(".sidebar").waitFor();
    await page.waitForTimeout(250);
    await shot(page, "phone-drawer-light");
    await page.locator(".entry a").click();
    await page.locator(".sidebar").waitFor({ state: "detached" });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    const small = await page
      .locator(".header button, .composer-row button")
      .evaluateAll((all) => all.filter((e) => e.getBoundingClientRect().height < 34).map((e) => e.ariaLabel));
    assert.deepEqual(small, []);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForTimeout(100);
    await shot(page, "phone-dark");
  },
  { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
);

onPage(
  "in Chinese, as the browser asks, and the switch",
  async (page) => {
    await page.getByRole("heading", { name: "今天想了解什么？" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    await shot(page, "empty-zh-dark");
    await page.locator(".header").getByRole("button", { name: "设置" }).click();
    await page.locator("dialog select").selectOption("en");
    await page.getByRole("heading", { name: "Settings" }).waitFor();
    await page.getByRole("radio", { name: "Light" }).click();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
    await shot(page, "settings-light");
    await page.reload();
    await page.getByRole("heading", { name: "What shall we look into?" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  },
  { locale: "zh-CN", colorScheme: "dark" },
);

for (const colorScheme of ["light", "dark"]) {
  test(`nothing that keeps people out (axe), ${colorScheme}`, async () => {
    Object.assign(front.rules, { delayMs: 0, cutAfter: Infinity, refuse: null });
    const axe = await readFile(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
    // axe brings its own code, which the pages' policy would refuse.
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme, bypassCSP: true });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const check = async (what) => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      const found = violations.map((v) => `${what}: ${v.id}: ${v.nodes.map((n) => `${n.html} ${n.any[0]?.message ?? ""}`).join("\n")}`);
      assert.deepEqual(found, []);
    };
    try {
      await page.goto(`${front.url}/`);
      await page.waitForSelector("#message");
      await check("empty");
      await say(page, "What is 17 + 25?");
      await answered(page);
      await page.locator(".reasoning-head").click();
      await check("conversation");
      await page.locator(".header").getByRole("button", { name: "Settings" }).click();
      await check("settings");
      await page.keyboard.press("Escape");
      await page.keyboard.press("Control+k");
      await check("search");
      await page.goto(`${front.url}/admin`);
      await page.locator(".tiles").waitFor();
      await check("admin");
    } finally {
      await context.close();
    }
  });
}

test("the operator's page: live figures, usage, and the same bounds", async () => {
  const { page, context, complaints } = await watched(browser, front.url);
  page.setDefaultTimeout(15_000);
  try {
    await page.goto(`${front.url}/admin`);
    await page.locator(".tiles").waitFor();
    assert.equal(await page.locator(".uplot").count(), 6);
    const tokens = () => page.locator(".tiles .panel", { hasText: "decode" }).locator("dd").first().getAttribute("title");
    const before = await tokens();
    await fetch(`${front.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "fathom-small-1", messages: [{ role: "user", content: "Tell me a story about a frog." }] }),
    }).then((reply) => reply.text());
    await page.waitForFunction(
      (was) => [...document.querySelectorAll(".tiles .panel")].find((e) => e.textContent.startsWith("decode")).querySelector("dd").title !== was,
      before,
    );
    await page.getByText("How lookups ended").waitFor();
    await page.waitForTimeout(1500);
    await shot(page, "admin-light");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 780 });
    await page.waitForTimeout(300);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await shot(page, "admin-phone-dark");
  } finally {
    await context.close();
  }
  assert.deepEqual(complaints, []);
});

test("keys: asked for at once, refused if wrong, charged, and seen by the operator", async () => {
  const accounts = newAccounts();
  const user = accounts.key("ann", "--currency", "CNY", "--tokens-per-day", "100k");
  const operator = accounts.key("root", "--admin");
  const locked = await serve(accounts, "--require-key");
  const { page, context, complaints } = await watched(browser, locked.url);
  page.setDefaultTimeout(15_000);
  try {
    await page.goto(`${locked.url}/`);
    const field = page.locator('dialog input[type="password"]');
    await field.fill("sk-wrong");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("The server does not know this key.").waitFor();
    await field.fill(user);
    await page.getByRole("button", { name: "Save" }).click();
    await page.locator("dialog").waitFor({ state: "detached" });
    await say(page, "What is 17 + 25?");
    assert.match(await answered(page), /42/);
    await page.locator(".meter").click();
    assert.match(await page.locator(".meter-cost").innerText(), /CN¥0\.0\d+/);
    // An ordinary key opens no figures.
    await page.goto(`${locked.url}/admin`);
    await page.getByText("This page needs a key with admin right.").waitFor();
    await page.locator('input[type="password"]').fill(operator);
    await page.getByRole("button", { name: "Save" }).click();
    await page.locator(".tiles").waitFor();
    const usage = page.locator(".panel", { hasText: "By key" });
    await usage.locator("tbody tr", { hasText: "ann" }).waitFor();
    assert.match(await usage.locator("tbody tr", { hasText: "ann" }).innerText(), /CN¥0\.0\d+/);
    await usage.getByRole("radio", { name: "By model" }).click();
    await usage.locator("tbody tr", { hasText: "fathom-small-1" }).waitFor();
    await page.locator(".panel", { hasText: "Ends in" }).locator("tr", { hasText: "ann" }).getByText("/ 100,000").waitFor();
    await page.locator(".panel", { hasText: "Ends in" }).scrollIntoViewIfNeeded();
    await shot(page, "admin-keys-light");
  } finally {
    await context.close();
    await locked.end();
  }
  assert.deepEqual(complaints, []);
});
