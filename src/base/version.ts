// The program's own version, as package.json says it.

import { readFileSync } from "node:fs";
import { z } from "zod";

/** Such as `0.1.0`. */
export const VERSION: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))).version;
