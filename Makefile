# Each target does all the set-up it needs itself, on a fresh Debian or Ubuntu with Python 3.11 to 3.13 and make.
#   make demo       three simulated runs through the whole pipeline
#   make test       the tests
#   make lint       ruff, mypy, import-linter
#   make test-long  the tests that take longer
#   make coverage   every branch of prune and copies
#   make pictures   the screenshots in docs/
#   make lock       resolve the pinned dependencies anew
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-long coverage lint format pictures lock system

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then echo $$p; break; fi; done)
# What the viewer (Qt), the browser and the private servers (PostgreSQL, sshd, Slurm) of some tests need from Debian.
DEBIAN := chromium postgresql libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 openssh-server rsync \
	slurm-wlm slurmdbd munge mariadb-server
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests make thousands of small files and wait for each to be on the disk: in memory where there is plenty of it.
IN_MEMORY := $(shell [ "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 8000000 ] 2>/dev/null && echo /dev/shm)
ifneq ($(IN_MEMORY),)
export PYTEST_DEBUG_TEMPROOT ?= $(IN_MEMORY)
endif

help:
	@grep -E '^#   ' Makefile | sed 's/^#   //'

demo: $(VENV)/run.stamp
	$(BIN)/xpcs-assets demo

# One process more than two cores: a quarter of the time they wait for servers and queues. Worksteal: what shares a server
# stays together, and no core is left alone with the last ones. The tests of a running site, which are about time and
# processes, have the machine to themselves: two sites, each with its own half of them.
test: $(VENV)/dev.stamp system
	$(BIN)/python -m pytest -p no:cacheprovider -o tmp_path_retention_count=1 -m "not long and not end_to_end" -n 3 \
		--dist worksteal $(ARGS)
	$(BIN)/python -m pytest -p no:cacheprovider -m "not long and end_to_end" -n 2 \
		$(or $(ARGS),xpcs_assets_tests/end_to_end)

# Worksteal: a few of them take minutes each, which neither core should be left with alone.
test-long: $(VENV)/dev.stamp system
	$(BIN)/python -m pytest -p no:cacheprovider --timeout 3600 -m "not end_to_end" -n 2 --dist worksteal $(ARGS)
	$(BIN)/python -m pytest -p no:cacheprovider --timeout 3600 -m end_to_end $(ARGS)

# By path: the migrations are run by Alembic under names of its own.
coverage: $(VENV)/dev.stamp system
	$(BIN)/python -m pytest -p no:cacheprovider -m "not long and not end_to_end" -q -n 2 --cov=xpcs_assets/prune \
		--cov=xpcs_assets/copies --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100 \
		$(addprefix xpcs_assets_tests/,unit/prune unit/copies unit/audit unit/catalog/test_delivery.py faults \
		definitions/test_definitions.py)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pictures: $(VENV)/dev.stamp system
	$(BIN)/python docs/pictures.py

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; \
	else echo "$(PYTHON) has no venv: apt-get install python3-venv" >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)

# The locks hold every package with its hashes, so nothing is resolved here.
$(VENV)/run.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/run.stamp

# Debian packages for some tests. Without them those tests skip and say which package they miss. RUNLEVEL=1: no service of
# theirs is started, the tests start their own.
system:
	@missing=""; for p in $(DEBIAN); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$missing"; \
		{ apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; } >/dev/null \
		|| echo "could not install$$missing; the tests that need them are skipped" >&2; \
	else echo "not root: the tests that need$$missing are skipped" >&2; fi

# Needs uv. No address of an index is written into the locks.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock pyproject.toml requirements-build.in
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev -c requirements.lock \
		-o requirements-dev.lock pyproject.toml requirements-build.in
