// Copies the third-party browser modules from their npm packages to web/vendor, where the pages look for them.
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
// The minified build: the plain one is 1.5 MB, which a phone would feel at the start of a stream.
const files = [["hls.js/dist/hls.min.mjs", "hls.mjs"]];

mkdirSync(join(web, "vendor"), { recursive: true });
for (const [from, to] of files) {
  const source = join(web, "node_modules", from);
  if (!existsSync(source)) {
    console.error(`${source} is missing: run "npm ci" in web/ first`);
    process.exit(1);
  }
  copyFileSync(source, join(web, "vendor", to));
  console.log(`vendor/${to}`);
}
