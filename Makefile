# make run    the flights example, from fetch to monitor, and a table at the end
# make ui     the Dagster UI with its daemon and the MLflow UI, on the same state
# make test   lint, types and tests, as .ci/run runs them
#
# Needs Python 3.10 to 3.13 and nothing else; PYTHON=python3.12 chooses one.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run ui test tests lint format lock docs clean venv dev-venv

VENV := .venv
BIN := $(VENV)/bin
PROJECT ?= examples/flights
MODEL := flights/late_arrival
ORIGINAL := $(VENV)/apache-liminal
PYTEST_ARGS ?= -n 2 --dist loadgroup

export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: venv ## learns from the first half of 2013, then scores and watches the second
	$(BIN)/liminal run --project $(PROJECT) --changed --partition-range 2013-01..2013-06
	$(BIN)/liminal run --project $(PROJECT) --changed --sensors \
	  --select 'not (key:"$(MODEL)" or key:"$(MODEL)__*")' --partition-range 2013-07..2013-12

ui: venv
	$(BIN)/liminal ui --project $(PROJECT)

test: dev-venv ## types are checked while the tests begin, which leave cores idle
	@$(MAKE) --no-print-directory -j2 lint tests

tests: dev-venv
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: dev-venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo $(BIN)/mypy; $(BIN)/mypy; \
	else echo "no types on Python 3.10: the libraries that it gets have older stubs"; fi

format: dev-venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: venv
	$(BIN)/python -m liminal_assets.language.reference docs/language.md
	$(BIN)/python -m liminal_assets.steps.compile.reference docs/compiled.md

# The lock files hold for every supported Python; uv only resolves, pip installs.
lock: venv
	$(BIN)/python -m venv build/lock
	build/lock/bin/pip install --quiet 'uv>=0.9'
	build/lock/bin/uv pip compile pyproject.toml --extra examples --group build --group dev \
	  --universal --python-version 3.10 --generate-hashes --no-emit-index-url --upgrade \
	  --custom-compile-command 'make lock' --quiet -o requirements-dev.lock
	build/lock/bin/uv pip compile pyproject.toml --extra examples --group build \
	  --constraint requirements-dev.lock \
	  --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --quiet -o requirements.lock

venv:
	@PYTHON='$(PYTHON)' sh .ci/venv $(VENV) requirements.lock

dev-venv:
	@PYTHON='$(PYTHON)' sh .ci/venv $(VENV) requirements-dev.lock
	@test -f $(ORIGINAL)/apache_liminal-0.0.5.dist-info/RECORD || $(BIN)/python -m pip install -qq \
	  --require-hashes --no-deps --target $(ORIGINAL) --requirement requirements-apache.lock

clean:
	rm -rf $(VENV) .liminal build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
