# Two commands matter: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test up install bench lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -V >/dev/null 2>&1 || { echo "Lookahead needs Python 3.11 and '$(PYTHON)' does not run here: install it (Debian: apt install python3.11 python3.11-venv) or run 'make PYTHON=/path/to/python3.11 ...'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Lookahead needs Python 3.11, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): run 'make PYTHON=/path/to/python3.11 ...'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module: install it (Debian: apt install python3.11-venv)."; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute, plus the download of PyTorch) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[worker,embedded,demo,dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/lookahead demo

up: $(STAMP)
	@exec $(BIN)/lookahead up

test: $(STAMP)
	@$(BIN)/python -m pytest

# Figures for docs/benchmarks.md; a few minutes on two cores.
bench: $(STAMP)
	@$(BIN)/python -m benchmarks.label_to_suggestion
	@$(BIN)/python -m benchmarks.digits_sequential

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:
	rm -rf $(VENV) .lookahead build *.egg-info
