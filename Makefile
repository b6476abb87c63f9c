# Two commands: `make reproduce` and `make test`. Both install everything into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install reproduce check test deep docs lint format bench notebooks clean

help:
	@echo "make reproduce   simulate, check, draw all figures, write results/report.html"
	@echo "make check       check all claims of the theory"
	@echo "make test        run the tests"
	@echo "make deep        move the constants of slow checks and of deep presets"
	@echo "make docs        build the documentation site, build/docs/html/index.html"
	@echo "make lint        run ruff and mypy"
	@echo "make format      fix lint errors and format the code"
	@echo "make bench       measure speed against a plain loop, other verifiers and the hardware"
	@echo "make notebooks   execute the notebooks of the documentation and store their outputs"
	@echo "make clean       remove the virtual environment (keeps results)"

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

# On two cores, two workers with two BLAS threads each take ten times as long as with one thread each.
test: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

deep: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m deep

docs: $(STAMP)
	PYTHONPATH=docs $(BIN)/python -m website

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
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/memorization.py

notebooks: $(STAMP)
	$(BIN)/python docs/notebooks/execute.py

clean:
	rm -rf $(VENV)
