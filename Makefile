# Everything runs in a virtual environment of this folder's own; `make clean` removes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo serve-demo test test-unsloth test-vllm test-page test-quick lint format clean bench-certificate bench-dedup bench-curate bench-proof bench-faults bench-generation bench-rewards bench-service bench-training

demo: $(VENV)/.train
	$(BIN)/python examples/demo.py

serve-demo: $(VENV)/.serve
	$(BIN)/python examples/serve_demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Another model: make test-vllm MODEL=Qwen/Qwen3-0.6B. The first time it makes a Python for vLLM (3 GB).
MODEL ?= HuggingFaceTB/SmolLM2-135M-Instruct
test-vllm: $(VENV)/.dev
	PAIRSMITH_REAL_VLLM=$(MODEL) $(BIN)/python -m pytest -n 0 -s tests/synth/test_local_vllm.py

# The contract with unsloth, on its CPU path where there is no GPU. It caps transformers and TRL, so it has a Python of its own.
test-unsloth: $(VENV)-unsloth/.done
	$(VENV)-unsloth/bin/python -m pytest -n 0 tests/train/test_unsloth.py

$(VENV)-unsloth/.done: pyproject.toml
	test -x $(VENV)-unsloth/bin/python || $(PYTHON) -m venv $(VENV)-unsloth
	$(VENV)-unsloth/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-unsloth/bin/python -m pip install --quiet --editable '.[train,unsloth,test]'
	touch $@

# Fifty rows of every kind of task on Argilla's page; prints keys and seconds a row.
test-page: $(VENV)/.dev
	PAIRSMITH_PAGE_ROWS=50 $(BIN)/python -m pytest -n 0 -s tests/curate/argilla/test_kinds_in_browser.py

test-quick: $(VENV)/.quick
	$(BIN)/python -m pytest --quick -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.quick: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.train: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

$(VENV)/.serve: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[train,review,serve]'
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[train,review,dev]'
	touch $@

# Each writes bench/results/NAME.json; the last figures are committed.
bench-certificate bench-dedup bench-curate bench-proof bench-faults bench-generation bench-rewards bench-service bench-training: bench-%: $(VENV)/.dev
	$(BIN)/python -m bench.$*.run

clean:
	rm -rf $(VENV) $(VENV)-unsloth demo artifacts build dist
