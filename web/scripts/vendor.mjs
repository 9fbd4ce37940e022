// Copies the third-party browser modules from their npm packages to web/vendor, where the pages look for them.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = join(web, "node_modules");
const vendor = join(web, "vendor");

/** @param {string} name  of a file below node_modules */
function read(name) {
  const source = join(packages, name);
  if (!existsSync(source)) {
    console.error(`${source} is missing: run "npm ci" in web/ first`);
    process.exit(1);
  }
  return readFileSync(source, "utf8");
}

/** @param {string} name  of a file below web/vendor */
function write(name, text) {
  const target = join(vendor, name);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
}

/**
 * Copies a module and everything that it imports, with names that a browser understands without a map of packages.
 *
 * Comments that name a source map go: there is none here to fetch.
 */
function copyGraph(name, copied = new Set()) {
  if (copied.has(name)) return;
  copied.add(name);
  const text = read(name).replace(/^(import|export)([^;]*?\sfrom\s+)(["'])([^"']+)\3/gm, (_, verb, names, quote, asked) => {
    const wanted = asked.startsWith(".") ? join(dirname(name), asked) : asked;
    copyGraph(wanted, copied);
    const path = relative(dirname(name), wanted);
    return `${verb}${names}${quote}${path.startsWith(".") ? path : `./${path}`}${quote}`;
  });
  write(name, text.replace(/^\/\/# sourceMappingURL=.*$/gm, ""));
}

// The minified build: the plain one is 1.5 MB, which a phone would feel at the start of a stream.
write("hls.mjs", read("hls.js/dist/hls.min.mjs"));
console.log("vendor/hls.mjs");

// This one algorithm is published in a form that knows CommonJS only; between these two lines it is a module.
const argon2 = read("hash-wasm/dist/argon2.umd.min.js");
write("argon2.mjs", `const exports = {}, module = { exports };\n${argon2}\nexport const argon2id = exports.argon2id;\n`);
console.log("vendor/argon2.mjs");

rmSync(join(vendor, "@noble"), { recursive: true, force: true });
copyGraph("@noble/post-quantum/ml-kem.js");
console.log("vendor/@noble/post-quantum/ml-kem.js");
