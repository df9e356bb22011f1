# Everything runs in .venv, made on first use; each target is quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# The versions of Python 3 that pyproject.toml allows: from the first, below the second.
VERSIONS := $(shell sed -nE 's/^requires-python = ">=3\.([0-9]+),<3\.([0-9]+)".*/\1 \2/p' pyproject.toml)
FIRST    := $(word 1,$(VERSIONS))
ABOVE    := $(word 2,$(VERSIONS))

BENCHMARKS := epoch startup tracking sweep memory reading models inference

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev sweep models test faults check bench format ui clean

help:           ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: [^#]*## */\t/' | expand -t 12

setup: $(VENV)/.setup           ## create .venv with the program in it
setup-dev: $(VENV)/.setup-dev   ## the same, with what tests and checks need

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, $(FIRST)) <= sys.version_info[:2] < (3, $(ABOVE)))' || \
	{ echo "error: PYTHON must be 3.$(FIRST) or later and below 3.$(ABOVE): TensorFlow has wheels for no other." \
	       "Received: $$($(PYTHON) --version 2>&1)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.setup-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.setup

sweep: setup    ## four runs: two network sizes, two learning rates
	$(BIN)/python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01

models: setup   ## the six models of the tutorial, all epochs
	$(BIN)/python -m mnist_exp -m experiment=model_1,model_2,model_3,model_4,model_5,model_6

ui: setup       ## open the MLflow UI on the store
	$(BIN)/mnist-exp ui

test: setup-dev ## run the tests and show their coverage (PYTEST_ARGS=... to choose some)
	$(BIN)/python -m slipcover --source mnist_exp --skip-covered --missing-width 40 -m \
		pytest --ignore=tests/faults --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

faults: setup-dev ## kill processes, fill disks, take servers away: nothing may be lost
	$(BIN)/python -m pytest tests/faults --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: setup-dev ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup-dev ## measure against rivals, in turns (QUICK=1: fewer repeats)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[bench]'
	for each in $(BENCHMARKS); do $(BIN)/python benchmarks/$$each.py $(if $(QUICK),--quick) || exit 1; done

format: setup-dev ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:          ## remove .venv and caches, never runs
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist build
