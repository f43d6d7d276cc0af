// Builds the pages into crates/serve/assets: `node build.mjs` (or `--out DIR`). The same sources give the same bytes.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL(".", import.meta.url));
const at = process.argv.indexOf("--out");
const out = at > 0 ? process.argv[at + 1] : join(root, "../crates/serve/assets");

// Formulas use these; the rest (Fraktur, typewriter, sans serif …) falls back to the page's own fonts.
const FONTS = new Set([
  "KaTeX_AMS-Regular", "KaTeX_Caligraphic-Regular", "KaTeX_Main-Bold", "KaTeX_Main-Regular", "KaTeX_Math-Italic",
  "KaTeX_Size1-Regular", "KaTeX_Size2-Regular", "KaTeX_Size3-Regular", "KaTeX_Size4-Regular",
]);

/** Of KaTeX's style sheet, the rules for those fonts, in the one format that every browser reads. */
const fonts = {
  name: "fonts",
  setup(plugins) {
    plugins.onLoad({ filter: /katex\.css$/ }, async ({ path }) => {
      const css = await readFile(path, "utf8");
      const kept = css.replace(/@font-face\s*{[^}]*}/g, (rule) => {
        const name = /fonts\/(KaTeX_[\w-]+)\.woff2/.exec(rule)?.[1];
        if (!FONTS.has(name)) return "";
        return rule.replace(/src:[^;}]*/, `src: url(fonts/${name}.woff2) format("woff2")`);
      });
      return { contents: kept, loader: "css" };
    });
  },
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const result = await build({
  absWorkingDir: root,
  entryPoints: { chat: "src/chat/main.tsx", admin: "src/admin/main.tsx", early: "src/early.ts", "chat-style": "src/chat/index.css", "admin-style": "src/admin/index.css", icon: "src/icon.svg" },
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  target: ["chrome120", "firefox121", "safari17"],
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".woff2": "file", ".svg": "copy" },
  entryNames: "[name]-[hash]",
  chunkNames: "part-[hash]",
  assetNames: "[name]-[hash]",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [fonts],
  metafile: true,
  logLevel: "warning",
});

const made = Object.entries(result.metafile.outputs);
const find = (name) => {
  const hit = made.map(([path]) => basename(path)).find((file) => file.startsWith(`${name}-`) && /^[A-Z0-9]{8}\./.test(file.slice(name.length + 1)));
  if (!hit) throw new Error(`the build made no ${name}`);
  return `/assets/${hit}`;
};
for (const page of ["chat", "admin"]) {
  const html = await readFile(join(root, `src/${page}/index.html`), "utf8");
  const names = { icon: find("icon"), style: find(`${page}-style`), early: find("early"), script: find(page) };
  await writeFile(join(out, `${page}.html`), html.replace(/{(\w+)}/g, (_, name) => names[name]));
}

// Third-party code in the bundle, with its licence.
const packages = new Map();
for (const input of Object.keys(result.metafile.inputs)) {
  const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
  if (name && !packages.has(name)) packages.set(name, JSON.parse(await readFile(join(root, "node_modules", name, "package.json"), "utf8")));
}
const notices = [];
for (const [name, { version, license }] of [...packages].sort()) {
  const dir = join(root, "node_modules", name);
  const file = (await readdir(dir)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? (await readFile(join(dir, file), "utf8")).trim() : "";
  notices.push(`${name} ${version} (${license})\n\n${text}\n`);
}
await writeFile(join(out, "licences.txt"), notices.join(`\n${"-".repeat(80)}\n\n`));

let total = 0;
for (const file of (await readdir(out)).sort()) {
  const bytes = await readFile(join(out, file));
  total += bytes.length;
  console.log(`${String(bytes.length).padStart(8)}  ${createHash("sha256").update(bytes).digest("hex").slice(0, 12)}  ${file}`);
}
console.log(`${String(total).padStart(8)}  in all`);
