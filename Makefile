# `make demo` and `make test` set up all they need; a second call reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint type bench docs clean help

help:  ## list of targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "recenv needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "setuptools>=77" wheel
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[all,dev]'
	@touch $(READY)

demo: $(READY)  ## the whole path on real data, in DEMO=demo
	$(BIN)/recenv demo --out $(DEMO)

test: $(READY) lint type  ## lint, types, all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)  ## mypy on the installed tree (it cannot see mapped folders through an editable install)
	rm -rf build && mkdir -p build/types
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --target build/types .
	MYPYPATH=build/types $(BIN)/mypy --config-file pyproject.toml -p recenv

bench: $(READY)  ## speed of the environments, and how fast DQN solves the solvable shop
	$(BIN)/python scripts/bench_env.py
	$(BIN)/python scripts/bench_solvable.py

docs: $(READY)  ## reference pages from the docstrings, in build/docs
	mkdir -p build/docs && cd build/docs && ../../$(BIN)/python -m pydoc -w recenv recenv.world recenv.state recenv.env.shop

clean:  ## remove what was built, not what was learned
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
