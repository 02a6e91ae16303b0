PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LOWEST := .venv-lowest
WHEEL := .venv-wheel

.PHONY: demo test coverage test-lowest lint format docs notebooks wheel clean

demo: .venv/ready
	$(BIN)/ckd demo

test: lint
	$(BIN)/python -m pytest

# lines and branches of ckd/ that the tests run, and what they miss; too few are an error
coverage: .venv/ready
	mkdir -p build/coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet
	$(BIN)/python tests/covered.py build/coverage/report.json

# the lowest versions that pyproject.toml promises, in an environment of their own: some GB, the first time
test-lowest: $(LOWEST)/ready
	$(LOWEST)/bin/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the site, in build/docs/index.html; a broken link or a public name without a docstring is an error
docs: .venv/docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs
	@echo "open build/docs/index.html"

# run both notebooks, each in a kernel of its own, and store what they print and draw
notebooks: .venv/docs
	$(BIN)/python docs/store_notebooks.py

# what is published, in dist/: built, looked into, installed in an environment of its own (some GB, the first time), tried there
wheel: $(WHEEL)/tools/ready $(WHEEL)/user/ready
	rm -rf dist
	$(WHEEL)/tools/bin/python -m build
	$(WHEEL)/tools/bin/python -m twine check --strict dist/*
	$(WHEEL)/user/bin/python -m pip install --quiet dist/*.whl
	$(WHEEL)/user/bin/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	$(WHEEL)/user/bin/python -m pip check
	$(WHEEL)/user/bin/python tests/wheel.py dist

$(WHEEL)/tools/ready: TOOLS := build twine
$(WHEEL)/user/ready: TOOLS := mypy
$(WHEEL)/%/ready:
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip $(TOOLS)
	touch $@

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(LOWEST)/ready: pyproject.toml tests/lowest.py
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv $(LOWEST) $(WHEEL) dist runs build/docs docs/recipes docs/reference
