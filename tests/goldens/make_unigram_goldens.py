#!/usr/bin/env python3
"""Writes tests/goldens/unigram.json: small unigram models and the ids that the `tokenizers` package and SentencePiece give.

Usage: make_unigram_goldens.py      (needs tokenizers and sentencepiece)

Vocabularies of 224 and 480 tokens (256 of them bytes) and a charsmap of a few rules are trained on the repository's
LICENSE, then put into tokenizer.json files of the shapes that real models have:
  words       Precompiled, WhitespaceSplit and Metaspace: T5, XLM-R, ALBERT as converted at first
  metaspace   Precompiled, Strip, Replace of runs of spaces, Metaspace: the same models as converted now
  fallback    byte_fallback, Metaspace in front of the first text only, tokens that reach over spaces
Each string is encoded by `tokenizers`; by SentencePiece as well, with the model as trained ("sentencepiece", for GGUF
files, which hold its fields). Strings are those of tricky_strings.py up to 100 characters, and some of LICENSE's lines.
"metaspace" is stored as what differs from "words".
"""
import base64
import io
import json
import pathlib
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from tricky_strings import plain_strings, special_strings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RULES = {"\uff21": "A", "\ufb01": "fi", "e\u0301": "\u00e9", "\u2460": "1", "\u2026": "...", "\u3000": " ", "\t": " ", "\n": " ",
         "\r": " ", "\u00a0": " ", "\u200b": "", "\u00bd": "1\u20442", "\u1e9b\u0323": "\u1e69"}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}


def train(folder, byte_fallback):
    rules = pathlib.Path(folder, "rules.tsv")
    codes = lambda text: " ".join(f"{ord(c):X}" for c in text)
    rules.write_text("".join(f"{codes(a)}\t{codes(b)}\n" for a, b in RULES.items()))
    model = io.BytesIO()
    text = (ROOT / "LICENSE").read_text().splitlines()
    # Alone, NUL-like and rare characters stay unknown; digits are there so that some text is known whole.
    text += ["0 1 2 3 4 5 6 7 8 9 it's \u00e9 \u6f22"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, model_type="unigram", vocab_size=480 if byte_fallback else 224,
        byte_fallback=byte_fallback, normalization_rule_tsv=str(rules), split_by_whitespace=not byte_fallback,
        num_threads=1, minloglevel=2, user_defined_symbols=["<tool>"])
    return model.getvalue()


def pieces_of(model):
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    return proto.pieces, proto.normalizer_spec.precompiled_charsmap, proto.trainer_spec.unk_id


def tokenizer_file(model, byte_fallback, normalizer, pre_tokenizer):
    pieces, _, unk = pieces_of(model)
    Piece = sentencepiece_model_pb2.ModelProto.SentencePiece
    special = {Piece.CONTROL: True, Piece.UNKNOWN: True, Piece.USER_DEFINED: False}
    added = [{"id": i, "content": p.piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": special[p.type]} for i, p in enumerate(pieces) if p.type in special]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": METASPACE,
            "model": {"type": "Unigram", "unk_id": unk, "vocab": [[p.piece, p.score] for p in pieces],
                      "byte_fallback": byte_fallback}}


def strings():
    texts = [*plain_strings(), *special_strings(), *(ROOT / "LICENSE").read_text().splitlines()[:40]]
    texts += [*RULES, "".join(RULES), "x\uff21\ufb01\u2026 e\u0301\u0301", "a<tool>b", " <tool> c"]
    texts += ["\u6f22\u5b57 \u5b57\u5b57", "\u5b57\u6f22\u5b57 x", "\u2581a \u2581"]
    return [text for text in dict.fromkeys(texts) if len(text) <= 100]


def main():
    with tempfile.TemporaryDirectory() as folder:
        model, with_bytes = train(folder, False), train(folder, True)
    charsmap = base64.b64encode(pieces_of(model)[1]).decode()
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    files = {
        "words": tokenizer_file(model, False, precompiled,
                                {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}),
        "metaspace": tokenizer_file(model, False, {"type": "Sequence", "normalizers": [
            precompiled, {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}]}, METASPACE),
        "fallback": tokenizer_file(with_bytes, True, None, METASPACE | {"prepend_scheme": "first", "split": False}),
    }
    tokenizers = {name: Tokenizer.from_str(json.dumps(file)) for name, file in files.items()}
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    processor_with_bytes = sentencepiece.SentencePieceProcessor(model_proto=with_bytes)
    cases = []
    for text in strings():
        case = {"text": text} | {name: t.encode(text, add_special_tokens=False).ids for name, t in tokenizers.items()}
        cases.append(case | {"sentencepiece": processor.encode(text), "sentencepiece_bytes": processor_with_bytes.encode(text)})
    types = {"sentencepiece": [p.type for p in pieces_of(model)[0]],
             "sentencepiece_bytes": [p.type for p in pieces_of(with_bytes)[0]]}
    files["metaspace"] = {key: files["metaspace"][key] for key in ("normalizer", "pre_tokenizer")}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    head = json.dumps({"source": "tokenizers, sentencepiece", "files": files, "types": types}, separators=(",", ":"))
    path = pathlib.Path(__file__).parent / "unigram.json"
    path.write_text(f'{head[:-1]},"cases":[\n{lines}\n]}}\n')
    print(f"{path.name}: {len(cases)} strings, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
