# Everything runs from a bare clone with Python 3.11 or newer; the first call of any target makes .venv.
PYTHON ?= python3
EXTRAS := fit,export,serve,dev
BIN := .venv/bin
INSTALLED := .venv/.installed

# Waiting threads that spin make PyTorch many times slower on a shared machine.
export GOMP_SPINCOUNT ?= 10000

.PHONY: venv browser demo serve test soak check format clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt Makefile CMakeLists.txt $(wildcard engine/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); HiPer needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

# The page is tested in a real browser, which pip does not bring; without one its tests are skipped.
browser:
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null \
		|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium > /dev/null; } \
		|| echo "no Chromium here: install one to test the page of hiper-serve"

demo: $(INSTALLED)
	$(BIN)/python -m export.demo

serve: $(INSTALLED)
	$(BIN)/hiper-serve

test: $(INSTALLED) browser
	$(BIN)/python -m pytest

# What the server promises, at full length.
soak: $(INSTALLED)
	HIPER_SOAK_MINUTES=10 $(BIN)/python -m pytest tests/server/promises

check: $(INSTALLED) browser
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --ignore tests/test_architecture.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist demo
