# Two commands do all set-up on a fresh Debian machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Debian packs it apart, and what venv has written by then lacks pip
NO_VENV = { echo "python's venv is missing: apt-get install -y python3-venv, then again" >&2; exit 1; }

.PHONY: demo test test-robosuite check format gl clean
demo: $(STAMP) gl
	$(BIN)/viper-gym demo

# a process a core, each with one thread: networks of the tests' size gain nothing from two
test: $(STAMP) gl
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# robosuite's mujoco and numpy are older than the other suites can use
ROBOSUITE := .venv-robosuite
test-robosuite: $(ROBOSUITE)/.installed gl
	$(ROBOSUITE)/bin/python -m pytest tests/envs/test_robosuite.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layering.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# what is pinned has wheels for these
FITS = $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))'
NO_PYTHON = { echo "Python 3.11 or 3.12 is needed, $(PYTHON) is another: make PYTHON=python3.12 …" >&2; exit 1; }

# torch comes first and pinned: a loose requirement would bring several GB of CUDA libraries
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(FITS) || $(NO_PYTHON)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || $(NO_VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(ROBOSUITE)/.installed: pyproject.toml constraints-robosuite.txt
	test -x $(ROBOSUITE)/bin/pip || $(FITS) || $(NO_PYTHON)
	test -x $(ROBOSUITE)/bin/pip || $(PYTHON) -m venv $(ROBOSUITE) || $(NO_VENV)
	$(ROBOSUITE)/bin/pip install --quiet --disable-pip-version-check -c constraints-robosuite.txt torch
	$(ROBOSUITE)/bin/pip install --quiet --disable-pip-version-check -c constraints-robosuite.txt \
		-e '.[robosuite,sb3]' pytest pytest-timeout
	touch $@

gl:
	@sh tools/install_gl.sh

clean:
	rm -rf $(VENV) $(ROBOSUITE) build dist .pytest_cache .mypy_cache .ruff_cache
