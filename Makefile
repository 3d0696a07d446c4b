# cellstate: `make train` and `make test` need nothing but Python 3.11-3.13 and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
# The interpreter that would be used, and, where it is too old, its version; it is asked in words that Python 2 knows too.
INTERPRETER = $(firstword $(wildcard $(BIN)/python) $(PYTHON))
OLD = $(shell $(INTERPRETER) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.stdout.write("%d.%d.%d" % v[:3])')

.DEFAULT_GOAL := help
.PHONY: help train test test-all check install clean

help:  ## what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/'

install: $(STAMP)  ## create .venv and install cellstate with the exact versions of constraints.txt

# torch comes first and alone: a pinned build that is already there is never replaced by another one.
$(STAMP): pyproject.toml constraints.txt
	$(if $(OLD),$(error $(INTERPRETER) is Python $(OLD), and cellstate needs 3.11 or later: $(if $(wildcard .venv),make clean && )make PYTHON=python3.11 $(MAKECMDGOALS)))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

train: $(STAMP)  ## train the default experiment (more: make train ARGS="experiment=char_lm")
	$(BIN)/cellstate train $(ARGS)

test: $(STAMP)  ## run the tests of everyday work: every kind of claim, six to seven minutes on two cores
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

test-all: $(STAMP)  ## run all tests, every case of every claim
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(STAMP)  ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

clean:  ## remove the environment and the caches (outputs/ stays)
	rm -rf .venv .pytest_cache .ruff_cache dist build
