# halftone's everyday commands. Each target does what is still missing and no more; nothing asks a question.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup configure program build models models-all texts demo test bench format check asan clean
# As many compilers as cores, with 1.5 GB of memory each.
JOBS ?= $(shell awk -v cores=$$(nproc) '/^MemTotal/ {n = int($$2 / 1500000); print n < 1 ? 1 : n < cores ? n : cores}' /proc/meminfo)
CTEST_JOBS ?= 2
say = @printf '== %s\n'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## install missing system packages and find or install libtorch
	$(say) "setup: system packages and libtorch"
	@tools/setup

configure: setup
	@cmake --preset release >.halftone/cmake.log 2>&1 || { cat .halftone/cmake.log; exit 1; }

program: configure ## build build/bin/halftone alone
	$(say) "program: build/bin/halftone, $(JOBS) jobs"
	@cmake --build --preset release -j $(JOBS) --target halftone

build: configure ## build build/bin/halftone and the tests
	$(say) "build: everything into build/, $(JOBS) jobs"
	@cmake --build --preset release -j $(JOBS)

models: setup ## fetch SmolLM2-135M-Instruct into models/ (93 MB)
	$(say) "models: SmolLM2-135M-Instruct"
	@tools/models smollm2

models-all: setup ## fetch SmolLM2 and Gemma 3 270M into models/ (331 MB)
	$(say) "models: SmolLM2-135M-Instruct and Gemma 3 270M"
	@tools/models smollm2 gemma3

texts: setup ## make the calibration and evaluation texts in texts/ (5 MB)
	$(say) "texts: calibration and evaluation prose from Debian's manuals"
	@tools/texts

demo: program models texts ## compress SmolLM2 four ways, compare with the original, generate
	$(say) "demo: compress, compare, generate"
	@tools/demo

test: check build models-all texts ## run the checks, build, then run every test
	$(say) "test: ctest, $(CTEST_JOBS) at a time"
	@ctest --test-dir build -j $(CTEST_JOBS) --output-on-failure

bench: program models ## time prefill and decode of SmolLM2
	$(say) "bench: halftone bench llm"
	@build/bin/halftone bench llm

format: setup ## rewrite the sources in the agreed format
	$(say) "format: clang-format"
	@tools/check_format --fix

check: setup ## check the layers, the file sizes and the format
	$(say) "check: layers and format"
	@tools/check_layers
	@tools/check_format

asan: setup models-all texts ## build with AddressSanitizer and UBSan in build-asan/, and run every test
	$(say) "asan: build and test in build-asan/"
	@cmake --preset asan
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan -j $(CTEST_JOBS)

clean: ## remove the build folders; models, texts and .venv stay
	$(say) "clean: build/ build-dev/ build-asan/"
	@rm -rf build build-dev build-asan
