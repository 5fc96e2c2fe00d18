# make run     reduce the images that CONFIG names; by default, simulate and reduce the demo field
# make test    lint and run all tests
# make fuzz    read damaged and strange files for ten minutes, others each time
# make clean   remove the environment and all results
PYTHON ?= python3
CONFIG ?= config/config.yaml
OPTIONS ?=

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

# Tests run in parallel and would compete with the threads of BLAS.
test: export OPENBLAS_NUM_THREADS = 1

.PHONY: run test fuzz clean

run: $(VENV)/installed
	$(BIN)/python -m romanprf.run $(CONFIG) $(OPTIONS)

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakemake --lint
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest --quiet tests/kernels
	$(BIN)/pytest -n auto --dist loadfile

fuzz: $(VENV)/installed-dev
	ROMANPRF_FUZZ=600 $(BIN)/pytest tests/fuzz/test_damaged_files.py

$(VENV)/installed: $(REQUIREMENTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) results .snakemake
