# make demo | test | lint | bench | bench-search — each sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: setup demo test lint format bench bench-search clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,demo,test,dev]'
	@touch $@

demo: setup
	$(BIN)/python -m jobs.quickstart

# Those on a real Ray run one after the other, since each of them takes the whole machine.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --ignore tests/ray
	$(BIN)/python -m pytest tests/ray

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.encode

bench-search: setup
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.search --index --rows 1000000

clean:
	rm -rf $(VENV) quickstart .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
