# Two commands matter: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test up install bench bench-engine bench-labels bench-drift bench-load fuzz soak lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -V >/dev/null 2>&1 || { echo "Lookahead needs Python 3.11 and '$(PYTHON)' does not run here: install it (Debian: apt install python3.11 python3.11-venv) or run 'make PYTHON=/path/to/python3.11 ...'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Lookahead needs Python 3.11, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): run 'make PYTHON=/path/to/python3.11 ...'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module: install it (Debian: apt install python3.11-venv)."; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute, plus the download of PyTorch) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[worker,embedded,demo,tracing,dev]'
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

# Kernel engines side by side, the others in an environment of their own; about a quarter of an hour.
ENGINES := .venv-engines
ENGINES_PIP := $(ENGINES)/bin/pip install --quiet --disable-pip-version-check
$(ENGINES)/.installed:
	@$(PYTHON) -m venv $(ENGINES)
	@$(ENGINES_PIP) torch==2.13.0 numpy==2.4.6 scipy einops dill jax==0.4.30 jaxlib==0.4.30 neural-tangents==0.6.5
	@$(ENGINES_PIP) --no-deps asdl==0.1.5 bmdal_reg==3.0.2 backpack-for-pytorch==1.7.1 unfoldNd==0.2.3
	@touch $@

bench-engine: $(STAMP) $(ENGINES)/.installed
	@$(BIN)/python -m benchmarks.engine --python $(ENGINES)/bin/python

# Every strategy against those of other libraries, which live in an environment of their own; about an hour and a half
# on two cores, and goes on where it was stopped.
PEERS := .venv-peers
$(PEERS)/.installed: benchmarks/peers/requirements.txt
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-labels: $(STAMP) $(PEERS)/.installed
	@$(BIN)/python -m benchmarks.label_efficiency run
	@$(BIN)/python -m benchmarks.label_efficiency report

# Errors of the live kernel model over 5,000 labels, for docs/learning-curve.md; about a quarter of an hour on two cores.
bench-drift: $(STAMP)
	@$(BIN)/python -m benchmarks.error_growth

# Labels per second, and label to suggestion by candidates, labels and annotators; about twenty minutes on two cores.
bench-load: $(STAMP)
	@$(BIN)/python -m benchmarks.label_rate --clients 1 8 32
	@$(BIN)/python -m benchmarks.label_to_suggestion --candidates 4000 10000 --labels 100 1000 5000 --annotators 1 8 --repeats 120

# Two hundred kills while eight clients label, then every check; about half an hour. Other lengths: see docs/reliability.md.
SOAK ?= --kills 200 --seed 7
soak: $(STAMP)
	@$(BIN)/python -m benchmarks.soak $(SOAK)

# Requests by the ten thousand, made from the service's own schema; about ten minutes.
fuzz: $(STAMP)
	@FUZZ_EXAMPLES=100 $(BIN)/python -m pytest tests/service/test_fuzz.py --timeout 1200

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(ENGINES) $(PEERS) .lookahead build *.egg-info
