# Requirements: Python 3.11 or newer, make and a package index. Targets create .venv on first use.
PYTHON ?= python3.11 python3 python
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Four test processes, since many tests wait; the tests of a file share a process.
TESTFLAGS ?= -n 4 --dist loadfile -m "not slow"
SESSIONS ?= newest lowest mcp1 langfuse4
PYTHONS ?= newer_python-3.12 newer_python-3.13 newer_python-3.14
# Tests start hundreds of processes: without bytecode files each of them compiles its frameworks again.
unexport PYTHONDONTWRITEBYTECODE
# Tests for `make pythons`; empty: all but the slow ones.
PYTHONTESTS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types imports compat pythons bench docs dist check clean constraints

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo ## let two users talk to an agent and replay their sessions in the terminal
	@$(BIN)/langfuse-integration demo

test: .venv/.test ## run all tests except the slow ones (TESTFLAGS="-m slow" runs those)
	$(PYTEST) $(TESTFLAGS)

lint: .venv/.dev ## check rules and format with ruff
	$(BIN)/ruff check .; rules=$$?; $(BIN)/ruff format --check . && exit $$rules

format: .venv/.dev ## fix and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## check types with mypy and pyright, both strict
	$(BIN)/mypy; mypy=$$?; $(BIN)/pyright --pythonpath $(BIN)/python && exit $$mypy

imports: .venv/.dev ## check the import contracts
	$(BIN)/lint-imports

compat: .venv/.dev ## run the tests at the oldest and newest supported releases (SESSIONS="mcp1 ...")
	@. tools/index.sh && $(BIN)/nox --session $(SESSIONS)

pythons: .venv/.dev ## run the tests on each newer Python that is installed; the others are named as skipped
	@. tools/index.sh && . tools/pythons.sh && $(BIN)/nox --no-error-on-missing-interpreters --session $(PYTHONS) -- $(PYTHONTESTS)

bench: .venv/.bench ## measure the cost of tracing
	$(BIN)/python -m benchmarks

docs: .venv/.docs ## build the documents as a site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

dist: .venv/.release ## build wheel and sdist, check and install them, and list licences (SBOM)
	@sh tools/release.sh

check: lint types imports test ## run all checks that a change must pass

clean: ## remove all generated files, also .venv
	rm -rf site .venv .nox .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: .venv/.dev ## pin the newest compatible releases
	@. tools/index.sh && $(BIN)/uv pip compile --upgrade --all-extras --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet --output-file constraints.txt pyproject.toml

# One stamp for each set of extras, which is installed again when these files change.
.venv/.demo .venv/.test .venv/.dev .venv/.bench .venv/.docs .venv/.release: pyproject.toml constraints.txt tools/venv.sh tools/index.sh
	@PYTHON="$(PYTHON)" sh tools/venv.sh $(@:.venv/.%=%)
	@touch $@
