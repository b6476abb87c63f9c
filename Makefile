# Two commands: `make reproduce` and `make test`. Both install everything into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install reproduce check test lint format bench clean

help:
	@echo "make reproduce   simulate, check, draw every figure, write results/report.html"
	@echo "make check       check every claim of the theory"
	@echo "make test        run the tests"
	@echo "make lint        ruff and mypy"
	@echo "make bench       speed against a plain loop, other verifiers and the hardware"
	@echo "make clean       remove the virtual environment (results stay)"

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(STAMP)

install: $(STAMP)

reproduce: $(STAMP)
	$(BIN)/cgro reproduce
	@$(BIN)/python -c "import pathlib; p = pathlib.Path('results/report.html').resolve(); print('Open', p.as_uri())"

check: $(STAMP)
	$(BIN)/cgro check --quiet

# Two workers with two threads of linear algebra each on two cores take ten times the work of one thread each.
test: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/dynamics.py
	$(BIN)/python benchmarks/certify.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/attacks.py
	$(BIN)/python benchmarks/sweeps.py

clean:
	rm -rf $(VENV)
