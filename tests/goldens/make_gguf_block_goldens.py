"""Writes gguf_blocks.txt: random blocks of every GGUF type and their values as the `gguf` Python package (0.19.0 was
used when this was committed) decodes them, and float rows as it encodes them.

    pip install gguf numpy && python tests/goldens/make_gguf_block_goldens.py > tests/goldens/gguf_blocks.txt

Each line: `decode TYPE HEX_OF_BLOCKS HEX_OF_FLOAT32` or `encode TYPE HEX_OF_FLOAT32 HEX_OF_BLOCKS`.
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

# Byte offsets of the binary16 fields of each block; they get finite values of every size, subnormals too.
HALVES = {
    T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
DECODED = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.MXFP4]
ENCODED = [T.F16, T.BF16, T.Q4_0, T.Q8_0]


def random_blocks(rng, kind):
    elements, size = GGML_QUANT_SIZES[kind]
    count = {1: 32, 32: 4, 256: 2}[elements]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in HALVES.get(kind, []):
        halves = rng.integers(0, 0x7C00, count, dtype=np.uint16) | (rng.integers(0, 2, count, dtype=np.uint16) << 15)
        blocks[:, offset:offset + 2] = halves.view(np.uint8).reshape(count, 2)
    if kind in (T.F32, T.BF16):  # finite, so that bits can be compared
        blocks = rng.standard_normal(count).astype("<f4").view(np.uint8).reshape(count, 4)[:, 4 - size:]
    if kind == T.MXFP4:  # the package lets 2^128 overflow where OCP has NaN, and stores twice the value, 252 and up
        blocks[:, 0] = rng.integers(0, 252, count, dtype=np.uint8)
        blocks[0, 0] = 0
    return np.ascontiguousarray(blocks)


def main():
    rng = np.random.default_rng(20240611)
    for kind in DECODED:
        blocks = random_blocks(rng, kind)
        values = dequantize(blocks.reshape(1, -1), kind).astype("<f4")
        print("decode", kind.name, blocks.tobytes().hex(), values.tobytes().hex())
    for kind in ENCODED:
        values = (rng.standard_normal(96) * np.exp(rng.uniform(-6, 6, 96))).astype("<f4")
        values[64:] *= values[64:] > 0  # one block of one sign
        print("encode", kind.name, values.tobytes().hex(), quantize(values.reshape(1, -1), kind).tobytes().hex())


main()
