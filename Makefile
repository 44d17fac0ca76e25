# Everything a newcomer needs, in an environment of its own (.venv). `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORKERS ?= 2
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help venv run test check fix bench kafka-demo bench-kafka soak lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

venv: $(STAMP) ## make .venv with every dependency, pinned and checked by hash (quick the second time)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making $(VENV): some 500 MB, a minute or two the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP) ## simulate a bank, detect, and show the worst alerts and why
	@$(BIN)/aml demo

test: $(STAMP) ## run the tests (AML_TEST_ALL=1: those too that take minutes or download packages)
	@test "$(AML_TEST_ALL)" = 1 || echo "tests marked thorough are left out: AML_TEST_ALL=1 make test runs them too"
	@$(BIN)/python -m pytest -n $(WORKERS)

check: $(STAMP) ## lint, types, rule files, import directions
	@echo "ruff";  $(BIN)/ruff check .
	@echo "mypy";  $(BIN)/mypy
	@echo "rules"; $(BIN)/aml rules check
	@echo "house"; $(BIN)/python -m pytest -q tests/unit/test_house.py

fix: $(STAMP) ## mend what ruff can mend
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure speed and detection; prints the figures and the machine (minutes)
	@$(BIN)/python -m tests.bench

kafka-demo: $(STAMP) ## Kafka, PostgreSQL, an intake, two workers and a bank on this machine: watch alerts arrive (Java, Maven)
	@$(BIN)/python -m tests.kafka_demo

bench-kafka: $(STAMP) ## measure the streaming service on a broker and a database of its own (Java, Maven; minutes)
	@$(BIN)/python -m tests.bench.kafka

soak: $(STAMP) ## kill the streaming service 200 times and hold its alerts against those of a file run (an hour)
	@$(BIN)/python -m tests.soak

lock: $(STAMP) ## resolve pyproject.toml anew into requirements.lock
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --all-extras --allow-unsafe \
	  --strip-extras --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	  --output-file requirements.lock pyproject.toml

clean: ## remove caches and what the demo left
	@rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist aml-demo
	@find aml tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +
