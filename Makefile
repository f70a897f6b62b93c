# The front door. `make` alone prints every target.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PARAMS ?= params/default.yaml
# Steps at the same time, where none of them needs another one.
JOBS   ?= 2
SINCE  ?= HEAD
# Unless one is named it is the project's own SQLite file, whose address Python builds.
STORE  ?= $(MLFLOW_TRACKING_URI)
# By the environment and not as an argument: other users of a machine see those of a process.
ifneq ($(STORE),)
run-notebooks lab ui report verify serve: export MLFLOW_TRACKING_URI := $(STORE)
endif
# A Python of 3.11 or newer to build the environment with.
PYTHON ?= python3

VENV := .venv
BIN  := $(VENV)/bin
# uv is the one on PATH, else the locked one, which the package index brings into the environment;
# where that cannot be, pip does its work. Both check the lock's hashes. What is imported Python
# compiles at the first time and keeps: less than half of what is installed. Where it must not write
# that, all is compiled here, or every kernel would compile its imports again.
find_uv = uv=$$(command -v uv || command -v .venv/bin/uv || command -v $(BIN)/uv || true)
compile_all = $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
# The one that made the environment knows how to install into it; a copy of its own takes seconds.
pip = pip="$(PYTHON) -m pip --python $(BIN)/python"; $$pip --version >/dev/null 2>&1 || \
  { pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; }; \
  $$pip install --quiet --disable-pip-version-check
install = $(find_uv); if [ -z "$$uv" ]; then $(pip) $(1); else \
  "$$uv" pip install --quiet --python $(BIN)/python $(compile_all) $(1) || \
  { echo "uv could not; pip tries, whose settings may know another index" >&2; $(pip) $(1); }; fi

.PHONY: help setup setup-dev setup-engines run-notebooks lab ui serve report verify image up diff picture hooks test test-slow test-engines lint lock lowest clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "taxi-nb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 setup" >&2; exit 2; }
	@$(find_uv); if [ -n "$$uv" ]; then "$$uv" venv --quiet --allow-existing --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv --without-pip $(VENV) || exit; \
	  sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock > $(VENV)/uv.txt; \
	  { $(pip) --require-hashes -r $(VENV)/uv.txt; } || rm -f $(BIN)/uv; fi
	@$(find_uv); if [ -n "$$uv" ]; then echo "$$("$$uv" --version) installs, of $$uv"; \
	else echo "pip installs, which takes longer: there is no uv here, and the package index gave none"; fi
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/.made
	@echo "Installing the locked environment into $(VENV)/ ..."
	@$(call install,--require-hashes -r requirements.lock)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the tools for tests and all extras into $(VENV)/ ..."
	@$(call install,--require-hashes -r requirements-dev.lock)
	@touch $@

# The same rules make it, with another name for the environment.
.venv-engines/.installed: requirements-engines.lock
	@$(MAKE) --no-print-directory VENV=.venv-engines .venv-engines/.locked
	@touch $@

.venv-engines/.locked: requirements-engines.lock | $(VENV)/.made
	@echo "Installing Prefect and KFP into $(VENV)/ ..."
	@$(call install,--require-hashes -r requirements-engines.lock)
	@touch $@

setup: $(VENV)/.installed  ## make .venv with what the notebooks and the pipeline need
setup-dev: $(VENV)/.installed-dev  ## the same, with every extra but engines, and the tools for tests
setup-engines: .venv-engines/.installed  ## make .venv-engines with Prefect and KFP, for what `taxi-nb export` writes

run-notebooks: setup  ## execute the notebooks in order (PARAMS=params/green-2021.yaml JOBS=1 SET="seed=1")
	@$(BIN)/taxi-nb run $(PARAMS) --jobs $(JOBS) $(foreach value,$(SET),--set '$(value)')

lab: setup  ## explore in JupyterLab, with this project's store and data, at the address that is printed
	@$(BIN)/taxi-nb lab notebooks/01_ingest.ipynb -- $(LAB_ARGS)

ui: setup  ## look at the runs in MLflow's own pages: open the address that is printed (PORT=5000)
	@$(BIN)/taxi-nb ui $(if $(PORT),--port $(PORT))

serve: setup  ## answer with the champion's predictions, at the printed address (PORT=5001 CHALLENGER=20%)
	@$(BIN)/taxi-nb serve $(if $(PORT),--port $(PORT)) $(if $(NAME),--name $(NAME)) $(if $(CHALLENGER),--challenger $(CHALLENGER))

report: setup  ## write a run's pages again and print their path (RUN=20260203-140501-default)
	@$(BIN)/taxi-nb report $(RUN)

verify: setup  ## execute the newest run again, elsewhere, and compare every number and figure (RUN=... JOBS=1)
	@$(BIN)/taxi-nb verify $(RUN) --jobs $(JOBS)

# An image has no checkout: it is told its commit, and whether there was more than that.
commit = $(shell git rev-parse HEAD)$(if $(shell git status --porcelain),-dirty)

image:  ## build the container image of this commit (TAG=local EXTRAS="s3 postgres" ENGINES=yes)
	docker build --build-arg COMMIT=$(commit) $(if $(EXTRAS),--build-arg EXTRAS="$(EXTRAS)") \
	  $(if $(ENGINES),--build-arg ENGINES=$(ENGINES)) \
	  --tag taxi-nb:$(or $(TAG),local) .

up: .env  ## start compose.yaml's services: stores, MLflow, Lab, the pipeline, the champion (PROFILE=prefect)
	COMMIT=$(commit) docker compose $(if $(PROFILE),--profile $(PROFILE)) up --build --detach

.env:
	@umask 077; sed -n 's/=$$//p' .env.example | while read -r name; do \
	  echo "$$name=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"; done > $@.part; mv $@.part $@
	@echo "$@ has random passwords now; it is for this folder only, and git ignores it."

diff: setup  ## show changed notebooks as prose and code, not JSON (SINCE=main)
	@git --no-pager -c core.attributesFile="$(CURDIR)/.gitattributes" \
	  -c diff.jupyternotebook.command="$(CURDIR)/$(BIN)/git-nbdiffdriver diff --sources" \
	  diff $(SINCE) -- '*.ipynb' 'notebooks/*.py' 'notebooks/*.md'

picture: setup-dev  ## take the README's picture again, of the newest run's page (RUN=..., needs Chromium)
	@$(BIN)/python -m benchmarks.picture $(RUN)

hooks: setup-dev  ## let git refuse a commit of notebooks with outputs, or of code that lint would refuse
	@$(BIN)/pre-commit install

test: setup-dev  ## the tests, but for the slow ones (ARGS="-k trips" picks some)
	@$(BIN)/python -m pytest -m "not slow and not engines" $(ARGS)

test-slow: setup-dev  ## tests with a browser, a server, kernels that are killed, a whole pipeline
	@$(BIN)/python -m pytest -m "slow and not engines" $(ARGS)

test-engines: setup-dev setup-engines  ## what `taxi-nb export` writes, run by Prefect and by KFP
	@$(BIN)/python -m pytest -m engines tests/export $(ARGS)

lint: setup-dev  ## style, types, no outputs in committed notebooks, container and workflow files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tests/notebooks_are_clean.py notebooks/*.ipynb
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

lock: | $(VENV)/.made  ## resolve pyproject.toml again into the lock files
	@$(require_uv); $(compile) $(project) $(LOCKED:%=--extra %) --extra dev -o requirements-dev.lock
	@$(require_uv); $(compile) $(project) --extra taxi -c requirements-dev.lock -o requirements.lock
	@$(require_uv); $(PYTHON) -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"] \
	  ["optional-dependencies"]; print(*extras["prefect"], *extras["kubeflow"], sep="\n")' \
	  | $(compile) - -o requirements-engines.lock

# All but the engines', which pin what would hold back our libraries.
LOCKED = taxi distributed fastparquet jupytext notify postgres s3
# The larger set first: what is in both then has one version.
project = pyproject.toml --group build
require_uv = $(find_uv); test -n "$$uv" || { echo "this needs uv: python3 -m pip install uv" >&2; exit 2; }
compile = "$$uv" pip compile --quiet --no-annotate \
  --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

empty :=
comma := ,
lowest: | $(VENV)/.made  ## the smoke pipeline and the tests with the lowest versions that pyproject.toml allows
	@$(require_uv); "$$uv" venv --quiet --clear --python 3.11 .venv-lowest && \
	  "$$uv" pip install --quiet --python .venv-lowest/bin/python --compile-bytecode --resolution lowest-direct \
	    --group build -e ".[$(subst $(empty) $(empty),$(comma),$(LOCKED) dev)]"
	@mkdir .venv-lowest/project && cp -r notebooks params .venv-lowest/project
	@cd .venv-lowest/project; export TAXI_NB_ROOT="$$PWD" MLFLOW_TRACKING_URI=; \
	  ../bin/taxi-nb run params/smoke.yaml && ../bin/taxi-nb run params/smoke.yaml --force --kernel spawn
	@.venv-lowest/bin/python -m pytest $(ARGS) \
	  --deselect tests/test_environment.py::test_what_is_installed_is_what_is_locked \
	  --deselect tests/tracking/test_tracked_run.py::test_the_pins_of_a_model_are_the_locks

clean:  ## remove the environment and caches; runs, data and the store stay
	rm -rf $(VENV) .venv-engines .venv-lowest .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
