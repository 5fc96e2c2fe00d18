# make run    simulate the demo field, or reduce the data that CONFIG names
# make test   lint and the whole test suite
PYTHON ?= python3
CONFIG ?= config/config.yaml
OPTIONS ?=

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

# Tests run in parallel; BLAS threads would compete with them.
test: export OPENBLAS_NUM_THREADS = 1

.PHONY: run test clean

run: $(VENV)/installed
	$(BIN)/python -m romanprf.run $(CONFIG) $(OPTIONS)

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest --quiet tests/kernels
	$(BIN)/pytest -n auto --dist loadfile

$(VENV)/installed: $(REQUIREMENTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) results .snakemake
