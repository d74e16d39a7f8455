// What people type for hook points: `--hooks` and `--layers`. Names are TransformerLens's, short or in full, globs, and
// Hugging Face's module paths where a module's output is exactly a hook point. What is ambiguous is refused.

import { SluiceError } from "../base/errors.js";
import { nearMatches } from "../base/near-matches.js";
import { plural } from "../base/plural.js";
import { HOOK_NAMES, HOOKS, type Hook, hookName, type Tap } from "./hooks.js";

/**
 * Module paths of a family in Hugging Face's words, with N for the block's number, and the hook that is the module's output; or why
 * there is none although people expect one.
 */
export type ModulePaths = Readonly<Record<string, Hook | { readonly refuse: string }>>;

/** Other spellings of short names: TransformerLens's shorthands, and the contract's. */
const SYNONYMS: Readonly<Record<string, Hook>> = {
  pre: "mlp_pre",
  pre_linear: "mlp_pre_linear",
  mlp_linear: "mlp_pre_linear",
  post: "mlp_post",
  normalized: "ln_final_normalized",
  ln_final_out: "ln_final",
};

/** Why a model lacks a hook that others have. */
const ABSENT: Partial<Record<Hook, string>> = {
  pos_embed: "its positions are rotary: nothing is added to the embeddings",
  rot_q: "its positions are not rotary: queries are used as they are",
  rot_k: "its positions are not rotary: keys are used as they are",
  resid_mid: "attention and MLP both read the residual stream before the block (parallel residual)",
  mlp_pre_linear: "its MLP has no gate",
};

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
          expected: `all, or a list such as 0,2-3,-1 within 0 to ${layers - 1} (the model has ${plural(layers, "layer")})`,
        },
      );
    }
    for (let l = first; l <= last; l++) chosen.add(l);
  }
  return [...chosen].sort((a, b) => a - b);
}

/**
 * The hook points that `--hooks` and `--layers` name, in the order of `points`.
 * Short names (`resid_post`, `q`) and globs go with `--layers`; full names (`blocks.3.attn.hook_q`), `q.3` and module paths
 * (`model.layers.3.mlp`) name their layer themselves. A glob without a dot matches short names (`resid_*`, `*`), one with dots full
 * names part by part (`blocks.*.attn.hook_*`). `all` is every hook point of the layers.
 * @param points what the model has. @param modules its module paths.
 * @throws SluiceError `usage` naming the hook, why it is refused, and what is near.
 */
export function parseHooks<P extends Tap>(
  hooks: string,
  layersText: string,
  points: readonly P[],
  modules: ModulePaths = {},
): P[] {
  const layers = 1 + Math.max(-1, ...points.map((point) => point.layer ?? -1));
  const chosenLayers = new Set(parseLayers(layersText, layers));
  const among = points.filter((point) => point.layer === null || chosenLayers.has(point.layer));
  const chosen = new Set<string>();
  for (const word of hooks.split(",").map((w) => w.trim())) {
    const names = new HookWord(word, points, among, layers, modules).names();
    for (const name of names) chosen.add(name);
  }
  return points.filter((point) => chosen.has(point.name));
}

/** One word of `--hooks`, resolved. */
class HookWord {
  readonly #word: string;
  readonly #points: readonly Tap[];
  readonly #among: readonly Tap[];
  readonly #layers: number;
  readonly #modules: ModulePaths;

  constructor(
    word: string,
    points: readonly Tap[],
    among: readonly Tap[],
    layers: number,
    modules: ModulePaths,
  ) {
    this.#word = word;
    this.#points = points;
    this.#among = among;
    this.#layers = layers;
    this.#modules = modules;
  }

  /** Full names. */
  names(): string[] {
    const word = this.#word;
    if (/^-?\d+$/.test(word)) throw this.#refuseNumber();
    if (word === "all" || word.includes("*")) return this.#glob(word === "all" ? "*" : word);
    const short = shortName(word);
    if (short) return this.#ofHook(short, this.#among);
    const [, name = "", layer] = /^(\w+)\.(\d+)$/.exec(word) ?? [];
    const numbered = shortName(name);
    if (numbered && layer !== undefined) return this.#one(numbered, Number(layer));
    const number = /\.(\d+)(?=\.|$)/.exec(word)?.[1];
    const path = number === undefined ? word : word.replace(`.${number}`, ".N");
    const full = HOOK_NAMES.find((hook) => HOOKS[hook].path === path);
    if (full) return this.#one(full, Number(number ?? 0));
    const module = this.#modules[path];
    if (module === undefined) throw this.#refuseUnknown(number);
    if (typeof module === "string") return this.#one(module, Number(number ?? 0));
    throw new SluiceError("usage", `--hooks: ${word} is not one of the hook points of this model`, {
      found: module.refuse,
      fix: "Name the hook point itself, such as attn_out or mlp_out.",
    });
  }

  #glob(glob: string): string[] {
    const pattern = new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^.]*")}$`);
    const found = this.#among.filter(({ hook, name }) => pattern.test(hook) || pattern.test(name));
    if (found.length > 0) return found.map(({ name }) => name);
    throw new SluiceError("usage", "--hooks has a glob that matches no hook point of the layers chosen", {
      found: this.#word,
      expected: `a glob of short names (resid_*) or of full ones (blocks.*.attn.hook_*): ${this.#offered()}`,
    });
  }

  #ofHook(hook: Hook, among: readonly Tap[]): string[] {
    const found = among.filter((tap) => tap.hook === hook);
    if (found.length > 0) return found.map(({ name }) => name);
    throw new SluiceError("usage", `--hooks: this model has no hook point ${HOOKS[hook].path}`, {
      found: this.#word,
      expected: this.#offered(),
      fix: ABSENT[hook] === undefined ? undefined : `Leave it out: ${ABSENT[hook]}.`,
    });
  }

  #one(hook: Hook, layer: number): string[] {
    const all = this.#ofHook(hook, this.#points);
    const name = hookName(hook, layer);
    if (all.includes(name)) return [name];
    throw new SluiceError("usage", "--hooks names a layer that the model does not have", {
      found: this.#word,
      expected: `a layer from 0 to ${this.#layers - 1}`,
    });
  }

  #refuseNumber(): SluiceError {
    const word = this.#word;
    return new SluiceError("usage", "--hooks takes names, and a bare number is none", {
      found: word,
      expected: this.#offered(),
      fix: `For the residual stream after block ${word}: --layers ${word} --hooks resid_post (Hugging Face's hidden_states[${word}] is resid_pre of block ${word}).`,
    });
  }

  #refuseUnknown(layer = "N"): SluiceError {
    const word = this.#word;
    if (/hook_(pattern|attn_scores)$|^(pattern|attn_scores)$/.test(word)) {
      return new SluiceError("usage", "--hooks: attention patterns are not stored", {
        found: word,
        fix: "Store rot_q and rot_k (q and k where positions are learned): the pattern follows from them (docs/hooks.md).",
      });
    }
    const known = [...HOOK_NAMES, ...Object.keys(SYNONYMS), ...HOOK_NAMES.map((hook) => HOOKS[hook].path)];
    const candidates = [...known, ...Object.keys(this.#modules)].map((name) =>
      name.replace(".N", `.${layer}`),
    );
    const near = nearMatches(word, candidates);
    return new SluiceError("usage", "--hooks names a hook point that is not known", {
      found: word,
      expected: this.#offered(),
      fix: near.length === 0 ? undefined : `Did you mean ${near.join(" or ")}?`,
    });
  }

  #offered(): string {
    const hooks = new Set(this.#points.map(({ hook }) => hook));
    return `${HOOK_NAMES.filter((hook) => hooks.has(hook)).join(", ")}; their full names; all; globs`;
  }
}

function shortName(word: string): Hook | undefined {
  const bare = word.replace(/^hook_/, "");
  return (
    HOOK_NAMES.find((hook) => hook === bare) ?? (Object.hasOwn(SYNONYMS, bare) ? SYNONYMS[bare] : undefined)
  );
}
