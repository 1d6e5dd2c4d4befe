# make test: everything that CI checks. make demo: train CartPole from its sentence and show that it worked.
# Both set themselves up; nothing needs to be installed first but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

# Small pictures and small networks: more threads than one per process only get in each other's way.
export OMP_NUM_THREADS := 1
export LP_NUM_THREADS := 1

.PHONY: test lint types fast demo bench bench-accelerator embedded-model results zoo gl clean

test: lint types gl
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

fast: gl
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

demo: gl
	rm -rf runs/demo
	$(BIN)/vlmrm train cartpole --output runs/demo
	$(BIN)/vlmrm eval runs/demo

# The tables of benchmarks/README.md; run it on a machine that does nothing else.
bench: gl
	$(BIN)/python benchmarks/throughput.py all --json runs/bench

# One NVIDIA GPU, at most eight minutes: renderers, image towers, loops; a table, and runs/bench/accelerator.json.
bench-accelerator: gl
	$(BIN)/python benchmarks/accelerator.py runs/bench/accelerator.json

# An interrupted run goes on where it stopped. How long it took: docs/embedded-model.md.
embedded-model: gl
	$(BIN)/python -m embedded_model make

# Hours; what is there is not made again. A part of it: make results OPTIONS="--tasks kneeling --seeds 0".
results: gl
	$(BIN)/python docs/make_results.py $(OPTIONS)

# Policies that ship, from the runs of `make results`.
zoo: gl
	$(BIN)/python docs/make_zoo.py runs/results

gl: .venv/.ready
	.ci/install-gl $(BIN)/python

# Written last, so that an interrupted installation is done again.
.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
