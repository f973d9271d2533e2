# Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

# uv takes seconds where pip takes minutes; pip installs uv, and everything else where uv cannot. uv gets pip's indexes, and both
# that of TORCH_INDEX, which offers CPU builds of torch.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef TORCH_INDEX
export PIP_EXTRA_INDEX_URL := $(TORCH_INDEX)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
install = { $(BIN)/pip install -q uv && $(BIN)/uv pip install -q --python .venv -e '.[$(1)]' -c constraints.txt; } || \
	$(BIN)/pip install -q -e '.[$(1)]' -c constraints.txt

.PHONY: help demo test test-all proofs reloads torture coverage check docs pictures bench

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(or $(wildcard .venv/set-up),.venv/demo)  ## Train on real data, score a CSV file, print the verdicts, query the service
	@$(BIN)/python -m residuum.demo

test: .venv/set-up  ## Run the tests, without the long ones
	@$(PYTEST)

test-all: .venv/set-up  ## Run all tests: kills and frozen workers, all variants with all likelihoods, all benchmarks
	@$(PYTEST) -m 'long or not long'

proofs: .venv/set-up  ## Run what `make test` leaves out and CI needs: benchmarks on a few rows, README, compose, OpenAPI, bytes
	@$(PYTEST) -m long tests/benchmarks tests/deploy tests/project tests/serving/http/test_openapi.py \
		tests/serving/http/models/test_registry.py tests/serving/stream/kafka/test_size_limits.py \
		tests/training/test_contract.py::test_the_same_seed_gives_the_same_bytes

coverage: .venv/set-up  ## Run the tests and print the coverage; half as long again before Python 3.12
	@COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
		$(PYTEST) --cov --cov-report=term:skip-covered

reloads: .venv/set-up  ## Change versions under load for a minute and print the result
	@RESIDUUM_RELOADS=60 $(BIN)/pytest -q -s tests/serving/http/test_reloads.py

torture: .venv/set-up  ## Interrupt the stream worker hundreds of times, rotate its files, let logs and other side effects fail; needs a JDK and Maven
	@RESIDUUM_TORTURE=1 RESIDUUM_CI=1 $(BIN)/pytest tests/serving/stream -m 'long or not long' -k 'exactly_once or malformed or goes_away or soak or rotation or state_file' --durations 0
	@RESIDUUM_TORTURE=1 $(BIN)/pytest tests/serving/http/test_side_effects.py -m 'long or not long' --durations 0

check: .venv/set-up  ## Check style, format, types and the direction of imports
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

docs: .venv/set-up  ## Build the documentation into site/, strictly
	@$(call install,docs)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: .venv/set-up  ## Draw the pictures of the documentation from real runs; needs Chromium
	@$(BIN)/python docs/make_pictures.py

bench: .venv/set-up  ## Measure every claim of the README; compare with peers
	@$(call install,bench)
	@set -e; for script in benchmarks/[a-z]*.py benchmarks/quality/[a-z]*.py; do $(BIN)/python $$script; done

.venv/bin/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Residuum needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml constraints.txt | .venv/bin/python
	@$(call install,demo)
	@touch $@

.venv/set-up: pyproject.toml constraints.txt | .venv/bin/python
	@$(call install,dev)
	@touch $@
