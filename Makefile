# make demo | test | lint | faults | fuzz | accept | bench | docs
# Each makes .venv first when there is none. Without make, the README has the plain pip commands.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint faults fuzz accept bench docs clean

demo: $(READY)  ## draw 24 scenes, caption them through queue and database, show the SQL
	BLIPQ_HOME='$(CURDIR)/.local/demo' $(RUN)/blipq demo

test: lint  ## all that must hold: lint, types, import contracts, tests
	$(RUN)/pytest -q -n 2 --dist loadfile

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache

faults: $(READY)  ## the long run of kills, freezes and lost disks; about an hour
	BLIPQ_TEST_LONG=1 $(RUN)/pytest -q --timeout 7200 tests/faults

fuzz: $(READY)  ## 10,000 mutated pictures, and parsers under Hypothesis
	BLIPQ_TEST_LONG=1 FUZZ=10000 $(RUN)/pytest -q --timeout 7200 tests/engine/pictures/test_fuzz.py \
	  tests/worker/test_messages.py tests/worker/test_security.py tests/serve/test_openapi.py

accept: $(READY)  ## on a machine that reaches the Hub: PASS or FAIL a line
	$(RUN)/python tests/accept.py

bench: $(READY)  ## every benchmark in turn; each prints a table
	@set -e; for each in benchmarks/*.py; do echo "== $$each"; $(RUN)/python $$each; done

docs: $(READY)
	$(RUN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) .local build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "blipq needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python cannot make virtual environments: apt install python3-venv (or make PYTHON=...)" >&2; exit 2; }
	@test -x $(RUN)/pip || $(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
