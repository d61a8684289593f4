# The two commands: `make run` (set up and run the main job), `make test` (set up and pass every test).
VENV   := .venv
PYTHON := $(VENV)/bin/python
CONFIG ?= config/demo.yaml
PARTS  ?= 200
MINUTES ?= 60
# One campaign per folder: one that was broken off goes on there; name another folder to begin anew.
CAMPAIGN ?= var/campaign
# One circle per folder, likewise.
CIRCLE ?= runs/circle
GPU ?= var/gpu
WIRE ?= serial
CAMERA ?= simulated
# Files of tests are shared out among two processes; a file's tests stay together, as their fixtures do. Each process
# computes with one thread: two with two threads each, on two cores, wait for each other and take nearly twice as long.
# Mostly in the order of the tree (tests/conftest.py): by the number of their tests, the long files with few tests
# would come last, on one core.
TESTS  := OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: run test test-all check lint bench faults soak envelope loop loop-rivals gpu clean help

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.device  ## inspect 200 simulated servo-motor housings and end by itself
	$(VENV)/bin/station run --config $(CONFIG) --parts $(PARTS)

check: $(VENV)/.device  ## validate the demo's config and prove camera, engine, sorter and journal
	$(VENV)/bin/station check --config $(CONFIG)

bench: $(VENV)/.workshop  ## the throughput figures of docs/results.md, all paths side by side
	$(VENV)/bin/station bench

faults: $(VENV)/.workshop  ## the fault campaign: attack a whole plant in every way, and check what is left
	$(PYTHON) -m simulation.campaign faults --wire $(WIRE) --camera $(CAMERA) \
		--folder $(CAMPAIGN)-$(WIRE)-$(CAMERA) --page docs/results.md

soak: $(VENV)/.workshop  ## an hour at the usual pace: memory, threads, descriptors and files must stay flat
	$(PYTHON) -m simulation.campaign soak --minutes $(MINUTES) --page docs/results.md --chart docs/images/soak.svg

envelope: $(VENV)/.workshop  ## where the station is stable, where it degrades, where it fails
	$(PYTHON) -m simulation.campaign envelope --page docs/operating-envelope.md

loop: $(VENV)/.workshop  ## the whole circle, unattended: an unknown defect, and the engine that knows it
	$(PYTHON) -m retraining.circle run --out $(CIRCLE)

loop-rivals: $(VENV)/.workshop  ## the same circle without synthesis, with a GAN, and with parts drawn at random
	$(PYTHON) -m retraining.circle rivals --out $(CIRCLE)

gpu: $(VENV)/.workshop  ## what only a GPU can measure: pack what travels, run the rows, print the table
	test -f $(GPU)/package/pool.npz || $(PYTHON) -m retraining.gpu pack --package $(GPU)/package
	$(PYTHON) -m retraining.gpu run --package $(GPU)/package --state $(GPU)/state --work $(GPU)/work

test: $(VENV)/.workshop lint  ## every test but the slow ones, in two processes
	$(TESTS)

test-all: $(VENV)/.workshop lint  ## every test, the slow ones too
	$(TESTS) -m ''

lint: $(VENV)/.workshop  ## style, types and the direction of the arrows between the rooms
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# A device: no torch. A workshop: everything, for tests and training.
$(VENV)/.device: pyproject.toml deploy/system-packages.sh
	bash deploy/system-packages.sh
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --editable '.[openvino]'
	touch $@

$(VENV)/.workshop: $(VENV)/.device
	bash deploy/system-packages.sh tests
	$(PYTHON) -m pip install --quiet torch==2.13.0
	$(PYTHON) -m pip install --quiet --editable '.[openvino,train,dev]'
	npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/node || \
		echo "without npm and its packages, the tests with clients of Node.js are skipped"
	touch $@

clean:  ## remove what was set up and what runs left behind
	rm -rf $(VENV) var runs
