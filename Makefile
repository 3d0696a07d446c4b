# cellstate: `make train` and `make test` need nothing but Python 3.10-3.13 and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help train test check install clean

help:  ## what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/'

install: $(STAMP)  ## create .venv and install cellstate with the exact versions of constraints.txt

# torch comes first and alone: a pinned build that is already there is never replaced by another one.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

train: $(STAMP)  ## train the default experiment (more: make train ARGS="experiment=char_lm")
	$(BIN)/cellstate train $(ARGS)

test: $(STAMP)  ## run the whole test suite
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(STAMP)  ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

clean:  ## remove the environment and the caches (outputs/ stays)
	rm -rf .venv .pytest_cache .ruff_cache dist build
