# make demo | chain | test | test-slow | lint | bench | bench-search — each sets up .venv first, once.
# make chain CRANFIELD=FOLDER — a re-ranker of one's own, from mining to measuring, on a collection in BEIR's layout.
# make docs — makes the tables of jobs and flags in README and docs anew; make docs-test runs every command that stands there.
# make peer-evaluators — records again what the evaluators of an older peer give, in an environment of its own.
# make peer-export — the peer opens our exports for OpenVINO and we open its; another environment of its own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CRANFIELD ?= ../shared/data/cranfield
PEER := .peers/sentence-transformers-3.4.1
PEER_OPENVINO := .peers/sentence-transformers-6.2.0-openvino
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: setup demo chain test test-slow soak lint format bench bench-search peer-evaluators peer-export docs docs-test clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,test,dev,train,export]'
	@touch $@

demo: setup
	$(BIN)/python -m jobs.quickstart

chain: setup
	$(BIN)/python -m benchmarks.chain --data $(CRANFIELD) --output chain

# Those on a real Ray two at a time: much of their time is waiting for processes to start.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --ignore tests/ray
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/ray

test-slow: setup
	$(BIN)/python -m pytest -m slow

soak: setup
	STORMS=10 $(BIN)/python -m pytest -m slow -s tests/ray/test_storm.py

docs: setup
	$(BIN)/python -m docs.generate

docs-test: setup
	$(BIN)/python -m pytest -m slow tests/docs

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
	$(BIN)/python -m benchmarks.refresh

peer-evaluators: $(PEER)/.ready
	$(PEER)/bin/python -m tests.parity.record_evaluators

$(PEER)/.ready:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 sentence-transformers==3.4.1 transformers==4.48.3 'datasets<4'
	@touch $@

peer-export: setup $(PEER_OPENVINO)/.ready
	$(BIN)/python -m pytest tests/parity/test_export.py

# Its optimum-intel wants an older transformers than st-ray's. torchvision, where it came along, breaks the import.
$(PEER_OPENVINO)/.ready:
	$(PYTHON) -m venv $(PEER_OPENVINO)
	$(PEER_OPENVINO)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 'sentence-transformers[openvino]==6.2.0' datasets
	$(PEER_OPENVINO)/bin/pip uninstall --quiet --yes torchvision
	@touch $@

clean:
	rm -rf $(VENV) .peers quickstart chain .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
