#!/usr/bin/env python3
"""The halftone program as a user runs it: exit codes, JSON, pipes, bad input, for every command.

usage: tests/cli/cli_test.py        (HALFTONE: path of the program; default build/bin/halftone)
                                    (HALFTONE_TEST_PATIENCE: factor on every time limit, for slow builds; default 1)

Exits 77, which CTest takes for "skipped", when the model is missing. Standard library only.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HALFTONE = os.environ.get("HALFTONE", str(ROOT / "build/bin/halftone"))
PATIENCE = float(os.environ.get("HALFTONE_TEST_PATIENCE", "1"))
MODEL = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"

COMMANDS = ["inspect", "compress", "eval", "compare", "generate", "chat", "tokenize", "list", "show", "bench"]
SIDE_FIELDS = {"weight_bytes", "bits_per_weight", "kv_bytes_per_token", "perplexity", "perplexity_error",
               "prefill_tokens_per_second", "decode_tokens_per_second"}
TEXT = ("The printing press made books cheap. A halftone prints many shades of grey with dots of one ink, and the eye "
        "joins them into a picture. Small dots stand for light tones, large dots for dark ones. ") * 12


def halftone(*arguments, stdin="", env=None):
    return subprocess.run([HALFTONE, *map(str, arguments)], input=stdin.encode(), capture_output=True,
                          timeout=300 * PATIENCE, cwd=ROOT, env={**os.environ, **(env or {})})


class Scratch(unittest.TestCase):
    """Files that all tests share: a text, a damaged model, and a compressed one, made once."""

    @classmethod
    def setUpClass(cls):
        if hasattr(Scratch, "folder"):
            return
        Scratch.holder = tempfile.TemporaryDirectory()
        Scratch.folder = pathlib.Path(Scratch.holder.name)
        Scratch.text = Scratch.folder / "text.txt"
        Scratch.text.write_text(TEXT, encoding="utf-8")
        Scratch.damaged = Scratch.folder / "damaged.gguf"
        Scratch.damaged.write_bytes(MODEL.read_bytes()[:100_000])

    def ok(self, *arguments, stdin="", code=0):
        result = halftone(*arguments, stdin=stdin)
        self.assertEqual(result.returncode, code, result.stderr.decode())
        return result.stdout.decode()

    def ok_json(self, *arguments, stdin="", code=0):
        return json.loads(self.ok(*arguments, "--json", stdin=stdin, code=code))

    def bad(self, *arguments, names=(), stdin=""):
        """Exit code 2, nothing on standard output, and an error that names what is wrong."""
        result = halftone(*arguments, stdin=stdin)
        message = result.stderr.decode()
        self.assertEqual(result.returncode, 2, f"{arguments}: {message}")
        self.assertEqual(result.stdout, b"")
        self.assertRegex(message, r"(^|\n)halftone: error: \S")
        for name in names:
            self.assertIn(str(name), message)
        return message

    @classmethod
    def compressed(cls):
        """W4A16 round-to-nearest of the model."""
        path = cls.folder / "rtn.halftone"
        if not path.exists():
            result = halftone("compress", MODEL, "-o", path, "--method", "rtn", "--quiet")
            assert result.returncode == 0, result.stderr.decode()
        return path


class Everything(Scratch):
    def test_help_shows_defaults_and_ranges(self):
        for command in COMMANDS:
            text = self.ok(command, "--help")
            self.assertIn("--json", text)
            self.assertIn("[0 .. 1024; default 0]", text)
        for command in COMMANDS:
            self.assertIn(command, self.ok("--help"))
        self.assertIn("[0 .. 1; default 0.95]", self.ok("generate", "--help"))

    def test_wrong_usage(self):
        self.bad()
        self.bad("comprss", names=["comprss"])
        for command in COMMANDS:
            self.bad(command, "--no-such-option", names=["halftone " + command + " --help"])
            self.bad(command, "--threads", "2000", names=["threads", "2000", "0 .. 1024"])
            self.bad(command, "--threads", "two", names=["two", "0 .. 1024"])

    def test_missing_and_damaged_models(self):
        text = Scratch.text
        rest = {"inspect": [], "compress": ["-o", self.folder / "never", "--method", "rtn"], "eval": ["--text", text],
                "compare": [MODEL, "--text", text], "generate": ["-p", "x"], "chat": [], "tokenize": ["x"]}
        for command, arguments in rest.items():
            self.bad(command, "/no/such/model.gguf", *arguments, names=["/no/such/model.gguf"])
            self.bad(command, Scratch.damaged, *arguments, names=["damaged.gguf"])
            self.bad(command, text, *arguments, names=["text.txt"])
        self.bad("bench", "llm", "--model", "/no/such/model.gguf", names=["/no/such/model.gguf"])
        self.assertFalse((self.folder / "never").exists())

    def test_a_full_disk_is_noticed(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([HALFTONE, "list"], stdout=full, stderr=subprocess.PIPE, timeout=60 * PATIENCE)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"standard output", result.stderr)


class Catalogue(Scratch):
    def test_list_and_show(self):
        methods = self.ok_json("list")
        self.assertGreaterEqual({m["name"] for m in methods}, {"rtn", "gptq", "smoothquant", "qoq"})
        table, page = self.ok("list"), self.ok("list", "--markdown")
        for method in methods:
            self.assertIn(method["name"], table)
            self.assertIn(f"`{method['name']}`", page)
            shown = self.ok_json("show", method["name"])
            self.assertEqual(shown, method)
            self.assertTrue(shown["title"] and shown["summary"] and shown["paper"])
            text = self.ok("show", method["name"])
            for option in shown["options"]:
                self.assertIn(option["name"], text)
                self.assertTrue(option["accepted"] and option["help"])
        self.bad("show", "nonsense", names=["nonsense", "rtn"])
        self.bad("show")

    def test_show_format(self):
        formats = self.ok_json("show", "format")
        table = self.ok("show", "format")
        self.assertGreaterEqual({f["name"] for f in formats}, {"e4m3", "e2m1", "int4", "nf4", "complex", "mxfp4", "nvfp4"})
        for entry in formats:
            self.assertIn(entry["name"], table)
            shown = self.ok_json("show", "format", entry["name"])
            self.assertEqual((shown["name"], shown["kind"]), (entry["name"], entry["kind"]))
            self.assertIn(entry["summary"], self.ok("show", "format", entry["name"]))
        e2m1 = self.ok_json("show", "format", "e2m1")
        self.assertEqual(e2m1["values"][:8], [0, 0.5, 1, 1.5, 2, 3, 4, 6])
        self.assertEqual((e2m1["exponent"], e2m1["mantissa"], e2m1["bias"], e2m1["max"]), (2, 1, 1, 6))
        self.assertEqual(self.ok_json("show", "format", "e4m3")["values"][0x7F], "nan")
        self.bad("show", "format", "e9m9", names=["e9m9", "e4m3"])
        self.bad("show", "rtn", "e4m3", names=["show format NAME"])


class Inspect(Scratch):
    def test_numbers(self):
        m = self.ok_json("inspect", MODEL)
        self.assertEqual((m["architecture"], m["blocks"], m["width"], m["vocabulary"]), ("llama", 30, 576, 49152))
        self.assertEqual(m["parameters"], 134515008)
        self.assertEqual(m["kv_bytes_per_token"], 23040)
        self.assertEqual(m["weight_bytes"], sum(t["bytes"] for t in m["tensors"]))
        self.assertAlmostEqual(m["bits_per_weight"], 8 * m["weight_bytes"] / m["parameters"], places=9)
        # The embedding is Q8_0 in this file, the blocks are Q4_1: both stay as they are.
        self.assertAlmostEqual(m["loaded"]["bits_per_weight"], m["bits_per_weight"], places=9)
        loaded = {f["format"]: f["loaded"] for f in m["formats"]}
        self.assertEqual(loaded, {"F32": "f32", "Q4_1": "int4 group 32 minimums", "Q8_0": "int8 group 32 symmetric"})
        plain = self.ok_json("inspect", MODEL, "--weights", "f32")
        self.assertEqual(plain["loaded"]["bits_per_weight"], 32)
        self.assertEqual(m["tokenizer"]["vocabulary"], 49152)
        self.assertIn("134,515,008", self.ok("inspect", MODEL))

    def test_kernels(self):
        rows = self.ok_json("inspect", MODEL, "--kernels")["kernels"]["kernels"]
        gemms = [r for r in rows if r["operation"] in ("gemm", "packed_gemm") and r["phase"] == "decode"]
        self.assertEqual(sum(r["layers"] for r in gemms), 7 * 30 + 1)
        self.assertTrue(all(r["kernel"] for r in rows))
        scalar = halftone("inspect", MODEL, "--kernels", "--json", env={"HALFTONE_ISA": "scalar"})
        rows = json.loads(scalar.stdout)["kernels"]["kernels"]
        self.assertTrue(any("avx2" in x["why"] for r in rows for x in r["rejected"]), rows)


class Tokenize(Scratch):
    def test_ids(self):
        self.assertEqual(self.ok_json("tokenize", MODEL, "Hello world")["tokens"], [19556, 905])
        piped = self.ok_json("tokenize", MODEL, "-", stdin="Hello world")
        self.assertEqual((piped["tokens"], piped["pieces"], piped["count"]), ([19556, 905], ["Hello", " world"], 2))
        self.assertEqual(self.ok_json("tokenize", MODEL, "<|im_end|>")["tokens"], [2])
        self.assertGreater(self.ok_json("tokenize", MODEL, "--plain", "<|im_end|>")["count"], 1)
        self.assertEqual(self.ok_json("tokenize", MODEL, "")["tokens"], [])
        self.assertIn("\\xf0", self.ok("tokenize", MODEL, "\U0001F389"))
        self.bad("tokenize", MODEL)


class Evaluate(Scratch):
    QUICK = ["--tokens", 192, "--window", 96, "--decode-tokens", 4]

    def test_eval(self):
        result = self.ok_json("eval", MODEL, "--text", self.text, *self.QUICK)
        self.assertLessEqual(SIDE_FIELDS, result.keys())
        self.assertEqual(result["tokens"], 190)
        self.assertEqual(result["weight_bytes"], 538060032)
        self.assertTrue(1 < result["perplexity"] < 100 and result["decode_tokens_per_second"] > 0)
        piped = self.ok_json("eval", MODEL, "--text", "-", *self.QUICK, stdin=TEXT)
        self.assertEqual(piped["perplexity"], result["perplexity"])
        self.assertIn("perplexity", self.ok("eval", MODEL, "--text", self.text, "--quiet", *self.QUICK))

    def test_bad_input(self):
        self.bad("eval", MODEL)
        self.bad("eval", MODEL, "--text", "/no/such/text", names=["/no/such/text"])
        self.bad("eval", MODEL, "--text", "-", stdin="a", names=["at least 2"])
        self.bad("eval", MODEL, "--text", self.text, "--window", 1, names=["window", "'1'", "2 .. "])
        self.bad("eval", MODEL, "--text", self.text, "--window", 8193, names=["8193", "8192"])
        self.bad("eval", MODEL, "--text", self.text, "--kv", "int3", names=["int3", "int4"])

    def test_compare(self):
        other, page = self.compressed(), self.folder / "report.html"
        result = self.ok_json("compare", MODEL, other, "--text", self.text, "--html", page, *self.QUICK)
        for side in ("reference", "other"):
            self.assertLessEqual(SIDE_FIELDS, result[side].keys())
        self.assertTrue(0 < result["kl_divergence"] < 1 and 0.5 < result["top1_agreement"] < 1)
        self.assertEqual(result["tokens"], 190)
        self.assertLess(result["other"]["weight_bytes"], result["reference"]["weight_bytes"] / 3)
        self.assertTrue(xml.etree.ElementTree.parse(page).getroot().tag.endswith("html"))

    def test_compare_several_and_a_limit(self):
        result = self.ok_json("compare", MODEL, MODEL, self.compressed(), "--max-kl", "1e-9", "--text", self.text,
                              *self.QUICK, code=1)
        itself, other = result["others"]
        self.assertEqual((itself["kl_divergence"], itself["top1_agreement"]), (0, 1))
        self.assertGreater(other["kl_divergence"], 0)
        self.bad("compare", MODEL, "--text", self.text)
        self.bad("compare", MODEL, MODEL, "--text", self.text, "--max-kl", "-1")

    def test_ctrl_c_ends_cleanly(self):
        process = subprocess.Popen([HALFTONE, "eval", MODEL, "--text", "-", "--window", "32", "--json"], cwd=ROOT,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write((TEXT * 8).encode())
        process.stdin.close()
        try:
            process.wait(timeout=3 * PATIENCE)  # it is somewhere in its windows now
            self.skipTest("the evaluation was over before it could be interrupted")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=120 * PATIENCE), 130)
        self.assertEqual(process.stdout.read(), b"")
        process.stdout.close()
        process.stderr.close()


class Compress(Scratch):
    def test_artifact(self):
        m = self.ok_json("inspect", self.compressed())
        self.assertEqual(m["source"], "artifact")
        self.assertLess(m["bits_per_weight"], 9)
        self.assertEqual(m["parameters"], 134515008)
        self.assertTrue(m["provenance"])

    def test_options(self):
        out = self.folder / "int8.halftone"
        report = self.ok_json("compress", MODEL, "-o", out, "--method", "rtn", "--method-option", "bits=8",
                              "--method-option", "group_size=128", "--sites", "blocks.0.*")
        self.assertEqual((report["output"], report["method"]), (str(out), "rtn"))
        formats = {f["format"] for f in self.ok_json("inspect", out)["formats"]}
        self.assertTrue(any(f.startswith("int8 group 128") for f in formats), formats)

    def test_number_formats(self):
        out = self.folder / "mxfp4.halftone"
        report = self.ok_json("compress", MODEL, "-o", out, "--method", "rtn", "--method-option", "format=mxfp4",
                              "--method-option", "head=mxfp8_e4m3", "--quiet")
        formats = {f["format"] for f in self.ok_json("inspect", out)["formats"]}
        self.assertLessEqual({"mxfp4", "mxfp8_e4m3"}, formats)
        # 106.2 million weights of 4.25 bits, and 28.3 million of 8.25.
        self.assertAlmostEqual(report["bits_per_weight"], (106.2 * 4.25 + 28.3 * 8.25) / 134.5, delta=0.02)
        rows = self.ok_json("inspect", out, "--kernels")["kernels"]["kernels"]
        kernels = {r["problem"].split()[3]: r["kernel"] for r in rows if r["operation"] == "gemm"}
        self.assertLessEqual({"e2m1/group", "e4m3/group"}, kernels.keys())
        self.assertNotIn("reference", kernels.values())
        self.assertTrue(self.ok("generate", out, "--prompt", "The capital of France is", "--max-tokens", 4).strip())
        self.bad("compress", MODEL, "-o", out, "--method", "rtn", "--method-option", "format=mxfp5",
                 names=["mxfp5", "nvfp4", "nf4 group:64 f16"])

    def test_interrupted_it_resumes(self):
        text = self.folder / "calibration.txt"
        text.write_text(TEXT * 8, encoding="utf-8")
        out = self.folder / "cut.halftone"
        command = [HALFTONE, "compress", MODEL, "-o", out, "--method", "gptq", "--calibrate", text,
                   "--calibration-tokens", "512", "--window", "128"]
        with subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE) as process:
            while not (self.folder / "cut.halftone.partial" / "block-1.safetensors").exists():
                self.assertIsNone(process.poll())
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            message = process.stderr.read().decode()
        self.assertEqual(process.returncode, 130, message)
        self.assertIn("same command again to resume", message)
        self.assertFalse(out.exists())
        self.assertGreaterEqual(self.ok_json(*command[1:])["resumed_blocks"], 2)

    def test_gguf_of_floats_and_of_stored_integers(self):
        q4 = self.folder / "q4_0.gguf"
        self.ok("compress", MODEL, "-o", q4, "--method", "rtn", "--method-option", "bits=4", "--method-option",
                "group_size=32", "--method-option", "symmetric=true", "--method-option", "head=int8_group32")
        stored, expanded = self.ok_json("inspect", q4), self.ok_json("inspect", q4, "--weights", "f32")
        loaded = {f["format"]: f["loaded"] for f in stored["formats"]}
        self.assertEqual(loaded, {"F32": "f32", "Q4_0": "int4 group 32 symmetric", "Q8_0": "int8 group 32 symmetric"})
        self.assertEqual({f["loaded"] for f in expanded["formats"]}, {"f32"})
        self.assertAlmostEqual(stored["loaded"]["bits_per_weight"], stored["bits_per_weight"], places=6)
        self.assertEqual(expanded["loaded"]["bits_per_weight"], 32)
        score = ["--text", self.text, "--window", 128, "--tokens", 256, "--decode-tokens", 0]
        self.assertEqual(self.ok_json("compare", q4, q4, *score)["kl_divergence"], 0)
        same = self.ok_json("compare", q4, q4, "--weights", "stored", *score)
        self.assertEqual(same["reference"]["bits_per_weight"], 32)
        self.assertLess(same["other"]["bits_per_weight"], 6)
        self.assertLess(same["kl_divergence"], 0.01)  # at most what rounding the activations costs
        for name, bits in (("f16", 16), ("bf16", 16), ("f32", 32)):
            out = self.folder / f"{name}.gguf"
            self.ok("compress", MODEL, "-o", out, "--method", "cast", "--method-option", f"format={name}")
            m = self.ok_json("inspect", out)
            self.assertEqual({f["format"] for f in m["formats"]}, {"F32", name.upper()})
            self.assertAlmostEqual(m["bits_per_weight"], bits, places=1)
            if name == "f16":
                self.assertLess(self.ok_json("compare", MODEL, out, *score)["kl_divergence"], 1e-5)
            out.unlink()
        self.bad("generate", q4, "-p", "x", "--weights", "f16", names=["f16", "stored", "f32"])

    def test_bad_input(self):
        out = ["-o", self.folder / "bad.halftone"]
        self.bad("compress", MODEL, *out)
        self.bad("compress", MODEL, *out, "--method", "nonsense", names=["nonsense", "rtn"])
        self.bad("compress", MODEL, *out, "--method", "rtn", "--method-option", "bits=5", names=["bits", "5"])
        self.bad("compress", MODEL, *out, "--method", "rtn", "--method-option", "colour=red", names=["colour", "rtn"])
        self.bad("compress", MODEL, *out, "--method", "rtn", "--method-option", "bits", names=["bits"])
        self.bad("compress", MODEL, *out, "--method", "rtn", "--sites", "nothing.*", names=["nothing.*"])
        self.bad("compress", MODEL, "-o", "/no/such/folder/out", "--method", "rtn", names=["/no/such/folder"])
        self.bad("compress", MODEL, *out, "--method", "gptq")  # needs a calibration text
        self.assertFalse((self.folder / "bad.halftone").exists())


class Generate(Scratch):
    def test_greedy(self):
        ask = ["generate", MODEL, "-p", "The capital of France is", "-n", 6, "--temp", 0]
        result = self.ok_json(*ask)
        self.assertEqual((result["finish_reason"], len(result["tokens"])), ("length", 6))
        self.assertIn("Paris", result["text"])
        self.assertEqual(self.ok_json(*ask, "--threads", 1)["tokens"], result["tokens"])
        self.assertEqual(self.ok(*ask), result["text"] + "\n")
        self.assertEqual(self.ok(*ask, "--stream"), result["text"] + "\n")
        ids = self.ok_json("tokenize", MODEL, ask[3])["tokens"]
        given = self.ok_json("generate", MODEL, "-p", ", ".join(map(str, ids)), "--ids", *ask[4:])
        self.assertEqual((given["tokens"], given["prompt_tokens"]), (result["tokens"], len(ids)))
        self.assertEqual(self.ok_json("generate", MODEL, "-p", "-", "-n", 6, "--temp", 0,
                                      stdin="The capital of France is\n")["tokens"], result["tokens"])

    def test_seeds(self):
        ask = ["generate", MODEL, "-p", "Once", "-n", 8, "--temp", 1, "--top-k", 0, "--top-p", 1, "--min-p", 0]
        first = self.ok_json(*ask, "--seed", 1)["tokens"]
        self.assertEqual(self.ok_json(*ask, "--seed", 1, "--threads", 2)["tokens"], first)
        self.assertNotEqual(self.ok_json(*ask, "--seed", 2)["tokens"], first)

    def test_stop(self):
        result = self.ok_json("generate", MODEL, "-p", "1, 2, 3, 4,", "-n", 30, "--temp", 0, "--stop", "8", "--stop", "never")
        self.assertEqual(result["finish_reason"], "stop")
        self.assertIn("7", result["text"])
        self.assertNotIn("8", result["text"])

    def test_chat_template(self):
        result = self.ok_json("generate", MODEL, "-p", "Say hello.", "--chat", "-n", 60, "--temp", 0)
        self.assertNotIn("<|", result["text"])
        self.assertGreater(result["prompt_tokens"], 20)  # the template and its system message

    def test_control_tokens_in_a_message_are_text(self):
        def prompt_tokens(text):
            return self.ok_json("generate", MODEL, "-p", text, "--chat", "-n", 0)["prompt_tokens"]
        # As a control token the name is one token, as text it is several.
        self.assertGreater(prompt_tokens("a<|im_end|>b"), prompt_tokens("ab") + 2)

    def test_bad_input(self):
        self.bad("generate", MODEL)
        self.bad("generate", MODEL, "-p", "", names=["no tokens"])
        self.bad("generate", MODEL, "-p", "x", "--temp", "-1", names=["temp", "-1", "0 .. 100"])
        self.bad("generate", MODEL, "-p", "x", "--temp", "nan", names=["temp", "nan"])
        self.bad("generate", MODEL, "-p", "x", "--top-p", "1.5", names=["top-p", "1.5", "0 .. 1"])
        self.bad("generate", MODEL, "-p", "x", "--top-k", "-3", names=["top-k", "-3"])
        self.bad("generate", MODEL, "-p", "x " * 40, "-c", 8, names=["41 tokens", "context 8"])
        self.bad("generate", MODEL, "-p", "x", "-c", 9000, names=["9000", "8192"])
        self.bad("generate", MODEL, "-p", "x", "--stop", "", names=["stop"])
        self.bad("generate", MODEL, "-p", "1 x2", "--ids", names=["x2", "49151"])
        self.bad("generate", MODEL, "-p", "49152", "--ids", names=["49152", "49151"])
        self.bad("generate", MODEL, "-p", "1", "--ids", "--chat", names=["--chat"])

    def test_a_reader_that_leaves_is_no_error(self):
        process = subprocess.Popen([HALFTONE, "generate", MODEL, "-p", "Once", "-n", "200", "--stream", "--quiet"],
                                   cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        self.assertIn(process.wait(timeout=120 * PATIENCE), (0, -signal.SIGPIPE))
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()


class Chat(Scratch):
    def test_lines_are_turns(self):
        ask = ["chat", MODEL, "--temp", 0, "-n", 12]
        lines = [json.loads(line) for line in self.ok(*ask, "--json", stdin="Hi!\n\nWho are you?\n").splitlines()]
        self.assertEqual(len(lines), 2)
        for turn in lines:
            self.assertEqual(turn.keys(), {"text", "tokens", "finish_reason"})
            self.assertTrue(turn["text"])
        self.assertTrue(self.ok(*ask, stdin="Hi!").startswith(lines[0]["text"]))
        again = [json.loads(x) for x in self.ok(*ask, "--json", stdin="Hi!\n/clear\nHi!\n/quit\nHi!\n").splitlines()]
        self.assertEqual([turn["tokens"] for turn in again], [lines[0]["tokens"]] * 2)
        self.assertEqual(self.ok(*ask, stdin=""), "")

    def test_bad_input(self):
        self.bad("chat", MODEL, "-c", 8, stdin="Hello\n", names=["8"])


class Bench(Scratch):
    def test_kernels(self):
        result = self.ok_json("bench", "kernels", "--filter", "rms_norm", "--rounds", 2)
        self.assertTrue(all(t["operation"] == "rms_norm" and t["seconds"] > 0 for t in result["timings"]))
        self.assertTrue(any(t["chosen"] for t in result["timings"]))
        self.assertIn("reference", self.ok("bench", "kernels", "--filter", "rope", "--rounds", 1))

    def test_llm(self):
        quick = ["bench", "llm", "--model", MODEL, "--rounds", 1, "--decode", 2, "--prefill", 8]
        result = self.ok_json(*quick)
        self.assertEqual(result["ways"][0]["decode_ratio"], 1)
        self.assertLess(result["ways"][1]["bytes_per_token"], result["ways"][0]["bytes_per_token"] / 2)
        self.ok(*quick, "--require-decode", 1e6, code=1)

    def test_breakdown(self):
        command = ["bench", "llm", "--model", MODEL, "--rounds", 1, "--breakdown", "--tasks", "decode", "--threads", 1]
        step, = self.ok_json(*command)
        self.assertEqual((step["task"], step["threads"]), ("decode", 1))
        calls = {o["operation"]: o["calls"] for o in step["operations"]}
        self.assertEqual((calls["attention"], calls["most likely token"]), (30, 1))
        self.assertIn("between kernels", self.ok(*command))

    def test_bad_input(self):
        self.bad("bench")
        self.bad("bench", "nonsense", names=["nonsense", "kernels", "llm"])
        self.bad("bench", "kernels", "--filter", "nonsense", names=["nonsense"])
        self.bad("bench", "llm", "--rounds", 0, names=["rounds", "1 .. 1000"])
        self.bad("bench", "llm", "--breakdown", "--vs", "llama.cpp", names=["--breakdown", "--vs"])


if __name__ == "__main__":
    if not pathlib.Path(HALFTONE).exists():
        sys.exit(f"cli_test: {HALFTONE} is missing; build it first")
    if not MODEL.exists():
        print(f"cli_test: skipped, {MODEL.relative_to(ROOT)} is missing; run 'make models'")
        sys.exit(77)
    unittest.main()
