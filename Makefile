# Every target that runs something depends on `env`, so each of them works as the first command in a
# fresh clone. What is checked, and in which order, stands in packaging/check.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SILENT:
PYTHON := .venv/bin/python

# One part a folder below tests/ that holds long tests; each ends within ten minutes (a unit test
# sees to it that no long test is outside of them).
LONG_PARTS := crash settlement deb vm
# Whole systems are slow: each file of their tests is a part of its own.
DEB_PARTS := files life boot upgrade devices bmc
VM_PARTS := life boot disk upgrade devices

# make demo ARGS="--for 30s --json"
ARGS :=

.PHONY: help env deb beds machine demo check check-long $(LONG_PARTS:%=check-long-%) \
  $(DEB_PARTS:%=check-long-deb-%) $(VM_PARTS:%=check-long-vm-%) proto bench fmt lock clean

help: ## this list
	sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

env: ## everything the others need: Debian packages, .venv
	packaging/bootstrap

demo: env ## the whole way on this host: software TPM, two exchanges, real probes (ARGS="--for 30s --json")
	.venv/bin/hearth demo $(ARGS)

deb: env ## the Debian packages, in dist/
	packaging/bootstrap deb && packaging/make-deb

beds: env ## the Debian systems that long tests boot in containers
	packaging/bootstrap deb && for suite in bookworm trixie; do \
	  echo "== test bed: $$suite" && SUITE=$$suite tests/testbed/build tree || exit 1; done

machine: deb ## the virtual machine that long tests go on from
	packaging/bootstrap deb testbed && echo "== test bed: virtual machine" && \
	  tests/testbed/prepare dist/hearth-agent_*_amd64.deb

check: env ## what every commit must pass
	packaging/check

check-long: $(LONG_PARTS:%=check-long-%) ## the long tests, all parts

check-long-deb: $(DEB_PARTS:%=check-long-deb-%)

$(DEB_PARTS:%=check-long-deb-%): check-long-deb-%: deb beds
	echo "== long tests: deb, $*" && timeout --foreground 600 .venv/bin/pytest --long -m long tests/deb/test_$*.py

check-long-vm: $(VM_PARTS:%=check-long-vm-%)

$(VM_PARTS:%=check-long-vm-%): check-long-vm-%: machine
	echo "== long tests: vm, $*" && timeout --foreground 600 .venv/bin/pytest --long -m long tests/vm/test_$*.py

$(filter-out check-long-deb check-long-vm,$(LONG_PARTS:%=check-long-%)): check-long-%: env
	echo "== long tests: $*" && timeout --foreground 600 .venv/bin/pytest --long -m long tests/$*

proto: env ## generate the Python messages from proto/
	echo "== generating proto/gen/python" && rm -rf proto/gen/python && packaging/generate-proto

bench: env ## measure, write bench/results.json and docs/performance.md
	$(PYTHON) -m bench.run

fmt: env ## format and mend what can be mended
	.venv/bin/ruff check --fix-only --quiet . && .venv/bin/ruff format --quiet .

lock: env ## resolve the dependencies anew into packaging/requirements*.txt
	packaging/lock

clean: ## remove what the others made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
