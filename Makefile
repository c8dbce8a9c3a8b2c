# `make demo` and `make test` set up all they need. `make help` lists the verbs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WORKERS := $$(( $$(nproc) + 1 ))  # tests wait as much as they compute

# Debian's packages, for who may install them.
APT := $$(test "$$(id -u)" = 0 || echo sudo) apt-get -q
QUIET_APT := $(subst sudo,sudo -n,$(APT))

.PHONY: help compiler setup fmt check test soak simulate mutants bench docs screenshots demo clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(STAMP)  ## make the environment in .venv

$(STAMP): pyproject.toml hatch_build.py src/picas/pilot/fastpath.c | compiler
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "picas needs Python 3.10 or later"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "this Python has no venv; installing Debian's python3-venv"; rm -rf $(VENV); \
	    $(APT) update && $(APT) install -y --no-install-recommends python3-venv && \
	    $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

compiler:  # before setup, which compiles the fast path of runners where it can; the demo draws with a C program
	@command -v cc >/dev/null || \
	  { echo "there is no C compiler; installing Debian's gcc"; \
	    { $(QUIET_APT) update && $(QUIET_APT) install -y --no-install-recommends gcc libc6-dev; } >/dev/null 2>&1 || \
	    echo "that cannot be had here: going on without"; }

fmt: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup  ## ruff, mypy, the layers, the size watch, the mutants' guards, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size_watch.py
	! command -v cc >/dev/null || cc -fsyntax-only -std=gnu11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror \
	  src/picas/pilot/fastpath.c
	$(BIN)/python tools/mutants.py --check
	$(BIN)/python docs/generate.py --check

test: setup  ## all tests but the soaks
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

soak: setup  ## the long runs
	$(BIN)/python -m pytest -q -m soak

simulate: setup  ## 10,000 pools in virtual time, each with other faults
	$(BIN)/python tools/simulate.py --seeds 10000

mutants: setup  ## take out each guard in turn; a test must notice
	$(BIN)/python tools/mutants.py

bench: setup  ## the benchmarks, beside the peers that are installed in .bench
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/stores.py
	$(BIN)/python benchmarks/stores.py --store postgres
	$(BIN)/python benchmarks/functions.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/couchdb.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/viewers.py

docs: setup  ## write the generated pages
	$(BIN)/python docs/generate.py

screenshots: setup  ## take the pictures of docs/web.md anew
	$(BIN)/python tools/screenshots.py

demo: setup  ## watch pilots work two real pools to the end
	@PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh

clean:  ## remove the environment and what tests left
	rm -rf $(VENV) tests/servers/node_modules tests/servers/gridengine tests/servers/schemathesis .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
