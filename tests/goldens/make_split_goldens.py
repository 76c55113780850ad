#!/usr/bin/env python3
"""Writes tests/goldens/splits.json: how llama 3's and Qwen 2's pre-tokenisers cut tricky strings, by the `tokenizers` package.

Usage: make_split_goldens.py      (needs tokenizers)

The expressions are the ones that the models' tokenizer.json files publish, spelled as there ((?i:...) and all); ours spell
the cases out. No vocabulary is needed: Split "Isolated" followed by ByteLevel without its own expression gives the pieces,
which are turned back from GPT-2's byte alphabet. Strings are those of make_tokenizer_goldens.py and some more.
"""
import json
import pathlib

from tokenizers import Regex, pre_tokenizers

from tricky_strings import plain_strings, special_strings

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {"llama3": LETTERS + r"|\p{N}{1,3}|" + REST, "qwen2": LETTERS + r"|\p{N}|" + REST}
MORE = ["'\u017f", "x'\u017f'S", "'\u212a", "I'LL we'Ll 'LLama", "'d'D'dd", "a'b'c'd", "1'2's3", "\u0663\u0664\u0665\u0666\u0667", "1234567 12 3",
        "\u00bd\u2153\u2167", "a1b22c333d4444", " 123456", "\n123\n", "\u3000\u3000a", "a\u3000 b", " \r\n \r\n x", "\r\r\n\n", "x \r", "\t\n\tx",
        "...\n\n...", "!\r\n!", " ?!\n", "\u0301a", "a\u0301\u0302b", " \u0301", "\u200da", "_a_1_", "a\x00b\x1fc", "\x85x", "x\x85\x85", "\u2028a\u2029"]


def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def main():
    alphabet = byte_alphabet()
    texts = list(dict.fromkeys([*plain_strings(), *special_strings(), *MORE]))
    models = {}
    for name, pattern in PATTERNS.items():
        steps = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        models[name] = [[len(bytes(alphabet[c] for c in piece)) for piece, _ in steps.pre_tokenize_str(text)] for text in texts]
    lines = ",\n".join(
        json.dumps({"text": text, **{name: lengths[i] for name, lengths in models.items()}}, separators=(",", ":"))
        for i, text in enumerate(texts))
    path = pathlib.Path(__file__).parent / "splits.json"
    path.write_text(f'{{"source":"tokenizers","unit":"bytes of each piece","cases":[\n{lines}\n]}}\n')
    print(f"{path.name}: {len(texts)} strings")


if __name__ == "__main__":
    main()
