# Two commands do everything on a machine with python3 (3.11 or later) and make:
#   make demo   a static and a growing network, trained side by side, the growing one asking the service
#   make test   every test that needs nothing but Python
# `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
IMAGE ?= tamiyo
TARGET ?= core
BUILD ?=
LABELS = --build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' client/tamiyo_leyline/version.py)" \
	--build-arg REVISION="$$(git rev-parse HEAD)" --build-arg SOURCE="$$(git remote get-url origin 2>/dev/null || echo unknown)"
TOOLS := $(VENV)/.tools

PEERS := .venv-peers
AUDIT := .venv-audit

# Handed through: make demo DEMO="--json result.json", make test PYTEST="-k ledger -x".
DEMO ?=
PYTEST ?=
BENCH ?=
FUZZ ?=
SOAK ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-docker test-page fuzz audit soak bench bench-peers bench-containers lint types format image secrets lock clean

help: ## what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install everything into it (once; again when the pins change)

# The stamp is written last: an interrupted or failed install is begun again by the next make.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tamiyo needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[service,models,dev]'
	@touch $@

demo: setup ## train a static and a growing network; the growing one asks the service every epoch
	@$(BIN)/tamiyo demo $(DEMO)

test: setup ## run the tests (others need a container engine, nginx or a browser: make test-docker, make test-page)
	@$(BIN)/python -m pytest $(PYTEST)

test-docker: setup $(TOOLS) ## build the image, try it and nginx for real; starts an engine of its own when run as root without one
	@$(BIN)/python -m pytest -m docker tests/docker $(PYTEST)

test-page: setup ## try the operators' page in a real browser (Debian: apt-get install chromium)
	@$(BIN)/python -m pytest -m browser tests/page $(PYTEST)

$(TOOLS): $(STAMP) docker/requirements/tools.in
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -r docker/requirements/tools.in
	@touch $@

fuzz: setup ## attack the service with 10 000 requests and more, and the parsers (FUZZ="--cases 50000 --seconds 300")
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt atheris
	@$(BIN)/python -m tests.fuzz $(FUZZ)

audit: setup $(AUDIT)/.installed ## whether all is pinned, and whether known vulnerabilities are in it (asks a database)
	@$(BIN)/python -m pytest -q tests/architecture/test_pins.py
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt

$(AUDIT)/.installed:
	@$(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check pip-audit==2.10.1
	@touch $@

soak: setup ## whether memory stays flat under full load: ten minutes (SOAK="--seconds 3600"); wants a quiet machine
	@$(BIN)/python -m bench.soak $(SOAK)

bench: setup ## measure against the targets (BENCH="service history": some); figures go to bench/results/
	@$(BIN)/python -m bench $(BENCH)

bench-peers: $(PEERS)/.installed ## make .venv-peers: the servers of others that bench compares with (1.5 GB)

$(PEERS)/.installed: bench/peers/requirements.txt
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -r bench/peers/requirements.txt
	@touch $@

lint: setup ## style, formatting and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: setup ## strict types, everywhere
	@$(BIN)/mypy

format: setup ## put everything into the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

image: ## build a container image: TARGET=core (no torch), learned or trainer; IMAGE names it (docs/deployment.md)
	@DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --target $(TARGET) --tag $(IMAGE) $(LABELS) $(BUILD) .

secrets: ## make the passwords that the compose file needs, in secrets/, where there are none yet
	@$(PYTHON) docker/make_secrets.py secrets postgres-password grafana-password

lock: setup $(TOOLS) ## write the images' locks again, after constraints.txt or docker/requirements/*.in changed
	@PATH="$(CURDIR)/$(BIN):$$PATH" docker/requirements/lock.sh

bench-containers: setup $(TOOLS) ## measure the images: size, and the time from start to ready
	@$(BIN)/python -m bench.containers

clean: ## remove .venv and everything built or cached
	@rm -rf $(VENV) $(PEERS) $(AUDIT) bench/.cache dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .docker-test
	@find client models service tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
