# `make demo` and `make test` set up all that they need: Python packages into
# .venv, and RabbitMQ through apt or Homebrew where the machine has none.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13 3.14,$(shell command -v python$(v))) python3)

# Also pins what pip needs to build the package itself.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test soak compose databases bench plots lint broker browser node clean

help: ## say what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(READY) broker ## calls flow from a simulated Tactium through RabbitMQ; commands flow back
	@$(BIN)/tactium-bridge demo

test: lint broker browser node ## every check and every test
	@$(BIN)/pytest --numprocesses 2 --dist worksteal

soak: $(READY) broker ## the faults at their full length, with a table; about half an hour
	@SOAK=1 $(BIN)/pytest tests/faults

compose: $(READY) ## compose.yaml brought up by an engine of its own, its services killed; eleven minutes
	@$(BIN)/python -m tests.compose.install
	@COMPOSE=1 $(BIN)/pytest tests/compose

databases: $(READY) broker ## the tests over PostgreSQL and MariaDB, each on a private server; eight minutes
	@$(BIN)/python -m tests.databases.install
	@DATABASES=1 $(BIN)/pytest --numprocesses 2 --dist worksteal -k "postgresql or mariadb"

bench: $(READY) broker ## the bridge beside its yardsticks, with a table; four minutes (ROUNDS=9: twelve; BACKLOG=1000000: twenty)
	@$(BIN)/python -m tests.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(BACKLOG),--backlog $(BACKLOG))

plots: $(READY) broker ## cost against size, as a picture; a quarter of an hour
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet '.[plots]'
	@$(BIN)/python -m tests.bench --sizes

lint: $(READY) ## style, types and the architecture
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports

broker: $(READY)
	@$(BIN)/python -m bridge.sandbox.install

browser: $(READY)
	@$(BIN)/python -m tests.browser.install

node: $(READY)
	@$(BIN)/python -m tests.node.install

clean: ## forget what was set up
	rm -rf $(VENV) tests/node/node_modules dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# Without pip inside, so that Debian's Python needs no further package for it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing the bridge and its tools into $(VENV) …"
	@$(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --editable '.[dev]'
	@touch $@
