# Every target that needs vrmm's libraries sets them up first, in .venv, whatever environment is active outside.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-quick test test-all pytest lint format types bench docs doctor clean

PYTHON ?= python3
OUT ?= runs/demo
HEAD_MODEL ?=
ARGS ?=

VENV := $(CURDIR)/.venv
IN_VENV := $(VENV)/bin/python
STAMP := $(VENV)/.vrmm-installed
GPU_STAMP := $(VENV)/.vrmm-gpu-installed
# Only what runs after the set-up sees .venv first: the set-up itself must find the Python outside.
RUN := PATH="$(VENV)/bin:$$PATH" "$(IN_VENV)"
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER
HEAD_MODEL_OPTION = $(if $(HEAD_MODEL),--head-model "$(HEAD_MODEL)")

help: ## Show this list
	@echo "vrmm: a volumetric relightable morphable head model"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | \
		while IFS='|' read -r name text; do printf '%-19s%s\n' "$$name" "$$text"; done
	@echo
	@echo "Variables: PYTHON=python3.12 (for setup), OUT=folder and HEAD_MODEL=path (for demo), ARGS='…' (for pytest)"

setup: $(STAMP) ## Make .venv and install everything into it (instant when it is up to date)
	@[[ "$(MAKECMDGOALS)" != setup ]] || echo "vrmm setup: .venv is up to date"

$(STAMP): pyproject.toml
	@echo "vrmm setup: checking Python"
	@command -v "$(PYTHON)" > /dev/null || \
		{ echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: vrmm needs Python 3.11 or newer and $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d" " -f2);" \
			"name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "vrmm setup: checking for a C++ compiler"
	@set -- $${CXX:-g++}; command -v "$$1" > /dev/null || \
		echo "warning: no C++ compiler ($$1); everything works, but rendering falls back to a slow reference" \
			"(Debian, Ubuntu: apt-get install g++; or name another: CXX=clang++ make …)" >&2
	@"$(IN_VENV)" -m pip --version > /dev/null 2>&1 || \
		{ echo "vrmm setup: making the virtual environment .venv with $$("$(PYTHON)" -V 2>&1)"; \
			"$(PYTHON)" -m venv --clear "$(VENV)" || \
			{ echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
				exit 1; }; }
	@echo "vrmm setup: updating pip"
	@"$(IN_VENV)" -m pip install --quiet --quiet --upgrade pip
	@echo "vrmm setup: installing vrmm and its libraries into .venv (some minutes; details in .venv/install.log)"
	@set -o pipefail; "$(IN_VENV)" -m pip install --progress-bar off -e '.[dev]' 2>&1 | tee "$(VENV)/install.log" | \
		while IFS= read -r line; do case "$$line" in Collecting*|Building*|Installing*|ERROR*|error*) \
			echo "  $${line:0:100}";; esac; done || \
		{ tail -n 30 "$(VENV)/install.log" >&2; \
			echo "error: the installation failed, see .venv/install.log; run make setup again to retry" >&2; exit 1; }
	@touch "$(STAMP)"
	@echo "vrmm setup: done; vrmm is .venv/bin/vrmm, and make doctor checks this machine"

# Triton is 300 MB that only GPUs and the tests of its kernels need.
$(GPU_STAMP): $(STAMP)
	@echo "vrmm setup: installing Triton, whose interpreter the tests run the GPU kernels in"
	@"$(IN_VENV)" -m pip install --quiet --progress-bar off -e '.[gpu]' || \
		{ echo "error: the installation of Triton failed; run the same command again to retry" >&2; exit 1; }
	@touch "$(GPU_STAMP)"

demo: setup ## The main job: capture, train, evaluate and fit; writes runs/demo/report.html
	@$(RUN) -m tools.main demo --out "$(OUT)" $(HEAD_MODEL_OPTION)

demo-quick: setup ## The same in about two minutes, at a size that proves only that it works
	@$(RUN) -m tools.main demo --quick --out "$(OUT)-quick" $(HEAD_MODEL_OPTION)

test: setup ## Style, layers, types, unit and integration tests, but for the longest: 15 minutes
	@$(MAKE) --no-print-directory --keep-going lint types pytest SELECTED='-m "not long"'

test-all: setup ## The same with the longest tests, as continuous integration runs it: half an hour
	@$(MAKE) --no-print-directory --keep-going lint types pytest # one run shows everything that fails

pytest: setup $(GPU_STAMP) ## Only the tests, for example make pytest ARGS='tests/prior -k light'
	@echo "vrmm test: running the tests"
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(SELECTED) $(ARGS)

lint: setup ## Style (ruff) and import direction (import-linter)
	@echo "vrmm test: checking the style"
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@echo "vrmm test: checking the import direction"
	@PATH="$(VENV)/bin:$$PATH" lint-imports

format: setup ## Put the code into shape: import order, layout, and what ruff can mend
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

types: setup $(GPU_STAMP) ## Types (pyright, on the packages)
	@echo "vrmm test: checking the types"
	@$(RUN) -m pyright --pythonpath "$(IN_VENV)"

bench: setup ## Measure raymarching; writes runs/bench/raymarch.json
	@mkdir -p runs/bench
	@$(RUN) -m tools.bench raymarch --json runs/bench/raymarch.json

docs: setup ## Write docs/recipes.md anew from the code
	@$(RUN) -m tools.recipe_docs

doctor: setup ## Check this machine and say how to mend what is missing
	@$(RUN) -m tools.main doctor

clean: ## Remove .venv and caches; runs/ stays
	rm -rf "$(VENV)" .pytest_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
