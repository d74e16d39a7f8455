// `--hooks` and `--layers` of the commands that read a run: they name what the run holds, which may be less than its model has.

import { isSluiceError, SluiceError } from "../base/errors.js";
import { HOOK_NAMES, type Tap, tapOf } from "../model/hooks.js";
import { parseHooks, parseLayers } from "../model/parse-hooks.js";

/**
 * The tensors that the flags name, in the run's order. A layer from the end counts from the last one that the run holds.
 * @param names of the run's tensors. @throws SluiceError `usage` for what the run does not hold, with what it does.
 */
export function chooseStoredTaps(
  hooks: string | undefined,
  layers: string | undefined,
  names: readonly string[],
): Tap[] {
  const taps = names.map(tapOf);
  const held = new Set(taps.flatMap(({ layer }) => (layer === null ? [] : [layer])));
  const refuse = (found: string) => {
    throw new SluiceError("usage", "the run does not hold what is asked for", {
      found,
      expected: describeTaps(taps),
    });
  };
  for (const part of (layers ?? "all").split(",")) {
    const isHeld = (() => {
      try {
        return part.trim() === "all" || parseLayers(part, 1 + Math.max(-1, ...held)).some((l) => held.has(l));
      } catch (error) {
        if (isSluiceError(error, "usage")) return false;
        throw error;
      }
    })();
    if (!isHeld) refuse(`--layers ${part.trim()}`);
  }
  try {
    return parseHooks(hooks ?? "all", layers ?? "all", taps);
  } catch (error) {
    if (isSluiceError(error, "usage"))
      refuse(`--hooks ${hooks ?? "all"}${layers ? ` --layers ${layers}` : ""}`);
    throw error;
  }
}

/** `resid_post of layers 0-3, 5; embed` */
function describeTaps(taps: readonly Tap[]): string {
  const each = HOOK_NAMES.flatMap((hook) => {
    const same = taps.filter((tap) => tap.hook === hook);
    const layers = same.flatMap(({ layer }) => (layer === null ? [] : [layer])).sort((a, b) => a - b);
    if (same.length === 0) return [];
    return [layers.length === 0 ? hook : `${hook} of layer${layers.length > 1 ? "s" : ""} ${ranges(layers)}`];
  });
  return each.join("; ");
}

function ranges(ascending: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of ascending) {
    const last = parts.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}
