# `make demo` and `make test` need nothing but Python 3.10-3.13 on the machine.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

# Images of containers often set it. Every process of the tests would compile all sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-fast lint type arch check check-cpp gallery format clean

PACKAGE = $(VENV)/.package
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

setup: $(INSTALLED)

# What a user needs.
$(PACKAGE): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[demo]"
	@touch $@

# And a developer.
$(INSTALLED): $(PACKAGE)
	$(INSTALL) -e ".[dev]"
	@touch $@

demo: $(PACKAGE)
	$(BIN)/ssh-tf demo --out demo

# Two processes: one file of tests is one process' work.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without the tests marked as slow: under 90 s on 2 cores.
test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup
	$(BIN)/mypy

arch: setup
	$(BIN)/lint-imports

# The documentation's site, build/site: warnings are errors, every link and anchor is checked.
docs: setup
	$(BIN)/python -m docs.tools.build

# Compiles export/cpp against the installed TensorFlow and runs an export through LoadSavedModel.
check-cpp: setup
	$(BIN)/python -m pytest tests/export/test_savedmodel.py -k c_plus_plus

check: lint type arch docs test

# The pictures of docs/gallery/.
gallery: setup
	$(BIN)/python docs/gallery/make.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
