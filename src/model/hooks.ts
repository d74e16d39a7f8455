// Hook points by name: TransformerLens's names, with the aliases that people type. What they mean is fixed by identities
// (docs/architecture.md), and stands in words in every tensor's metadata.

import { SluiceError } from "../base/errors.js";

/** What each hook point is, in the order of a block. */
export const HOOK_MEANINGS = {
  resid_pre: "residual stream before the block",
  attn_out: "what attention adds to the residual stream, biases included",
  resid_mid: "residual stream between attention and MLP",
  mlp_out: "what the MLP adds to the residual stream, biases included",
  resid_post:
    "residual stream after the block, before any final norm (Hugging Face: hidden_states[layer + 1], but for the last layer)",
} as const;

/** A hook point's short name. */
export type Hook = keyof typeof HOOK_MEANINGS;
const HOOKS = Object.keys(HOOK_MEANINGS) as Hook[];

/** One hook of one layer. */
export interface Tap {
  /** `blocks.3.hook_resid_post`. */
  readonly name: string;
  readonly layer: number;
  readonly hook: Hook;
  readonly meaning: string;
}

/**
 * The layers of `--layers`: `all`, or a list such as `0,5-8,-1` (-1 is the last block), ascending.
 * @throws SluiceError `usage` naming the part that is wrong and the model's number of layers.
 */
export function parseLayers(text: string, layers: number): number[] {
  if (text.trim() === "all") return Array.from({ length: layers }, (_, i) => i);
  const chosen = new Set<number>();
  for (const part of text.split(",").map((p) => p.trim())) {
    const match = /^(-?\d+)(?:-(\d+))?$/.exec(part);
    const from = match ? Number(match[1]) : Number.NaN;
    const first = from < 0 ? layers + from : from;
    const last = match?.[2] === undefined ? first : Number(match[2]);
    if (!match || (from < 0 && match[2] !== undefined) || first < 0 || last < first || last >= layers) {
      throw new SluiceError(
        "usage",
        "--layers names a layer that the model does not have, or cannot be read",
        {
          found: part === "" ? text : part,
          expected: `all, or a list such as 0,2-3,-1 within 0 to ${layers - 1} (the model has ${layers} layers)`,
        },
      );
    }
    for (let l = first; l <= last; l++) chosen.add(l);
  }
  return [...chosen].sort((a, b) => a - b);
}

/**
 * The taps that `--hooks` and `--layers` name, in order of layer and then of the block.
 * Short names go with `--layers`; full names (`blocks.3.hook_mlp_out`), `resid_post.3` and `model.layers.3` name their layer themselves;
 * globs (`blocks.*.hook_mlp_out`) match full names of the chosen layers.
 * @throws SluiceError `usage` naming the hook.
 */
export function parseHooks(hooks: string, layersText: string, layers: number): Tap[] {
  const chosenLayers = parseLayers(layersText, layers);
  const chosen = new Set<string>();
  for (const word of hooks.split(",").map((w) => w.trim())) {
    const names = namesOf(word, chosenLayers, layers);
    if (names.length === 0) {
      throw new SluiceError("usage", "--hooks names a hook point that is not known", {
        found: word === "" ? hooks : word,
        expected: `${HOOKS.join(", ")}, blocks.N.hook_NAME with N below ${layers}, or a glob`,
      });
    }
    for (const name of names) chosen.add(name);
  }
  const all = Array.from({ length: layers }, (_, layer) =>
    HOOKS.map((hook) => describeTap(layer, hook)),
  ).flat();
  return all.filter((tap) => chosen.has(tap.name));
}

/** The tap of a full name. @throws SluiceError `bug` for a name that parseHooks would not give. */
export function tapOf(name: string): Tap {
  const match = /^blocks\.(\d+)\.hook_(\w+)$/.exec(name);
  const hook = HOOKS.find((h) => h === match?.[2]);
  if (!match || !hook) throw new SluiceError("bug", `${name} is no hook point`);
  return describeTap(Number(match[1]), hook);
}

function describeTap(layer: number, hook: Hook): Tap {
  return {
    name: `blocks.${layer}.hook_${hook}`,
    layer,
    hook,
    meaning: `block ${layer}: ${HOOK_MEANINGS[hook]}`,
  };
}

function namesOf(word: string, chosenLayers: readonly number[], layers: number): string[] {
  const short = HOOKS.find((hook) => hook === word);
  if (short) return chosenLayers.map((layer) => describeTap(layer, short).name);
  const alias = /^(?:model\.layers\.(\d+)|(\w+)\.(\d+))$/.exec(word);
  const full = alias ? `blocks.${alias[1] ?? alias[3]}.hook_${alias[2] ?? "resid_post"}` : word;
  const among = word.includes("*") ? chosenLayers : Array.from({ length: layers }, (_, layer) => layer);
  const pattern = new RegExp(`^${full.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^.]*")}$`);
  return among
    .flatMap((layer) => HOOKS.map((hook) => describeTap(layer, hook).name))
    .filter((name) => pattern.test(name));
}
