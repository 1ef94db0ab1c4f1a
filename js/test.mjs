// Bundles test/*.test.ts and hands them to node's test runner.   npm test [-- name ...]
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const tests = (await readdir(join(here, "test")))
  .filter((file) => file.endsWith(".test.ts"))
  .filter((file) => wanted.length === 0 || wanted.includes(file.slice(0, -".test.ts".length)));
if (tests.length === 0) {
  console.error("test: no such tests");
  process.exit(1);
}

// Inside node_modules, so that what stays external is found from there; a folder of this run only.
const folder = await mkdtemp(join(here, "node_modules", ".test-"));
try {
  await build({
    entryPoints: tests.map((file) => join(here, "test", file)),
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node18",
    sourcemap: "inline",
    loader: { ".css": "text" },
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  const files = tests.map((file) => join(folder, file.replace(/\.ts$/, ".mjs")));
  const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
  process.exitCode = run.status ?? 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
