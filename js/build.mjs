// One entry, one bundle: src/<name>.ts -> ../bpfnb/views/static/<name>.js.   npm run build [-- name ...]
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

// A widget's whole code travels to the browser each time it is displayed.
const LIMIT = 120 * 1024;

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "src");
const target = join(here, "..", "bpfnb", "views", "static");

const entries = (await readdir(source))
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
  .map((file) => file.slice(0, -".ts".length))
  .sort();
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !entries.includes(name));
if (unknown.length > 0) fail(`no src/${unknown[0]}.ts; there are: ${entries.join(", ") || "none"}`);

await mkdir(target, { recursive: true });
await rm(join(target, ".sources"), { force: true }); // bundle.py writes it anew when all bundles are built
const tooLarge = [];
for (const name of wanted.length > 0 ? wanted : entries) {
  const result = await build({
    entryPoints: [join(source, `${name}.ts`)],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    charset: "utf8",
    legalComments: "none",
    loader: { ".css": "text" },
    write: false,
    logLevel: "warning",
  }).catch(() => fail(`src/${name}.ts could not be built`));
  const code = result.outputFiles[0].contents;
  // Renamed into place, so that nobody reads half a bundle.
  const file = join(target, `${name}.js`);
  await writeFile(`${file}.${process.pid}`, code);
  await rename(`${file}.${process.pid}`, file);
  console.log(`${name}.js  ${(code.length / 1024).toFixed(1)} KB`);
  if (code.length > LIMIT) tooLarge.push(`${name}.js is ${(code.length / 1024).toFixed(1)} KB`);
}
if (wanted.length === 0) {
  for (const file of await readdir(target)) {
    if (!entries.some((name) => file === `${name}.js`)) await rm(join(target, file));
  }
}
if (tooLarge.length > 0) fail(`${tooLarge.join(", ")}: a bundle may have ${LIMIT / 1024} KB`);

function fail(message) {
  console.error(`build: ${message}`);
  process.exit(1);
}
