import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { type HookPoint, hookPoints, tapOf } from "./hooks.js";
import { openModel } from "./model.js";
import { type ModulePaths, parseHooks, parseLayers } from "./parse-hooks.js";

/** The hook points of a fixture's model, and its module paths. */
async function pointsOf(name: string): Promise<{ points: HookPoint[]; modules: ModulePaths }> {
  const folder = fileURLToPath(new URL(`../../test/fixtures/models/${name}`, import.meta.url));
  const { shape } = await openModel(folder);
  return { points: hookPoints(shape.build), modules: shape.modules };
}

const models = new Map<string, Awaited<ReturnType<typeof pointsOf>>>();
beforeAll(async () => {
  for (const name of ["llama3-scaled", "gpt2", "gemma2", "pythia", "gpt-neox-sequential", "phi3", "olmo2"])
    models.set(name, await pointsOf(name));
});

/** Full names that --hooks and --layers give on a fixture's model. */
function parse(hooks: string, layers = "all", name = "llama3-scaled"): string[] {
  const { points = [], modules = {} } = models.get(name) ?? {};
  return parseHooks(hooks, layers, points, modules).map((point) => point.name);
}

describe("--layers", () => {
  it("takes lists, ranges and layers from the end", () => {
    expect(parseLayers("0,2-3,-1", 6)).toEqual([0, 2, 3, 5]);
    expect(parseLayers("all", 2)).toEqual([0, 1]);
    expect(() => parseLayers("6", 6)).toThrow("the model has 6 layers");
    expect(() => parseLayers("a", 6)).toThrow("--layers");
  });
});

describe("--hooks", () => {
  it.each([
    ["resid_post", "all", ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]],
    ["q", "-1", ["blocks.1.attn.hook_q"]],
    ["hook_q", "-1", ["blocks.1.attn.hook_q"]],
    ["pre,post", "0", ["blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post"]],
    ["mlp_pre_linear", "1", ["blocks.1.mlp.hook_pre_linear"]],
    ["embed", "1", ["hook_embed"]],
    ["hook_embed", "1", ["hook_embed"]],
    ["normalized,ln_final", "0", ["ln_final.hook_normalized", "ln_final.hook_out"]],
    ["ln_final.hook_out", "0", ["ln_final.hook_out"]],
    ["blocks.1.attn.hook_rot_k", "0", ["blocks.1.attn.hook_rot_k"]],
    ["q.1", "0", ["blocks.1.attn.hook_q"]],
    ["resid_*", "1", ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"]],
    ["blocks.*.attn.hook_rot_*", "0", ["blocks.0.attn.hook_rot_q", "blocks.0.attn.hook_rot_k"]],
    [
      "blocks.*.mlp.*",
      "0",
      ["blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_pre_linear", "blocks.0.mlp.hook_post"],
    ],
    ["model.layers.1", "0", ["blocks.1.hook_resid_post"]],
    ["model.layers.1.self_attn.k_proj", "0", ["blocks.1.attn.hook_k"]],
    ["model.layers.0.mlp,model.norm", "0", ["blocks.0.hook_mlp_out", "ln_final.hook_out"]],
    ["mlp_out,q,q,embed", "0", ["hook_embed", "blocks.0.attn.hook_q", "blocks.0.hook_mlp_out"]],
  ])("%s with --layers %s", (hooks, layers, names) => {
    expect(parse(hooks, layers)).toEqual(names);
  });

  it("`all` and `*` are all there is, each once, hooks of no block too", () => {
    expect(parse("all", "1")).toHaveLength(14 + 3);
    expect(parse("*", "1")).toEqual(parse("all", "1"));
    expect(parse("all", "all", "gpt2")).toHaveLength(2 * (14 - 3) + 4);
    expect(parse("all", "all", "pythia")).toHaveLength(2 * (14 - 2) + 3);
  });

  it.each([
    ["pos_embed", "llama3-scaled", /no hook point hook_pos_embed.*positions are rotary/],
    ["rot_q", "gpt2", /no hook point blocks.N.attn.hook_rot_q.*not rotary/],
    ["blocks.0.mlp.hook_pre_linear", "gpt2", /no gate/],
    ["resid_mid", "pythia", /parallel residual/],
    ["blocks.1.hook_resid_mid", "pythia", /parallel residual/],
    ["q.2", "llama3-scaled", /from 0 to 1/],
    ["blocks.7.hook_q", "llama3-scaled", /blocks.7.attn.hook_q/],
    ["blocks.7.attn.hook_q", "llama3-scaled", /a layer from 0 to 1/],
    ["12", "llama3-scaled", /bare number.*--layers 12 --hooks resid_post/],
    ["resid_pots", "llama3-scaled", /Did you mean resid_post/],
    ["blocks.0.hook_mpl_out", "llama3-scaled", /Did you mean blocks.0.hook_mlp_out/],
    ["mlp", "llama3-scaled", /Did you mean mlp_pre or mlp_out or mlp_post/],
    ["blocks.0.attn.hook_pattern", "llama3-scaled", /rot_q and rot_k/],
    ["", "llama3-scaled", /not known/],
    ["nothing_*", "llama3-scaled", /matches no hook point/],
    ["model.layers.0.self_attn", "gemma2", /before the post-norm/],
    ["model.layers.0.mlp", "gemma2", /before the post-norm/],
    ["model.layers.0.mlp.down_proj", "olmo2", /before the post-norm/],
    ["model.layers.0.self_attn.qkv_proj", "phi3", /holds q, k and v/],
    ["transformer.h.0", "llama3-scaled", /not known/],
  ])("refuses %s on %s", (hooks, name, message) => {
    expect(() => parse(hooks, "all", name)).toThrow(message);
  });

  it("takes the post-norms' outputs where those are what is added, and resid_mid where there is a middle", () => {
    expect(parse("model.layers.2.post_feedforward_layernorm", "0", "gemma2")).toEqual([
      "blocks.2.hook_mlp_out",
    ]);
    expect(parse("gpt_neox.layers.1.attention", "0", "pythia")).toEqual(["blocks.1.hook_attn_out"]);
    expect(parse("resid_mid", "0", "gpt-neox-sequential")).toEqual(["blocks.0.hook_resid_mid"]);
    expect(parse("transformer.h.1.mlp.c_fc", "0", "gpt2")).toEqual(["blocks.1.mlp.hook_pre"]);
  });

  it("gives rows of heads for q, k, v, z and their turned forms, and says in words what each is", () => {
    const { points = [] } = models.get("llama3-scaled") ?? {};
    const shapes = Object.fromEntries(points.filter((p) => p.layer === 0).map((p) => [p.hook, p.rowShape]));
    expect(shapes).toMatchObject({
      q: [6, 8],
      k: [2, 8],
      v: [2, 8],
      rot_q: [6, 8],
      z: [6, 8],
      mlp_post: [80],
    });
    expect(tapOf("blocks.3.attn.hook_k").meaning).toMatch(/^block 3: keys of each key-value head, before/);
    expect(tapOf("ln_final.hook_out")).toMatchObject({ layer: null, hook: "ln_final" });
  });
});
