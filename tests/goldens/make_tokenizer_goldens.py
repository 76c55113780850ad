#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer_{smollm2,gemma3}.json: tricky strings and the ids that llama.cpp gives them.

Usage: make_tokenizer_goldens.py MODELS_FOLDER      (needs llama-cpp-python; optionally transformers and gguf)

The ids are llama.cpp's. Where `transformers` can build a tokenizer from the GGUF file, each string is encoded by it as
well, and a string on which the two differ is marked "hf_differs". We follow llama.cpp on them: transformers has to
invent merges from the scores of an SPM vocabulary, and long runs of spaces then merge in another order.
The exception is FOLLOW_HF (marked "llama_cpp_differs"): Gemma 3 has the HTML tag </s> as a user-defined token, which
llama.cpp takes for the end of the text and so for a control token.
"""
import json
import pathlib
import sys

from llama_cpp import Llama

from tricky_strings import plain_strings, special_strings

MODELS = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m.Q4_K_M.gguf"}

FOLLOW_HF = {("gemma3", "<s></s>")}


def hf_tokenizer(folder, name):
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as error:  # a missing package or an architecture it cannot convert: the goldens stand without it
        print(f"{name}: no Hugging Face tokenizer ({type(error).__name__}: {error})", file=sys.stderr)
        return None


def main():
    folder = pathlib.Path(sys.argv[1])
    for short, name in MODELS.items():
        llama = Llama(str(folder / name), vocab_only=True, verbose=False)
        hf = hf_tokenizer(folder, name)
        cases, differing = [], 0
        todo = [(t, False, False) for t in dict.fromkeys(plain_strings())]
        todo += [(t, False, parse) for t in special_strings() for parse in (False, True)]
        todo += [(t, True, True) for t in ("", "Hello", " two  words", "<bos>x")]
        for text, add_special, parse in todo:
            ids = llama.tokenize(text.encode("utf-8"), add_bos=add_special, special=parse)
            case = {"text": text, "add_special": add_special, "parse_special": parse, "ids": ids}
            if hf is not None and parse and not add_special or hf is not None and "<" not in text and not add_special:
                theirs = hf.encode(text, add_special_tokens=False)
                if theirs != ids:
                    case["hf_differs"] = theirs
                    differing += 1
            if (short, text) in FOLLOW_HF:
                case["llama_cpp_differs"] = ids
                case["ids"] = hf.encode(text, add_special_tokens=False)
            cases.append(case)
        path = pathlib.Path(__file__).parent / f"tokenizer_{short}.json"
        lines = ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases)
        path.write_text(f'{{"model":"{name}","source":"llama.cpp","cases":[\n{lines}\n]}}\n')
        print(f"{path.name}: {len(cases)} cases, {differing} on which the Hugging Face tokenizer differs")


if __name__ == "__main__":
    main()
