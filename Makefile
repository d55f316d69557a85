# Two commands matter: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where bytecode is not kept, every process compiles everything anew: a second each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test up install pages browser bench bench-engine bench-labels bench-drift bench-load fuzz soak client label-studio-test lint clean

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

up: $(STAMP) pages
	@exec $(BIN)/lookahead up

# The dashboard and the labeling page. Without Node.js the service runs all the same, and `/` says how to get them.
PAGES := service/dashboard/built/.stamp
pages:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(PAGES); else echo "No npm here: the pages at / are left out (install Node.js 20.19 or newer, then make pages)."; fi

$(PAGES): dashboard/package-lock.json $(shell find dashboard/src dashboard/*.html dashboard/*.ts 2>/dev/null)
	@echo "Building the pages (seconds, once) ..."
	@cd dashboard && npm ci --silent && npm run --silent build -- --logLevel warn
	@touch $@

# A browser for the tests of the pages: Debian's Chromium.
browser:
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }

# The documentation site, into site/; nothing in it asks other hosts. A warning is an error.
.PHONY: docs docs-serve docs-test clean-docs
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
docs: $(STAMP)
	@$(MKDOCS) build --strict --quiet
	@echo "The documentation is in site/: open site/index.html through a web server, or run make docs-serve."

docs-serve: $(STAMP)
	@$(MKDOCS) serve --dev-addr 127.0.0.1:$(or $(DOCS_PORT),8001)

# The pictures of the pages in docs/img, from a deployment of their own; two minutes.
.PHONY: screenshots
screenshots: $(STAMP) pages browser
	@$(BIN)/python -m documentation.screenshots

clean: clean-docs
clean-docs:
	rm -rf site

# What the pages show, run as a reader would; part of make test.
docs-test: $(STAMP)
	@$(BIN)/python -m pytest -n 0 tests/docs tests/test_docs.py

test: $(STAMP) pages
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

# Against an unmodified Label Studio server in an environment of its own (LABEL_STUDIO=/path/to/label-studio takes one
# that is there); three minutes to install, and about two to run.
LABEL_STUDIO_VENV := .venv-label-studio
LABEL_STUDIO ?= $(LABEL_STUDIO_VENV)/bin/label-studio
$(LABEL_STUDIO_VENV)/bin/label-studio: tests/label_studio/requirements.txt
	@$(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	@$(LABEL_STUDIO_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

label-studio-test: $(STAMP) $(LABEL_STUDIO)
	@LABEL_STUDIO_PROGRAM=$(abspath $(LABEL_STUDIO)) $(BIN)/python -m pytest -n 0 tests/label_studio/test_real_server.py

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(ENGINES) $(PEERS) $(LABEL_STUDIO_VENV) .lookahead build *.egg-info

# The asynchronous SDK, made of the blocking one.
client: $(STAMP)
	@$(BIN)/python -m client.aio.generate
