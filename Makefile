# `make demo` and `make test` need Python 3.11 or newer and nothing else; both set up `.venv` first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types clean

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -e . --group dev
	touch $@

demo: .venv/.installed
	$(BIN)/python -m dgt_rag tasks/rag/static/city_services.yaml tasks/rag/live/city_services.yaml --output-dir output/demo --restart

test: .venv/.installed
	$(BIN)/python -m pytest

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

clean:
	rm -rf .venv output/demo build dist
