# Every target works in a fresh clone: it makes the environment it needs in $(VENV).

.DEFAULT_GOAL := help
.PHONY: help demo test test-full bench chaos lint format types mypy pyright layers links wheel-check clean

VENV ?= .venv
MINUTES ?= 30
LINKS := build/typecheck

# The first of these that is new enough; name another with `make PYTHON=/path/to/python …`.
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$candidate -c $(NEW_ENOUGH) 2>/dev/null; then echo $$candidate; break; fi; done)
NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'

BIN := $(abspath $(VENV))/bin
installed = $(VENV)/.installed-$(1)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(call installed,demo) ## A year of flights as 4,044 agents on SQLite; ARGS="--help" tells more
	$(BIN)/python examples/flights.py $(ARGS)

test: $(call installed,test) ## All tests but the slow ones; ARGS are pytest's
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

test-full: $(call installed,test) ## All tests, the slow ones too, with a longer search
	$(BIN)/python -m pytest -m "not checkers" --hypothesis-profile=full $(ARGS)

bench: $(call installed,bench) ## Torpor beside its peers, as ratios; CASE=name runs one
	$(BIN)/python -m tests.benchmarks $(CASE) $(ARGS)

chaos: $(call installed,test) ## Kills, zombies, full disks, restarts, checked from outside; MINUTES=30
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(ARGS)

lint: $(call installed,lint) ## Style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(call installed,lint) ## Put into shape what can be
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

types: mypy pyright layers ## Types and layers, and that their checkers really look
	$(BIN)/python -m pytest -m checkers $(ARGS)

# No checker can follow the folder mapping of an editable install, and several pass when they
# found nothing to look at. So they get the package as folders of links, made afresh.
links:
	rm -rf $(LINKS)
	mkdir -p $(LINKS)
	cp -rs "$(CURDIR)/runtime" $(LINKS)/torpor
	cp -rs "$(CURDIR)/storage" $(LINKS)/torpor/storage
	cp -rs "$(CURDIR)/tests" "$(CURDIR)/examples" "$(CURDIR)/pyproject.toml" $(LINKS)

mypy: $(call installed,all) links
	cd $(LINKS) && MYPY_CACHE_DIR="$(CURDIR)/.mypy_cache" $(BIN)/mypy

pyright: $(call installed,all) links
	cd $(LINKS) && PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --warnings --pythonpath $(BIN)/python

layers: $(call installed,all) links
	cd $(LINKS) && $(BIN)/lint-imports --no-cache --no-logo

wheel-check: $(call installed,test) ## Build, install in an empty environment, use it
	.ci/wheel-check $(BIN)/python

clean: ## Remove all that these targets made here
	rm -rf $(VENV) build dist torpor.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find runtime storage tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo >&2 "Torpor needs Python 3.11 or later, and none was found." \
		"Install one, or name it: make PYTHON=/path/to/python …"; exit 1; }
	@"$(PYTHON)" -c $(NEW_ENOUGH) || { echo >&2 "Torpor needs Python 3.11 or later;" \
		"$(PYTHON) is `"$(PYTHON)" --version`."; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
