# Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help demo test test-all reloads torture check bench

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/set-up  ## Train on real data, score a CSV file, look at the verdicts, ask the service
	@$(BIN)/python -m residuum.demo

test: .venv/set-up  ## Run the tests
	@$(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

test-all: .venv/set-up  ## Run the long tests too: kills and frozen workers, every variant under every likelihood, every benchmark
	@$(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal -m 'long or not long'

reloads: .venv/set-up  ## Change versions under load for a minute, and say what came of it
	@RESIDUUM_RELOADS=60 $(BIN)/pytest -q -s tests/serving/http/test_reloads.py

torture: .venv/set-up  ## Break the stream worker again and again: needs a JDK and Maven
	@RESIDUUM_TORTURE=1 RESIDUUM_CI=1 $(BIN)/pytest tests/serving/stream -m 'long or not long' -k 'exactly_once or malformed or goes_away or soak' --durations 0

check: .venv/set-up  ## Lint, check the format, the types and the directions of imports
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

bench: .venv/set-up  ## Measure every claim of the README, beside its peers
	@$(BIN)/pip install -q -e '.[bench]' -c constraints.txt
	@set -e; for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script; done

.venv/set-up: pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Residuum needs Python 3.11 or newer; say where one is: make PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[train,dev]' -c constraints.txt
	@touch $@
