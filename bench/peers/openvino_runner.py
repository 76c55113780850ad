#!/usr/bin/env python3
"""Times OpenVINO GenAI on a GGUF file, on request: what `halftone bench llm --vs openvino` talks to.

usage: openvino_runner.py MODEL.gguf THREADS

One JSON object a line on standard input asks for a round, and one on standard output answers:

  {"kind": "prefill" or "decode", "context": 512, "tokens": 0, "sequences": 1, "kv": "f16", "int8" or "int4"}
  {"tokens_per_second": 2409.1}    or    {"error": "why there is no figure"}

A pipeline is made once for each KV format, with its prefix cache off, and runs the task once before the first round that
counts. "f16" leaves the KV cache as OpenVINO chooses it, since that is what its users get.
"""

import json
import os
import sys

CHUNK_TOKENS = 4096  # a prompt is one step, not several of the default 256 tokens
KV_PRECISION = {"f16": {}, "int8": {"KV_CACHE_PRECISION": "u8"}, "int4": {"KV_CACHE_PRECISION": "u4"}}


class Runner:
    def __init__(self, model, threads):
        self.model = model
        self.threads = threads
        self.pipelines = {}
        self.warm = set()

    def pipeline(self, kv):
        import openvino_genai

        if kv not in self.pipelines:
            scheduler = openvino_genai.SchedulerConfig()
            scheduler.enable_prefix_caching = False
            scheduler.max_num_batched_tokens = CHUNK_TOKENS
            self.pipelines[kv] = openvino_genai.LLMPipeline(self.model, "CPU", scheduler_config=scheduler,
                                                            INFERENCE_NUM_THREADS=self.threads, **KV_PRECISION[kv])
        return self.pipelines[kv]

    def generate(self, task, seed):
        """Seconds until the first token of all sequences, and seconds in all."""
        import numpy
        import openvino
        import openvino_genai

        ids = numpy.random.default_rng(seed).integers(10, 40000, (task["sequences"], max(task["context"], 1)))
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids.astype(numpy.int64)),
                                                openvino.Tensor(numpy.ones(ids.shape, numpy.int64)))
        config = openvino_genai.GenerationConfig(max_new_tokens=task["tokens"] + 1, ignore_eos=True, do_sample=False)
        result = self.pipeline(task["kv"]).generate(inputs, config)
        metrics = result.perf_metrics
        wanted = task["tokens"] + 1
        if any(len(tokens) != wanted for tokens in result.tokens):
            raise RuntimeError(f"generated {[len(tokens) for tokens in result.tokens]} tokens, not {wanted} each")
        return metrics.get_ttft().mean * 1e-3, metrics.get_generate_duration().mean * 1e-3

    def measure(self, task):
        key = json.dumps(task, sort_keys=True)
        if key not in self.warm:
            self.generate(task, seed=0)
            self.warm.add(key)
        first, total = self.generate(task, seed=len(self.warm))
        if task["kind"] == "prefill":
            return task["context"] / first
        return task["sequences"] * task["tokens"] / (total - first)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    runner = Runner(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        try:
            answer = {"tokens_per_second": runner.measure(json.loads(line))}
        except Exception as error:  # whatever OpenVINO cannot do is an answer too
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
