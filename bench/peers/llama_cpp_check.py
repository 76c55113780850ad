#!/usr/bin/env python3
"""Checks that llama.cpp loads the GGUF files that halftone writes, and that both give the same text and perplexity.

  bench/peers/setup
  .venv-peers/bin/python bench/peers/llama_cpp_check.py

For each output format: `halftone compress` writes a GGUF file; both programs continue prompts greedily and score the same
token windows. Both do it twice, with an f32 KV cache:

  exact   the file's weights, dequantised by the gguf package and saved as F32; halftone with --weights f32. Nothing is
          rounded on either side: texts must be equal, and perplexities agree to 4 digits.
  direct  the file as it is: both round activations to blocks of 32 int8 codes beside Q4_0 and Q8_0 weights (beside F16 and
          BF16 weights llama.cpp rounds them to 16 bits, halftone does not). Rounding is chaotic: a last bit that differs
          in a norm flips a code, which flips others, so two correct programs (or one, on two instruction sets) differ by
          as much as the rounding itself, and texts that part once stay apart. So halftone is asked at every place of
          llama.cpp's text what it would go on with: the same token, or one whose exact logit is closer to that of
          llama.cpp's token than 4 standard deviations of what rounding does to such a difference there, measured in
          llama.cpp. The counts of both are printed; any other token fails. Perplexities are printed.
Exit code: 0 all equal or explained, 1 not, 2 something is missing.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from f32_gguf import write_f32_gguf

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROMPTS = (
    "The lighthouse keeper kept two clocks. One of them",
    "To bake bread at home you need flour, water, salt and",
    "A short history of the bicycle: the first",
)
RTN_GROUP32 = ["group_size=32", "symmetric=true"]
ONE_LAYER = "blocks.0.attn.k_proj"  # `compress` wants at least one layer; the others stay F32
FORMATS = {  # name: options of rtn, sites
    "Q4_0": (["bits=4", *RTN_GROUP32, "head=int4"], "blocks.*"),
    "Q4_0, head Q8_0": (["bits=4", *RTN_GROUP32, "head=int8_group32"], "blocks.*"),
    "Q8_0": (["bits=8", *RTN_GROUP32, "head=int8_group32"], "blocks.*"),
    "F32, head F16": (["bits=8", *RTN_GROUP32, "head=f16"], ONE_LAYER),
    "F32, head BF16": (["bits=8", *RTN_GROUP32, "head=bf16"], ONE_LAYER),
}
# Exact logits of the two agree to 3e-6 of the largest (7e-4 for gemma3, whose GELU llama.cpp looks up in f16); a mean over
# tokens of errors of either sign is far below that.
MAX_PERPLEXITY_RATIO = {"llama": 1e-4, "gemma3": 1e-3}
MAX_DEVIATIONS = 4  # of a difference of two logits; a normal one goes beyond in 6 of 100,000 places


class Halftone:
    def __init__(self, program):
        self.program = program

    def run(self, *arguments, **options):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, **options)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def compress(self, model, out, options, sites):
        flags = [word for option in options for word in ("--method-option", option)]
        self.run("compress", model, "-o", out, "--method", "rtn", "--sites", sites, "--quiet", *flags)

    def tokenize(self, model, text, *flags):
        return json.loads(self.run("tokenize", model, "-", "--json", *flags, input=text))["tokens"]

    def generate(self, model, ids, count, weights):
        return json.loads(self.run("generate", model, "-p", "-", "--ids", "--temp", 0, "-n", count, "--kv", "f32", "--exact",
                                   "--weights", weights, "--json", "--quiet", input=" ".join(map(str, ids))))

    def perplexity(self, model, text, tokens, window, *flags):
        return json.loads(self.run("eval", model, "--text", "-", "--tokens", tokens, "--window", window, "--kv", "f32",
                                   "--decode-tokens", 0, "--json", "--quiet", *flags, input=text))["perplexity"]


class Peer:
    """A GGUF file in llama.cpp; every method starts from an empty cache."""

    def __init__(self, path, context, kv_type):
        self.model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True,
                                     type_k=kv_type, type_v=kv_type, verbose=False)

    def greedy(self, prompt, count):
        self.model.reset()
        self.model.eval(prompt)
        tokens = []
        while len(tokens) < count:
            token = int(self.model.scores[self.model.n_tokens - 1].argmax())
            if llama_cpp.llama_vocab_is_eog(self.model._model.vocab, token):
                break
            tokens.append(token)
            self.model.eval([token])
        return tokens

    def last_logits(self, prompt, tokens):
        """In the steps of greedy(): llama.cpp rounds a batch of tokens and a single one differently."""
        self.model.reset()
        self.model.eval(prompt)
        for token in tokens:
            self.model.eval([token])
        return self.model.scores[self.model.n_tokens - 1].astype(np.float64)

    def text(self, tokens):
        return self.model.detokenize(tokens).decode(errors="replace")

    def perplexity(self, windows):
        total, count = 0.0, 0
        for window in windows:
            self.model.reset()
            self.model.eval(window)
            logits = self.model.scores[: len(window) - 1].astype(np.float64)
            peak = logits.max(1)
            logsumexp = peak + np.log(np.exp(logits - peak[:, None]).sum(1))
            total += float((logsumexp - logits[np.arange(len(window) - 1), window[1:]]).sum())
            count += len(window) - 1
        return math.exp(total / count)


def tensor_types(path):
    counts = {}
    for tensor in gguf.GGUFReader(path).tensors:
        counts[tensor.tensor_type.name] = counts.get(tensor.tensor_type.name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def windows_of(tokens, window, bos):
    """As halftone cuts them: BOS, where the model has one, is part of every window."""
    step = window - len(bos)
    cut = [bos + tokens[begin : begin + step] for begin in range(0, len(tokens), step)]
    return [part for part in cut if len(part) > 1]


def choices_along(halftone, path, prompt, theirs, end):
    """What halftone chooses at every place of llama.cpp's text, given the text up to there. A generation serves until it
    departs; the next begins behind that place."""
    choices = []
    while len(choices) < len(theirs):
        at = len(choices)
        made = halftone.generate(path, prompt + theirs[:at], len(theirs) - at, "stored")
        for token in made["tokens"] + ([end] if made["finish_reason"] == "stop" else []):
            choices.append(token)
            if token != theirs[len(choices) - 1]:
                break
    return choices


def explain(prompt, at, ours, theirs, direct, exact):
    """Whether rounding activations is reason enough for another token than llama.cpp's at this place."""
    clean, rounded = exact.last_logits(prompt, theirs[:at]), direct.last_logits(prompt, theirs[:at])
    gap = abs(clean[ours] - clean[theirs[at]])
    noise = math.sqrt(2) * float(np.std(rounded - clean))  # of a difference of two logits
    fair = gap <= MAX_DEVIATIONS * noise
    return fair, (f"at token {at}: ours {direct.text([ours])!r}, llama.cpp {direct.text([theirs[at]])!r}; their exact logits "
                  f"differ by {gap:.3f}, rounding moves such a difference by {noise:.3f} "
                  f"({'near-tie' if fair else 'NOT EXPLAINED'})")


def check_direct(halftone, path, ids, direct, exact, count):
    """Along llama.cpp's greedy text: places with the same token, near-ties, and neither; notes on the latter two."""
    end = direct.model.token_eos()
    theirs = direct.greedy(ids, count)
    theirs += [end] if len(theirs) < count else []
    counts, notes = np.zeros(3, int), []
    for at, ours in enumerate(choices_along(halftone, path, ids, theirs, end)):
        if ours == theirs[at]:
            counts[0] += 1
            continue
        fair, note = explain(ids, at, ours, theirs, direct, exact)
        counts[1 if fair else 2] += 1
        notes.append(note)
    return counts, notes


def check_texts(halftone, path, direct, exact, count):
    ok, exact_equal, along, notes = True, 0, np.zeros(3, int), []
    for prompt in PROMPTS:
        ids = halftone.tokenize(path, prompt)
        theirs = direct.model.tokenize(prompt.encode(), add_bos=ids[0] == direct.model.token_bos(), special=True)
        if ids != theirs:
            ok = False
            notes.append(f"token ids of {prompt!r} differ: {ids} and {theirs}")
            continue
        ours, clean = halftone.generate(path, ids, count, "f32"), exact.greedy(ids, count)
        if ours["tokens"] == clean and ours["text"] == exact.text(clean):
            exact_equal += 1
        else:
            ok = False
            notes.append(f"{prompt!r}: the exact texts differ\n  ours      {ours['text']!r}\n  llama.cpp {exact.text(clean)!r}")
        counts, found = check_direct(halftone, path, ids, direct, exact, count)
        along += counts
        notes += [f"{prompt!r} {note}" for note in found]
    same, ties, wrong = along
    along_text = f"{same}/{along.sum()}, {ties} near-ties" + (f", {wrong} WRONG" if wrong else "")
    return ok and wrong == 0, f"{exact_equal}/{len(PROMPTS)}", along_text, notes


def windows_to_score(halftone, path, text, arguments):
    tokens = halftone.tokenize(path, text, "--no-bos", "--plain")[: arguments.tokens]
    with_bos = halftone.tokenize(path, "a")
    bos = with_bos[:1] if len(with_bos) > len(halftone.tokenize(path, "a", "--no-bos")) else []
    return windows_of(tokens, arguments.window, bos)


def four_digits_agree(value, wanted):
    """Whether they differ by less than half a unit of the fourth significant digit."""
    return abs(value - wanted) < 0.5 * 10.0 ** (math.floor(math.log10(wanted)) - 3)


def perplexities(halftone, path, exact, direct, text, arguments):
    """Ours and llama.cpp's: exact, then of the file as both run it."""
    windows = windows_to_score(halftone, path, text, arguments)
    values = []
    for weights, peer in (("f32", exact), ("stored", direct)):
        values.append(halftone.perplexity(path, text, arguments.tokens, arguments.window, "--weights", weights))
        values.append(peer.perplexity(windows))
    return values


def peers_of(path, folder, arguments):
    write_f32_gguf(path, folder / "exact.gguf")
    f32 = gguf.GGMLQuantizationType.F32
    return Peer(folder / "exact.gguf", arguments.window, f32), Peer(path, arguments.window, f32)


def check_perplexity(halftone, model, name, folder, text, arguments):
    options, sites = FORMATS[name]
    path = folder / "written.gguf"
    halftone.compress(model, path, options, sites)
    values = perplexities(halftone, path, *peers_of(path, folder, arguments), text, arguments)
    ok = four_digits_agree(values[0], values[1])
    print(f"| {name} | {tensor_types(path)} | {' | '.join(f'{value:.5f}' for value in values)} | "
          f"{'ok' if ok else 'FAILED'} |", flush=True)
    return ok, []


def check_format(halftone, model, name, folder, text, arguments):
    options, sites = FORMATS[name]
    path = folder / "written.gguf"
    halftone.compress(model, path, options, sites)
    exact, direct = peers_of(path, folder, arguments)
    ok, exact_texts, direct_texts, notes = check_texts(halftone, path, direct, exact, arguments.count)
    values = perplexities(halftone, path, exact, direct, text, arguments)
    limit = MAX_PERPLEXITY_RATIO[gguf.GGUFReader(path).fields["general.architecture"].contents()]
    if not abs(math.log(values[0] / values[1])) <= limit:
        ok = False
        notes.append(f"exact perplexities {values[0]} and {values[1]} differ by more than {limit:g} of themselves")
    print(f"| {name} | {tensor_types(path)} | {exact_texts} | {direct_texts} | "
          f"{' | '.join(f'{value:.5f}' for value in values)} | {'ok' if ok else 'FAILED'} |", flush=True)
    return ok, notes


def print_head(arguments):
    print(f"llama.cpp from llama-cpp-python {llama_cpp.__version__}, {arguments.model.name}, "
          f"{'' if arguments.perplexity_only else f'{len(PROMPTS)} prompts of {arguments.count} greedy tokens, '}perplexity over "
          f"{arguments.tokens} tokens in windows of {arguments.window}\n")
    if arguments.perplexity_only:
        print("| written | tensors | perplexity exact, ours | llama.cpp | perplexity direct, ours | llama.cpp | |\n"
              "|---|---|---|---|---|---|---|", flush=True)
    else:
        print("| written | tensors | equal texts, exact | same token, direct | perplexity exact, ours | llama.cpp | "
              "perplexity direct, ours | llama.cpp | |\n|---|---|---|---|---|---|---|---|---|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "bin" / "halftone")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "texts" / "evaluation.txt")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, help="default: all, or Q4_0 and Q8_0")
    parser.add_argument("--perplexity-only", action="store_true", help="no texts; exact perplexities must agree to 4 digits")
    parser.add_argument("--count", type=int, default=48, help="tokens to generate (default 48)")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens to score (default 2048)")
    parser.add_argument("--window", type=int, default=512, help="tokens in a window (default 512)")
    arguments = parser.parse_args()
    arguments.formats = arguments.formats or (["Q4_0", "Q8_0"] if arguments.perplexity_only else list(FORMATS))
    for needed in (arguments.model, arguments.program, arguments.text):
        if not needed.exists():
            print(f"{needed} is missing: run 'make build models-all texts'", file=sys.stderr)
            return 2
    text = arguments.text.read_text()[: 16 * arguments.tokens]
    print_head(arguments)
    check = check_perplexity if arguments.perplexity_only else check_format
    ok, notes = True, []
    for name in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            good, found = check(Halftone(arguments.program), arguments.model, name, pathlib.Path(folder), text, arguments)
        ok = ok and good
        notes += [f"{name}: {note}" for note in found]
    if notes:
        print("\n" + "\n".join(notes))
    elif not arguments.perplexity_only:
        print("\nno text differs")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
