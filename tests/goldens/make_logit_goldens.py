#!/usr/bin/env python3
"""Makes logits_<model>.json and .bin: logits of real models by an implementation that shares no code with halftone.

Weights: the gguf package dequantises the GGUF file. Forward pass: Hugging Face transformers, eager attention, in double.
transformers drops to f32 in its norms and RoPE angles (error about position * 2^-24); those two are replaced by their
formulas in double, and the script prints how far the unpatched f32 model is from the result, which is also how far any
honest f32 implementation may be.

Checks before anything is written: llama.cpp reads the same weights from an F32 GGUF (made here, temporary) with an f32 KV
cache and must give the same logits, which settles every convention. For gemma3 that holds to the 2^-11 of llama.cpp's
GELU, a table of f16 values, so the attention half alone (FFN outputs zeroed on both sides) is compared as well. Its
logits for the original file are only reported: there it rounds activations to 8 bits, and differs by some percent.

  bench/peers/setup --goldens
  .venv-peers/bin/python tests/goldens/make_logit_goldens.py [smollm2] [gemma3]

The .json holds token ids, positions and the layout of the .bin (little-endian f32 and i32). Per listed position: argmax,
the eight largest logits, logits of 64 fixed ids, the largest magnitude, logsumexp; for the last, logits of 2048 ids.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import types

import gguf
import llama_cpp
import numpy as np
import torch
import transformers
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

FOLDER = pathlib.Path(__file__).resolve().parent
MODELS = FOLDER.parent.parent / "models"
sys.path.insert(0, str(FOLDER.parent.parent / "bench" / "peers"))
from f32_gguf import write_f32_gguf  # noqa: E402

# Written for this file. Digits, quotes, a list, code and other scripts are there so that tokens are not all common words.
TEXT = """\
The lighthouse keeper kept two clocks. One told the time of the harbour, which was the time of trains, bakers and \
school bells; the other ran eleven minutes slow, and that was the time of the lamp. Nobody had ever explained the \
difference to her. The old keeper had only said, on the day he handed over the keys, "Trust the slow one when it is \
dark and the quick one when it is light, and never set either of them by the other."

In her first winter she thought this was a joke. In her second she began to measure. She wrote down 3 numbers every \
evening: the minute at which the sun touched the water, the minute at which the first boat asked for light, and the \
minute at which the lamp was warm enough to be seen from the outer buoy, 4.5 kilometres away. By March she had 90 rows, \
and the rows agreed: sailors ask for light eleven minutes after the sun has gone, because that is how long hope lasts.

She drew the curve on the back of a chart. It rose, paused, and fell, like a gull that changes its mind. Under it she \
put the only formula she remembered from school, y = a * x + b, and crossed it out again. What she needed was not a \
line but a habit: something that looks at the last few evenings, weighs them, and guesses the next.

"You could simply ask them," said the girl who brought the bread on Tuesdays.

"Ask whom?"

"The sailors. When they want the lamp."

The keeper considered this. It had not occurred to her that the boats contained people with opinions. She had thought \
of them as small moving lights that wished to become larger. So on the next Tuesday they rowed out together, past the \
mole and the two red posts, and asked. The answers were these: (1) as soon as possible; (2) never, it spoils the stars; \
(3) what lamp? An old man mending a net said that he steered by the smell of the bakery, and had done so since 1962. \
"Le phare, c'est pour les touristes," added his brother, who had once worked in Brest.

They rowed home slowly. The tide was with them, and the girl let one hand trail in the water, counting under her \
breath. At the steps she stopped and said that the average of as soon as possible, never, and what lamp was probably \
about eleven minutes. The keeper laughed so hard that she dropped the rope, and they had to fetch the boat back from \
the rocks with a hook. That night the lamp was lit exactly when the slow clock said it should be. It burned until \
morning, turning its one white arm over the sea, and whether anyone needed it or not was written in no book. But in the \
column for remarks, where for thirty years there had been nothing but wind and rain, she wrote a sentence, looked at it, \
and decided to leave it: "Today I was told the time by people who do not use it, and it was correct."

The girl became the next keeper, of course. She kept both clocks, and bought a third, which she never wound.
"""

SETS = {
    # 256 positions for both; gemma3 also 64 beyond its sliding window of 512, where a wrong window would show.
    "smollm2": {"file": "SmolLM2-135M-Instruct.Q4_1.gguf", "tokens": 256, "positions": list(range(256))},
    "gemma3": {"file": "gemma-3-270m.Q4_K_M.gguf", "tokens": 576, "positions": [*range(256), *range(512, 576)]},
}
SAMPLED_IDS, TOP, LAST_IDS = 64, 8, 2048
MAX_RELATIVE = 1e-4  # what the tests ask of halftone


def read_gguf(path):
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.ggml.")}
    for key in ("bos_token_id", "add_bos_token"):
        field = reader.fields.get(f"tokenizer.ggml.{key}")
        fields[key] = field.contents() if field else None
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    return fields, tensors


def unpermute(rows, heads):
    """Undoes the llama converter's reordering of q and k rows: adjacent RoPE pairs back to halves."""
    dim = rows.shape[0] // heads
    return rows.reshape(heads, dim // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def build_llama(fields, tensors):
    f = {key.removeprefix("llama."): value for key, value in fields.items()}
    heads, kv_heads = f["attention.head_count"], f["attention.head_count_kv"]
    config = transformers.LlamaConfig(
        vocab_size=f["vocab_size"], hidden_size=f["embedding_length"], intermediate_size=f["feed_forward_length"],
        num_hidden_layers=f["block_count"], num_attention_heads=heads, num_key_value_heads=kv_heads,
        max_position_embeddings=f["context_length"], rms_norm_eps=f["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": f["rope.freq_base"]},
        tie_word_embeddings="output.weight" not in tensors, attn_implementation="eager")
    state = hf_state(tensors, config.num_hidden_layers, {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"})
    for layer in range(config.num_hidden_layers):
        for name, count in (("q", heads), ("k", kv_heads)):
            key = f"model.layers.{layer}.self_attn.{name}_proj.weight"
            state[key] = unpermute(state[key], count)
    return transformers.LlamaForCausalLM, config, state


def build_gemma3(fields, tensors):
    f = {key.removeprefix("gemma3."): value for key, value in fields.items()}
    rope = lambda theta: {"rope_type": "default", "rope_theta": theta}
    config = transformers.Gemma3TextConfig(
        vocab_size=tensors["token_embd.weight"].shape[0], hidden_size=f["embedding_length"],
        intermediate_size=f["feed_forward_length"], num_hidden_layers=f["block_count"],
        num_attention_heads=f["attention.head_count"], num_key_value_heads=f["attention.head_count_kv"],
        head_dim=f["attention.key_length"], query_pre_attn_scalar=f["attention.key_length"],
        max_position_embeddings=f["context_length"], rms_norm_eps=f["attention.layer_norm_rms_epsilon"],
        sliding_window=f["attention.sliding_window"], hidden_activation="gelu_pytorch_tanh",
        rope_parameters={"full_attention": rope(f["rope.freq_base"]),
                         "sliding_attention": rope(f.get("rope.freq_base_swa", 10000.0))},
        layer_types=["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(f["block_count"])],
        tie_word_embeddings="output.weight" not in tensors, attn_implementation="eager")
    state = hf_state(tensors, config.num_hidden_layers, {
        "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
        "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"})
    # GGUF stores the factor, transformers the factor minus one. In double the subtraction loses nothing.
    state = {key: value.astype(np.float64) - 1 if "norm" in key else value for key, value in state.items()}
    return transformers.Gemma3ForCausalLM, config, state


def hf_state(tensors, layers, norms):
    names = {**norms, "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    state = {"model.embed_tokens.weight": tensors.pop("token_embd.weight"),
             "model.norm.weight": tensors.pop("output_norm.weight")}
    if "output.weight" in tensors:
        state["lm_head.weight"] = tensors.pop("output.weight")
    for layer in range(layers):
        for ours, theirs in names.items():
            state[f"model.layers.{layer}.{theirs}.weight"] = tensors.pop(f"blk.{layer}.{ours}.weight")
    if tensors:
        raise SystemExit(f"tensors that the script does not place: {sorted(tensors)}")
    return state


def norm_in_double(self, x):
    eps = self.variance_epsilon if isinstance(self, LlamaRMSNorm) else self.eps
    weight = self.weight if isinstance(self, LlamaRMSNorm) else 1.0 + self.weight
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rotary_in_double(self, x, position_ids, layer_type=None):
    parameters = self.config.rope_parameters[layer_type] if layer_type else self.config.rope_parameters
    dim = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
    frequencies = parameters["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = position_ids[..., None].double() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def use_double(model):
    model.double()
    for module in model.modules():
        if isinstance(module, (LlamaRMSNorm, Gemma3RMSNorm)):
            module.forward = types.MethodType(norm_in_double, module)
        elif type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = types.MethodType(rotary_in_double, module)
        elif type(module).__name__ == "Gemma3TextScaledWordEmbedding":
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)
    return model


@torch.no_grad()
def logits_of(model, tokens, positions):
    hidden = model.model(torch.tensor([tokens]), use_cache=False).last_hidden_state[0, positions]
    return model.lm_head(hidden).numpy()


def tokenize(path, count, add_bos):
    vocabulary = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    tokens = vocabulary.tokenize(TEXT.encode(), add_bos=bool(add_bos), special=False)
    if len(tokens) < count:
        raise SystemExit(f"{path.name}: the text has {len(tokens)} tokens, wanted {count}")
    return tokens[:count]


def llama_cpp_logits(path, tokens, positions, kv_type):
    model = llama_cpp.Llama(str(path), n_ctx=len(tokens), n_batch=len(tokens), n_ubatch=len(tokens), logits_all=True,
                            type_k=kv_type, type_v=kv_type, verbose=False)
    model.eval(tokens)
    return model.scores[positions]


def llama_cpp_f32_logits(source, tokens, positions, zeroed=None):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "f32.gguf"
        write_f32_gguf(source, path, zeroed)
        return llama_cpp_logits(path, tokens, positions, gguf.GGMLQuantizationType.F32)


def relative(a, golden):
    """Largest difference of each row over the golden row's largest magnitude; the worst row."""
    return float((np.abs(a - golden).max(-1) / np.abs(golden).max(-1)).max())


def write(name, spec, path, tokens, golden, stats):
    random = np.random.Generator(np.random.Philox(20250101))
    sampled = np.sort(random.choice(golden.shape[1], SAMPLED_IDS, replace=False)).astype(np.int32)
    last = np.sort(random.choice(golden.shape[1], LAST_IDS, replace=False)).astype(np.int32)
    top = np.argsort(-golden, axis=1, kind="stable")[:, :TOP].astype(np.int32)
    peak = golden.max(1)
    arrays = {
        "argmax": top[:, 0], "top_ids": top, "top_logits": np.take_along_axis(golden, top, 1),
        "sampled_logits": golden[:, sampled], "max_abs": np.abs(golden).max(1),
        "logsumexp": peak + np.log(np.exp(golden - peak[:, None]).sum(1)),
        "last_ids": last, "last_logits": golden[-1, last],
    }
    header = {"model": spec["file"], "file_bytes": path.stat().st_size, "vocabulary": golden.shape[1],
              "versions": {m.__name__: m.__version__ for m in (torch, transformers, llama_cpp)},
              "checks": stats, "sampled_ids": sampled.tolist(), "positions": spec["positions"], "tokens": tokens,
              "arrays": {}}
    data = b""
    for key, value in arrays.items():
        value = np.ascontiguousarray(value, dtype="<i4" if value.dtype == np.int32 else "<f4")
        header["arrays"][key] = {"type": "i32" if value.dtype == np.int32 else "f32", "shape": value.shape,
                                 "offset": len(data)}
        data += value.tobytes()
    (FOLDER / f"logits_{name}.bin").write_bytes(data)
    lines = [f'  {json.dumps(key)}: {json.dumps(value, sort_keys=False)}' for key, value in header.items()]
    (FOLDER / f"logits_{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make(name):
    spec = SETS[name]
    path = MODELS / spec["file"]
    if not path.exists():
        raise SystemExit(f"{path} is missing: run 'make models-all'")
    fields, tensors = read_gguf(path)
    tokens = tokenize(path, spec["tokens"], fields["add_bos_token"])
    build = {"llama": build_llama, "gemma3": build_gemma3}[fields["general.architecture"]]
    architecture, config, state = build(fields, tensors)
    with torch.device("meta"):
        probe = set(architecture(config).state_dict())
    missing = probe - set(state) - {"lm_head.weight"}
    if missing or set(state) - probe:
        raise SystemExit(f"state differs from the model's: missing {missing}, unknown {set(state) - probe}")
    model = architecture(config).eval()
    model.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(v)).float() for key, v in state.items()},
                          strict=False)
    model.tie_weights()
    single = logits_of(model, tokens, spec["positions"])
    use_double(model)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(state[key])))
    golden = logits_of(model, tokens, spec["positions"])
    quantised = llama_cpp_logits(path, tokens, spec["positions"], gguf.GGMLQuantizationType.F16)
    theirs = llama_cpp_f32_logits(path, tokens, spec["positions"])
    stats = {"relative_transformers_f32": relative(single, golden), "relative_llama_cpp_f32": relative(theirs, golden),
             "relative_llama_cpp_quantised": relative(quantised, golden),
             "argmax_agreement_llama_cpp_quantised": float((quantised.argmax(1) == golden.argmax(1)).mean())}
    limits = {"relative_transformers_f32": MAX_RELATIVE, "relative_llama_cpp_f32": MAX_RELATIVE}
    if architecture is transformers.Gemma3ForCausalLM:
        limits["relative_llama_cpp_f32"] = 4 * 2.0**-11  # each GELU is off by up to 2^-11 of itself
        with torch.no_grad():
            for layer in model.model.layers:
                layer.mlp.down_proj.weight.zero_()
        theirs = llama_cpp_f32_logits(path, tokens, spec["positions"], zeroed="ffn_down")
        stats["relative_llama_cpp_f32_attention"] = relative(theirs, logits_of(model, tokens, spec["positions"]))
        limits["relative_llama_cpp_f32_attention"] = MAX_RELATIVE
    print(name, json.dumps(stats))
    for key, limit in limits.items():
        if not stats[key] <= limit:
            raise SystemExit(f"{name}: {key} is {stats[key]:.2e}, above {limit:.1e}; nothing was written")
    write(name, spec, path, tokens, golden, stats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(SETS)}; default: all")
    for name in parser.parse_args().models or SETS:
        if name not in SETS:
            parser.error(f"no model {name}; there are {', '.join(SETS)}")
        make(name)
