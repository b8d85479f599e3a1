# `make demo` and `make test` set up all that they need; run them in any order.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13 3.14,$(shell command -v python$(v))) python3)

.PHONY: demo test lint schemas clean help

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(READY) broker ## calls flow from a simulated Tactium through RabbitMQ, commands back
	@$(BIN)/tactium-bridge demo

test: $(READY) broker lint ## all checks and all tests
	@$(BIN)/pytest

lint: $(READY) ## style, types and the architecture
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean: ## forget what was set up
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.PHONY: broker
broker: $(READY)
	@$(BIN)/python -m bridge.sandbox.install

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv -q $(VENV) \
	  || { echo "no virtual environment can be made: install python3-venv (apt) or 'pip install virtualenv'"; exit 1; }
	@echo 'installing the bridge and its tools into $(VENV) …'
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
