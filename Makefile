# The front door. `make` alone prints every target.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PARAMS ?= params/default.yaml
JOBS   ?= 1
PORT   ?= 5000
# A Python of 3.11 or newer to build the environment with.
PYTHON ?= python3

VENV := .venv
BIN  := $(VENV)/bin
UV   := $(shell command -v uv 2>/dev/null)

# uv where it is on PATH, pip otherwise. Both check the lock's hashes and leave
# bytecode behind: without it every kernel would compile its imports again.
ifneq ($(UV),)
make_venv    = $(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
install_lock = $(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $(1)
install_self = $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
make_venv    = $(PYTHON) -m venv $(VENV)
install_lock = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
install_self = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif

.PHONY: help setup setup-dev run-notebooks lab ui report test lint lock clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "taxi-nb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 setup" >&2; exit 2; }
	@$(make_venv)

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked environment into $(VENV)/ ..."
	@$(call install_lock,requirements.lock)
	@$(install_self)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the tools for tests and all extras into $(VENV)/ ..."
	@$(call install_lock,requirements-dev.lock)
	@touch $@

setup: $(VENV)/.installed  ## make .venv with what the notebooks and the pipeline need
setup-dev: $(VENV)/.installed-dev  ## the same, with every extra and the tools for tests

lock:  ## resolve pyproject.toml again into the two lock files (needs uv)
	@test -n "$(UV)" || { echo "make lock needs uv on PATH (python3 -m pip install uv)" >&2; exit 2; }
	$(compile) --all-extras -o requirements-dev.lock
	$(compile) -c requirements-dev.lock -o requirements.lock

# The larger set first: what is in both then has one version.
compile = $(UV) pip compile pyproject.toml --group build --quiet --no-annotate \
  --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
