"""Writes element_formats.txt: the values of every code of the small formats that PyPI's `ml_dtypes` (0.6.0 was used when
this was committed) and PyTorch (2.13.0) know, and their casts of a few thousand tricky f32 numbers.

    pip install ml_dtypes numpy torch && python tests/goldens/make_format_goldens.py > tests/goldens/element_formats.txt

Lines: `decode FORMAT HEX` (f32 of codes 0, 1, ...), `inputs HEX` (f32), and `cast WHO FORMAT OVERFLOW HEX`: the codes of
all inputs, each as wide as its type, where OVERFLOW is what becomes of numbers past the largest: `saturate` or `special`
(infinity or NaN). All hexadecimal is little-endian bytes. WHO `clamped` is ml_dtypes after clamping, infinities too.
"""
import warnings

import ml_dtypes
import numpy as np
import torch

SMALL = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2, "e3m2": ml_dtypes.float6_e3m2fn,
         "e2m3": ml_dtypes.float6_e2m3fn, "e2m1": ml_dtypes.float4_e2m1fn, "e8m0": ml_dtypes.float8_e8m0fnu,
         "int4_full": ml_dtypes.int4, "uint4": ml_dtypes.uint4, "int2_full": ml_dtypes.int2, "uint2": ml_dtypes.uint2}
BITS = {"e4m3": 8, "e5m2": 8, "e3m2": 6, "e2m3": 6, "e2m1": 4, "e8m0": 8, "int4_full": 4, "uint4": 4, "int2_full": 2,
        "uint2": 2}
FLOATS = ["e4m3", "e5m2", "e3m2", "e2m3", "e2m1"]
TORCH = {"e4m3": (torch.float8_e4m3fn, "saturate"), "e5m2": (torch.float8_e5m2, "special"),
         "e8m0": (torch.float8_e8m0fnu, "special"), "bf16": (torch.bfloat16, "special"), "f16": (torch.float16, "special")}


def decoded(name):
    codes = np.arange(1 << BITS[name], dtype=np.uint8)
    if "int" in name and name[0] != "u":  # held sign-extended
        codes = codes | np.where(codes >> (BITS[name] - 1), 0xFF << BITS[name] & 0xFF, 0).astype(np.uint8)
    return codes.view(SMALL[name]).astype("<f4")


def around(values):
    """Each value and its f32 neighbours on both sides."""
    values = np.asarray(values, dtype="<f4")
    return np.concatenate([values, np.nextafter(values, np.float32(0)), np.nextafter(values, np.float32(np.inf))])


def midpoints(values):
    values = np.sort(values[np.isfinite(values) & (values >= 0)].astype(np.float64))
    step_past_the_end = 2 * values[-1] - values[-2]
    return (np.append(values[:-1], values[-1]) + np.append(values[1:], step_past_the_end)) / 2


def tricky_inputs(rng):
    parts = [around(midpoints(decoded(name))) for name in FLOATS]
    parts.append(around(1.5 * np.exp2(np.arange(-128.0, 128.0, 8))))  # e8m0's ties
    for kind in (np.float16, ml_dtypes.bfloat16):
        codes = rng.integers(0, 0x7BFF if kind is np.float16 else 0x7F7F, 90, dtype=np.uint16)
        codes[:10] = np.arange(10)
        low, high = codes.view(kind).astype(np.float64), (codes + np.uint16(1)).view(kind).astype(np.float64)
        parts.append(around((low + high) / 2))
    parts.append(rng.integers(0, 0x7F800000, 500, dtype=np.uint32).view("<f4"))
    parts.append((rng.standard_normal(300) * np.exp2(rng.uniform(-12, 12, 300))).astype("<f4"))
    values = np.concatenate([part.astype("<f4") for part in parts])
    values *= rng.choice(np.array([-1, 1], dtype="<f4"), values.size)
    special = np.array([0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00400000, 0x00400001, 0x007FFFFF, 0x00800000,
                        0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF,
                        0x477FEFFF, 0x477FF000, 0x7F7F7FFF, 0x7F7F8000], dtype="<u4").view("<f4")
    return np.concatenate([special, values]).astype("<f4")


def print_cast(who, name, overflow, codes):
    print("cast", who, name, overflow, np.ascontiguousarray(codes).tobytes().hex())


def main():
    warnings.simplefilter("ignore")  # overflow is what this is about
    rng = np.random.default_rng(20261122)
    for name in SMALL:
        print("decode", name, decoded(name).tobytes().hex())
    inputs = tricky_inputs(rng)
    print("inputs", inputs.tobytes().hex())
    for name in [*FLOATS, "e8m0"]:
        overflow = "special" if name in ("e4m3", "e5m2", "e8m0") else "saturate"
        print_cast("ml_dtypes", name, overflow, inputs.astype(SMALL[name]).view(np.uint8))
    for name in ("e4m3", "e5m2"):
        largest = np.nanmax(decoded(name)[np.isfinite(decoded(name))])
        clamped = np.clip(inputs, -largest, largest)
        print_cast("clamped", name, "saturate", clamped.astype(SMALL[name]).view(np.uint8))
    print_cast("ml_dtypes", "bf16", "special", inputs.astype(ml_dtypes.bfloat16).view("<u2"))
    print_cast("numpy", "f16", "special", inputs.astype("<f2").view("<u2"))
    for name, (kind, overflow) in TORCH.items():
        cast = torch.from_numpy(inputs).to(kind)
        codes = cast.view(torch.uint8 if cast.element_size() == 1 else torch.int16).numpy()
        print_cast("torch", name, overflow, codes)


main()
