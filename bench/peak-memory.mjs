// Runs `sluice` with the arguments given and prints its JSON with the peak of private memory, of all its processes together, in
// bytes. node bench/peak-memory.mjs extract --model DIR ... (after npm run build)

import { fileURLToPath } from "node:url";
import { runWatched } from "./memory.mjs";

const program = fileURLToPath(new URL("../dist/cli/sluice.js", import.meta.url));
const result = await runWatched(process.execPath, [program, ...process.argv.slice(2), "--json"]);
console.log(JSON.stringify(result));
