# Everything a checkout needs, from `python3` and the package registries alone. `make` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
UV := $(BIN)/uv
# Whatever index this machine is set to use, the lock names the public one: it must serve everyone.
UV_LOCK := $(UV) lock --quiet --no-config --default-index https://pypi.org/simple
EXPORT := $(UV) export --quiet --no-config --frozen --no-emit-project --no-default-groups
RINGS := $(wildcard tests/unit tests/kafka tests/e2e)
# Most tests wait for a process or a broker: one more at a time than there are CPUs, and eight at most.
JOBS ?= $(shell echo $$(($$(nproc) < 8 ? $$(nproc) + 1 : 8)))
SPREAD := --numprocesses $(JOBS)

# pip settings of a person's own that would break an install into a virtual environment; mirrors, proxies and
# certificates stay in force. PYTHONPATH could put another package named "supervisor" before ours.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

# $(call install,LOCK): what LOCK names, checked against its hashes, then the checkout itself.
define install
	@echo "Installing what $(1) names into $(VENV) …"
	@$(PIP) install --quiet --no-input --progress-bar off --require-hashes -r $(1)
	@$(PIP) install --quiet --no-input --progress-bar off --no-deps --no-build-isolation --editable .
endef

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo bench bench-soak test test-unit lint types check format lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The recipe is one command, so make runs it without a shell between: Ctrl-C reaches the demo, make waits for it.
demo: $(VENV)/.demo  ## see it all work, on a Kafka of its own; Ctrl-C ends it
	@$(BIN)/supervisor demo

# One command each, as of the demo.
bench: $(VENV)/.dev  ## every benchmark but the soak, in turn, on Kafkas of their own; writes docs/benchmarks.md
	@$(BIN)/python benchmarks/all.py

bench-soak: $(VENV)/.dev  ## half an hour under load with a kill a minute; into docs/benchmarks.md, too
	@$(BIN)/python benchmarks/soak.py --write

test: $(VENV)/.dev  ## every test: units, real brokers, the command line as a user runs it
	$(BIN)/python -m pytest $(SPREAD) $(RINGS)

test-unit: $(VENV)/.dev  ## the tests that need no Kafka
	$(BIN)/python -m pytest $(SPREAD) tests/unit

lint: $(VENV)/.dev  ## style and format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## static types
	$(BIN)/mypy

check: lint types test  ## all that continuous integration runs

format: $(VENV)/.dev  ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV)  ## renew the lock files from pyproject.toml; UPGRADE=1 takes newer versions
	$(UV_LOCK) $(if $(UPGRADE),--upgrade)
	$(EXPORT) --group build -o requirements.lock
	$(EXPORT) --group build --extra cluster -o requirements-demo.lock
	$(EXPORT) --group build --group dev --all-extras -o requirements-dev.lock

clean:  ## remove the virtual environment, caches and builds
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find supervisor workers tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) was not found"; echo "remedy: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), and Python 3.11 or newer is needed"; echo "remedy: name a newer one: make PYTHON=python3.11"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks the venv module"; echo "remedy: install it (Debian, Ubuntu: apt install python3-venv), or name another Python: make PYTHON=…"; exit 1; } >&2
	@$(PYTHON) -m venv --clear $(VENV)

$(BIN)/uv: $(VENV)/.dev

$(VENV)/.demo: requirements-demo.lock pyproject.toml setup.cfg $(BIN)/python
	$(call install,requirements-demo.lock)
	@touch $@

# What the tests need includes all that the demo needs.
$(VENV)/.dev: requirements-dev.lock pyproject.toml setup.cfg $(BIN)/python
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.demo $@
