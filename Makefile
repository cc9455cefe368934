# Everything here needs Python 3.11 (or newer), make and a package index; .venv is made on first use.
PYTHON ?= python3.11 python3 python
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# How tests are run: two at a time, a file's tests in one process.
TESTFLAGS ?= -n 2 --dist loadfile -m "not slow"
SESSIONS ?= newest lowest mcp1 langfuse4

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types imports compat bench check clean constraints

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo ## two users talk to an agent; their sessions, replayed in the terminal
	@$(BIN)/langfuse-integration demo

test: .venv/.test ## all tests but the slow ones (TESTFLAGS="-m slow" runs those)
	$(PYTEST) $(TESTFLAGS)

lint: .venv/.dev ## ruff: rules and format
	$(BIN)/ruff check .; rules=$$?; $(BIN)/ruff format --check . && exit $$rules

format: .venv/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## mypy and pyright, both strict
	$(BIN)/mypy; mypy=$$?; $(BIN)/pyright --pythonpath $(BIN)/python && exit $$mypy

imports: .venv/.dev ## who may import whom
	$(BIN)/lint-imports

compat: .venv/.dev ## the tests at the oldest and newest supported releases (SESSIONS="mcp1 ...")
	@. tools/index.sh && $(BIN)/nox --session $(SESSIONS)

bench: .venv/.bench ## what tracing costs
	$(BIN)/python -m benchmarks

check: lint types imports test ## what a change must pass

clean: ## remove what was made, .venv too
	rm -rf .venv .nox .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: .venv/.dev ## pin the newest releases that everything here agrees on
	@. tools/index.sh && $(BIN)/uv pip compile --upgrade --all-extras --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet --output-file constraints.txt pyproject.toml

# One stamp for each set of extras: installed once, and again when these files change.
.venv/.demo .venv/.test .venv/.dev .venv/.bench: pyproject.toml constraints.txt tools/venv.sh tools/index.sh
	@PYTHON="$(PYTHON)" sh tools/venv.sh $(@:.venv/.%=%)
	@touch $@
