#!/usr/bin/env python3
"""Writes a llama of any shape with random codes, to time sizes for which no model is at hand.

Time and memory depend on shapes and formats, not on values. Tokenizer and other metadata come from SOURCE, a GGUF file of a
llama; its text will be nonsense. Needs the packages gguf and numpy (bench/peers/setup).
"""

import argparse
import os

import gguf
import numpy as np

BLOCK = 32
# Bytes of a block, and about how large its f16 scale must be for values of unit variance.
TYPES = {"q4_0": (18, gguf.GGMLQuantizationType.Q4_0, 0.22), "q8_0": (34, gguf.GGMLQuantizationType.Q8_0, 0.0135)}


def random_blocks(rng, block_bytes, unit, rows, columns):
    """[rows, bytes of a row] of random codes, so scaled that products keep the size of their inputs."""
    blocks = rng.integers(0, 256, (rows, columns // BLOCK, block_bytes), dtype=np.uint8)
    blocks[:, :, :2] = np.frombuffer(np.float16(unit / np.sqrt(columns)).tobytes(), dtype=np.uint8)
    return blocks.reshape(rows, -1)


def matrices(args):
    """Name, rows and columns of every matrix."""
    head_dim = args.width // args.heads
    yield "token_embd", args.vocabulary, args.width
    for layer in range(args.layers):
        for name, rows, columns in [
            ("attn_q", args.width, args.width),
            ("attn_k", args.kv_heads * head_dim, args.width),
            ("attn_v", args.kv_heads * head_dim, args.width),
            ("attn_output", args.width, args.width),
            ("ffn_gate", args.ffn, args.width),
            ("ffn_up", args.ffn, args.width),
            ("ffn_down", args.width, args.ffn),
        ]:
            yield f"blk.{layer}.{name}", rows, columns


def copy_metadata(reader, writer, args):
    shape = {
        "llama.block_count": args.layers,
        "llama.embedding_length": args.width,
        "llama.feed_forward_length": args.ffn,
        "llama.attention.head_count": args.heads,
        "llama.attention.head_count_kv": args.kv_heads,
        "llama.rope.dimension_count": args.width // args.heads,
    }
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        element = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(key, shape.get(key, field.contents()), field.types[0], element)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="a GGUF file of a llama, for its tokenizer")
    parser.add_argument("out")
    parser.add_argument("--type", choices=TYPES, default="q4_0")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--ffn", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.width % args.heads or args.heads % args.kv_heads:
        parser.error("--heads must divide --width, and --kv-heads must divide --heads")
    if args.width % BLOCK or args.ffn % BLOCK:
        parser.error(f"--width and --ffn must be multiples of {BLOCK}")
    return args


def main():
    args = parse_arguments()
    reader = gguf.GGUFReader(args.source)
    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        raise SystemExit(f"{args.source} is a {architecture}; a llama is needed")
    args.vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    block_bytes, tensor_type, unit = TYPES[args.type]
    rng = np.random.default_rng(args.seed)
    partial = args.out + ".partial"
    writer = gguf.GGUFWriter(partial, architecture, use_temp_file=True)
    copy_metadata(reader, writer, args)
    norms = ["output_norm"] + [f"blk.{i}.{name}" for i in range(args.layers) for name in ("attn_norm", "ffn_norm")]
    for name in norms:
        writer.add_tensor(name + ".weight", np.ones(args.width, np.float32))
    for name, rows, columns in matrices(args):
        writer.add_tensor(name + ".weight", random_blocks(rng, block_bytes, unit, rows, columns), raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, args.out)


if __name__ == "__main__":
    main()
