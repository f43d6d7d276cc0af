// A headless browser, and its complaints.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

/** Where Chromium is; installed from Debian if it is not. */
function find() {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const named = process.env["CHROMIUM"];
  if (named) return named;
  const there = () => places.find((path) => existsSync(path));
  if (!there()) {
    execFileSync("apt-get", ["update", "-q"], { stdio: "inherit" });
    execFileSync("apt-get", ["install", "-y", "-q", "--no-install-recommends", "chromium"], { stdio: "inherit" });
  }
  const found = there();
  if (!found) throw new Error("no Chromium: install it (apt install chromium), or set CHROMIUM to one");
  return found;
}

export const launch = () => chromium.launch({ executablePath: find(), args: ["--no-sandbox"] });

/** A page that notes what must never happen: errors, policy violations, requests to other hosts. */
export async function watched(browser, origin, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options });
  const complaints = [];
  await context.exposeFunction("__violation", (what) => complaints.push(`policy: ${what}`));
  await context.addInitScript(() => {
    // The likeliest words, so that answers are the same each time.
    localStorage.setItem("fathom.settings", JSON.stringify({ system: "", temperature: 0, topP: null, maxTokens: null }));
    addEventListener("securitypolicyviolation", (event) => {
      window["__violation"](`${event.effectiveDirective} ${event.blockedURI} ${event.sample} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  context.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !url.startsWith("data:") && !url.startsWith("blob:")) complaints.push(`outside: ${url}`);
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`error: ${error.stack ?? error.message}`));
  page.on("console", (message) => {
    // A refused or broken request is part of some tests; the page says it itself.
    if (message.type() === "error" && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(`console: ${message.text()}`);
  });
  return { page, context, complaints };
}
