"""Sluice's hook points, taken from a model of transformers: what its modules read and gave in one forward pass.

Every hook point is what a module read or gave, seen by forward hooks; rot_q and rot_k are what the model's own apply_rotary_pos_emb
gave. Three are computed again from those: parts of fused projections (cut as the model cuts them), multiples (Granite), and the
final norm without its weight. Used by against_hf.py, and by tools/make_model_fixtures.py for the tests.
"""
import sys

import torch


def watch(model, ids):
    """The text model, what every module of it read first and gave (by module name), and what each call of apply_rotary_pos_emb gave."""
    read, gave, turned, handles = {}, {}, [], []
    first = lambda value: value[0] if isinstance(value, tuple) else value
    base = getattr(model, model.base_model_prefix, model)
    base = getattr(base, "language_model", base)
    for name, module in base.named_modules():

        def before(module, args, kwargs, name=name):
            read[name] = args[0] if args else kwargs.get("hidden_states")

        def after(module, args, out, name=name):
            gave[name] = first(out)

        handles += [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
    modeling = sys.modules[type(model).__module__]
    apply = getattr(modeling, "apply_rotary_pos_emb", None)

    def record(*args, **kwargs):
        turned.append(apply(*args, **kwargs))
        return turned[-1]

    if apply:
        modeling.apply_rotary_pos_emb = record
    try:
        with torch.no_grad():
            base(torch.tensor([ids], device=base.device), use_cache=False)  # No language model's head.
    finally:
        if apply:
            modeling.apply_rotary_pos_emb = apply
        for handle in handles:
            handle.remove()
    return base, read, gave, turned


def hook_points(model, ids):
    """{hook name: a function that gives its float32 [tokens, width]} of one sample, in TransformerLens's names."""
    base, read, gave, turned = watch(model, ids)
    config = model.config.get_text_config()
    kind = config.model_type
    points = {}

    def put(name, value):
        points[name] = lambda: value()[0].float()

    if kind in ("gpt2", "gpt_neo"):
        put("hook_embed", lambda: gave["wte"])
        put("hook_pos_embed", lambda: gave["wpe"].expand(1, len(ids), -1))
        blocks, final = "h", "ln_f"
    else:
        # What enters the stream: some versions scale inside the embedding, some after it.
        put("hook_embed", lambda: read["layers.0"])
        blocks, final = "layers", {"gpt_neox": "final_layer_norm", "phi": "final_layernorm"}.get(kind, "norm")
    turned = iter(turned)
    for i, has_rope in enumerate(getattr(config, "no_rope_layers", None) or [1] * config.num_hidden_layers):  # SmolLM3: 1 where there is.
        of_block = block_points(kind, config, f"{blocks}.{i}", read, gave, next(turned, None) if has_rope else None)
        for hook, value in of_block.items():
            put(f"blocks.{i}.{hook}", value)
    put("ln_final.hook_out", lambda: gave[final])

    def normalized():
        norm, x = base.get_submodule(final), read[final]
        if isinstance(norm, torch.nn.LayerNorm):
            return torch.nn.functional.layer_norm(x, norm.normalized_shape, None, None, norm.eps)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps)

    put("ln_final.hook_normalized", normalized)
    return points


def block_points(kind, config, at, read, gave, turned):
    """{hook: a function that gives [1, tokens, width]} of the block whose module is called `at`."""
    attention = f"{at}." + {"gpt2": "attn", "gpt_neo": "attn.attention", "gpt_neox": "attention"}.get(kind, "self_attn")
    mlp = f"{at}.mlp"
    multiplier = getattr(config, "residual_multiplier", 1.0)

    def projections():
        if kind == "gpt2":
            return gave[f"{attention}.c_attn"].split(config.n_embd, dim=2)
        if kind == "gpt_neox":
            fused = gave[f"{attention}.query_key_value"]
            heads = fused.view(*fused.shape[:2], config.num_attention_heads, -1)
            return [part.flatten(2) for part in heads.chunk(3, dim=-1)]
        if kind == "phi3":
            width = config.hidden_size // config.num_attention_heads
            narrow = config.num_key_value_heads * width
            return gave[f"{attention}.qkv_proj"].split([config.num_attention_heads * width, narrow, narrow], dim=-1)
        return [gave[f"{attention}.{name}_proj"] for name in "qkv"]

    points = {"hook_resid_pre": lambda: read[at], "hook_resid_post": lambda: gave[at]}
    for n, name in enumerate("qkv"):
        points[f"attn.hook_{name}"] = lambda n=n: projections()[n]
    for n, name in enumerate("qk"):
        if turned:
            points[f"attn.hook_rot_{name}"] = lambda n=n: join_heads(turned[n], projections()[n])
        elif kind == "smollm3":  # A layer without positions: queries and keys are used as they are.
            points[f"attn.hook_rot_{name}"] = points[f"attn.hook_{name}"]
    out = {"gpt2": "c_proj", "gpt_neo": "out_proj", "gpt_neox": "dense", "phi": "dense"}.get(kind, "o_proj")
    points["attn.hook_z"] = lambda: read[f"{attention}.{out}"]
    if kind in ("gemma2", "gemma3_text", "olmo2", "olmo3"):  # What is added is what the post-norms give.
        points["hook_attn_out"] = lambda: gave[f"{at}.post_attention_layernorm"]
        points["hook_mlp_out"] = lambda: gave[f"{at}.post_feedforward_layernorm"]
        points["hook_resid_mid"] = lambda: read[mlp] if kind.startswith("olmo") else read[f"{at}.pre_feedforward_layernorm"]
    else:
        points["hook_attn_out"] = lambda: gave[attention] * multiplier
        points["hook_mlp_out"] = lambda: gave[mlp] * multiplier
        if kind != "phi" and not getattr(config, "use_parallel_residual", False):
            points["hook_resid_mid"] = lambda: read[f"{at}.ln_2" if kind in ("gpt2", "gpt_neo") else f"{at}.post_attention_layernorm"]
    if kind == "phi3":
        points["mlp.hook_pre"] = lambda: gave[f"{mlp}.gate_up_proj"].chunk(2, dim=-1)[0]
        points["mlp.hook_pre_linear"] = lambda: gave[f"{mlp}.gate_up_proj"].chunk(2, dim=-1)[1]
    else:
        gate = {"gpt2": "c_fc", "gpt_neo": "c_fc", "starcoder2": "c_fc", "gpt_neox": "dense_h_to_4h", "phi": "fc1"}.get(kind, "gate_proj")
        points["mlp.hook_pre"] = lambda: gave[f"{mlp}.{gate}"]
        if f"{mlp}.up_proj" in gave:
            points["mlp.hook_pre_linear"] = lambda: gave[f"{mlp}.up_proj"]
    down = {"gpt2": "c_proj", "gpt_neo": "c_proj", "starcoder2": "c_proj", "gpt_neox": "dense_4h_to_h", "phi": "fc2"}.get(kind, "down_proj")
    points["mlp.hook_post"] = lambda: read[f"{mlp}.{down}"]
    return points


def join_heads(turned, projected):
    """[1, tokens, width] of what was turned, and of the rest of each head where only a part of it was (Phi)."""
    turned = turned.transpose(1, 2)
    rest = projected.unflatten(2, (turned.shape[2], -1))[..., turned.shape[3]:]
    return torch.cat((turned, rest), dim=3).flatten(2)
