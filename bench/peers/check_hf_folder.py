#!/usr/bin/env python3
"""Reads a Hugging Face folder that halftone wrote with transformers: its logits against tests/goldens, its token ids too.

  HALFTONE_KEEP_HF_FOLDER=/tmp/hf build/bin/halftone_models_model_test --gtest_filter='HfFolder.*Logits*'
  .venv-peers/bin/python bench/peers/check_hf_folder.py /tmp/hf

The goldens come from the GGUF file's own tensors (make_logit_goldens.py), so this checks names, row order, config.json and
tokenizer.json without a line of halftone. Exits with 1 when logits differ by more than 1e-4 of the largest, or ids differ.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers

GOLDENS = pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "goldens"
MAX_RELATIVE = 1e-4


def golden_logits():
    header = json.loads((GOLDENS / "logits_smollm2.json").read_text())
    data = (GOLDENS / "logits_smollm2.bin").read_bytes()

    def array(name):
        entry = header["arrays"][name]
        count = int(np.prod(entry["shape"]))
        kind = {"f32": np.float32, "i32": np.int32}[entry["type"]]
        return np.frombuffer(data, kind, count, entry["offset"]).reshape(entry["shape"])

    return header, array("sampled_logits"), array("max_abs"), array("argmax")


def check_logits(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    header, sampled, largest, argmax = golden_logits()
    with torch.no_grad():
        logits = model(torch.tensor([header["tokens"]])).logits[0].numpy()[header["positions"]]
    error = (np.abs(logits[:, header["sampled_ids"]] - sampled).max(axis=1) / largest).max()
    agree = (logits.argmax(axis=1) == argmax).mean()
    print(f"logits: relative error {error:.2e} over {len(argmax)} positions, top-1 agreement {agree:.4f}")
    return error <= MAX_RELATIVE


def check_tokens(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    cases = json.loads((GOLDENS / "tokenizer_smollm2.json").read_text())["cases"]
    wrong = checked = 0
    for case in cases:
        if not case["parse_special"]:
            # transformers always reads control tokens; texts that hold none are the same either way.
            if any(token in case["text"] for token in tokenizer.all_special_tokens + list(tokenizer.get_added_vocab())):
                continue
        checked += 1
        ids = tokenizer(case["text"], add_special_tokens=case["add_special"])["input_ids"]
        if ids != case["ids"]:
            wrong += 1
            print("differs:", json.dumps(case["text"]), ids, case["ids"])
    print(f"token ids: {checked - wrong} of {checked} texts agree ({len(cases) - checked} left out)")
    return wrong == 0


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    good = [check_logits(sys.argv[1]), check_tokens(sys.argv[1])]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
