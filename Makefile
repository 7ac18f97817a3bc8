# Everything runs in a virtual environment in this folder; `make clean` removes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installs the versions with which every test passed, so that a release of another package breaks nothing here.
# `make test NEWEST=1` in a fresh clone tries the newest instead, and `make constraints` then records them.
INSTALL := $(BIN)/python -m pip install --quiet $(if $(NEWEST),,--constraint constraints.txt) --editable

.PHONY: demo serve-demo test test-unsloth test-vllm test-page test-quick lint format clean bench-certificate bench-dedup bench-curate bench-proof bench-faults bench-generation bench-rewards bench-service bench-training bench-vllm test-postgresql constraints

demo: $(VENV)/.train
	$(BIN)/python examples/demo.py

serve-demo: $(VENV)/.serve
	$(BIN)/python examples/serve_demo.py

# Three workers on two cores, because tests spend nearly half of their time waiting. Each worker takes up to 3 GB.
WORKERS ?= 3
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# MODEL takes a folder or a hub id instead of the embedded weights: make test-vllm MODEL=Qwen/Qwen3-0.6B. The first run
# creates a Python environment for vLLM (3 GB).
MODEL ?= embedded
test-vllm: $(VENV)/.dev
	PAIRSMITH_REAL_VLLM=$(MODEL) $(BIN)/python -m pytest -n 0 -s --timeout 3600 tests/synth/test_local_vllm.py \
		tests/synth/providers/test_real_vllm.py tests/curate/scorers/test_real_vllm.py tests/train/test_real_vllm.py

# Every test of human review that starts a server, on PostgreSQL; `make test` runs only some of them that way.
test-postgresql: $(VENV)/.dev
	PAIRSMITH_ARGILLA_DATABASE=PostgreSQL $(BIN)/python -m pytest -n 2 --dist loadfile tests/curate/argilla

# The contract with unsloth, on its CPU path if there is no GPU. It limits transformers and TRL, so it has its own environment.
test-unsloth: $(VENV)-unsloth/.done
	$(VENV)-unsloth/bin/python -m pytest -n 0 tests/train/test_unsloth.py

$(VENV)-unsloth/.done: pyproject.toml
	test -x $(VENV)-unsloth/bin/python || $(PYTHON) -m venv $(VENV)-unsloth
	$(VENV)-unsloth/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-unsloth/bin/python -m pip install --quiet --editable '.[train,unsloth,test]'
	touch $@

# Fifty rows of every kind of task on Argilla's page; prints keys and seconds per row.
test-page: $(VENV)/.dev
	PAIRSMITH_PAGE_ROWS=50 $(BIN)/python -m pytest -n 0 -s tests/curate/argilla/test_kinds_in_browser.py

test-quick: $(VENV)/.quick
	$(BIN)/python -m pytest --quick -n 3

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.quick: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) '.[test]'
	touch $@

$(VENV)/.train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) '.[train]'
	touch $@

$(VENV)/.serve: $(VENV)/.train
	$(INSTALL) '.[train,review,serve]'
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(INSTALL) '.[train,review,dev]'
	touch $@

# Each writes bench/results/NAME.json; the last figures are committed.
bench-certificate bench-dedup bench-curate bench-proof bench-faults bench-generation bench-rewards bench-service bench-training bench-vllm: bench-%: $(VENV)/.dev
	$(BIN)/python -m bench.$*.run

constraints: $(VENV)/.dev
	echo "# The versions with which every test passed, for pip's --constraint; written by make constraints." > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >> constraints.txt
	touch $(VENV)/.train $(VENV)/.dev

clean:
	rm -rf $(VENV) $(VENV)-unsloth demo artifacts build dist
