# Every target works on a machine with Python 3.11+ and make; .venv is created as needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without bytecode kept every process of a test compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo docs test slow check browser pictures coverage mutants parity soak bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(READY)  ## write demo/: a synthetic genome, a store and scores
	$(BIN)/seal-store demo demo --overwrite

test: $(READY)  ## run the test suite
	$(BIN)/pytest -n auto --dist worksteal -m 'not slow and not parity and not soak and not browser'

slow: $(READY)  ## tests that make test leaves out: kills, clusters, servers, wheels (10 minutes)
	$(BIN)/pytest -n auto --dist worksteal -m 'slow and not parity and not soak'

check: $(READY)  ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## build the documentation, the tutorial executed (docs/_build/html)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/seal-store demo docs/demo --overwrite --quiet
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

browser: $(READY)  ## pages in a real browser (needs Debian's chromium; pictures in bench-out/screenshots)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/pytest -m browser

pictures: $(READY)  ## write the pictures of the README from the demo (needs Debian's chromium)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/seal-store demo docs/demo --overwrite --quiet
	$(BIN)/python docs/pictures.py

coverage: $(READY)  ## the test suite with coverage of lines and branches (bench-out/coverage.xml)
	@mkdir -p bench-out
	$(BIN)/pytest -n auto --dist worksteal -m 'not parity and not soak and not browser' --cov --cov-report=term-missing:skip-covered --cov-report=xml

# SAMPLE: mutants of each module, 0 for all of them; SEED: which
SAMPLE ?= 100
SEED ?= 1
mutants: $(READY)  ## break grid, the delta engine and alleles in places and see whether the tests notice (SAMPLE=100 of each, 0: all; SEED=1)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutation]'
	$(BIN)/python tests/mutants.py --sample $(SAMPLE) --seed $(SEED)

parity: $(READY)  ## full-size check against Seal's own numbers (needs ../shared/parity; minutes)
	$(BIN)/pytest -m parity -s

soak: $(READY)  ## kill, interrupt and fill the disk many times (minutes)
	$(BIN)/pytest -m soak

bench: $(READY)  ## measure building, scoring and training
	$(BIN)/python -m benchmarks.build
	$(BIN)/python -m benchmarks.score
	$(BIN)/python -m benchmarks.mixes
	$(BIN)/python -m benchmarks.attribution
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.buckets
	$(BIN)/python -m benchmarks.memory --tiny
	$(BIN)/python -m benchmarks.train
	$(BIN)/python -m benchmarks.explore
	$(BIN)/python -m benchmarks.atlas
	$(BIN)/python -m benchmarks.haplotypes

clean:  ## remove what make wrote
	rm -rf $(VENV) demo docs/demo docs/_build build *.egg-info .mypy_cache .ruff_cache .pytest_cache
