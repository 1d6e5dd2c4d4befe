# make test: everything that CI checks. make demo: train CartPole from its sentence and show that it worked.
# Both set themselves up; nothing needs to be installed first but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# Each worker begins with a half of the files, so that what a file prepares is prepared once, and then takes the other's.
PYTEST := python -m pytest -n $(WORKERS) --dist worksteal

# Small pictures and small networks: more threads than one per process only get in each other's way.
export OMP_NUM_THREADS := 1
export LP_NUM_THREADS := 1

.PHONY: test lint types fast demo bench bench-accelerator embedded-model embedded-gymnasium results zoo gl clean

test: lint types gl
	$(BIN)/$(PYTEST) --durations=30

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

fast: gl
	$(BIN)/$(PYTEST) -m "not slow"

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

# The second embedded model: what the tasks of Gymnasium's own worlds say. The pendulum that lies looks like the one that
# stands. What came out: docs/worlds.md.
WORLDS := ant|cheetah|double-pendulum|hopper|inverted-pendulum|pendulum|pusher|reacher|swimmer|walker
GYMNASIUM = $(filter-out tasks/pendulum-left.yaml tasks/pendulum-right.yaml,\
    $(sort $(shell grep -lE "^include: _($(WORLDS))" tasks/*.yaml)))
embedded-gymnasium: gl
	rm -rf build/gymnasium
	$(BIN)/vlmrm teach $(GYMNASIUM) --minutes 16 --rounds 1 --workers 2 --seed 0 --output build/gymnasium
	cd build/gymnasium && cp *.safetensors *.txt *.gz open_clip_config.json $(CURDIR)/gym_vlmrm/reward/embedded_gymnasium/

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
