// Bundles the unit tests and runs them: `node test/run.mjs`.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const tests = (await readdir(here)).filter((name) => /\.test\.tsx?$/.test(name));
// Beside node_modules, so that what is not bundled is found.
const out = await mkdtemp(join(here, "../node_modules/.test-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: tests,
    outdir: out,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    outExtension: { ".js": ".mjs" },
    jsx: "automatic",
    jsxImportSource: "preact",
    packages: "external",
    sourcemap: "inline",
    logLevel: "warning",
  });
  const files = (await readdir(out)).map((name) => join(out, name));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  await rm(out, { recursive: true });
}
