# Every target makes the environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: test test-lowest test-slow lint demo bench clean

$(READY): pyproject.toml setup.py txcouchbase/_hook.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev,demo,testing]'
	touch $@

# Runs all tests, as many modules at once as there are processors; the last line is
# "N passed, N failed".
test: $(READY)
	$(BIN)/python -m tests.run

# Some of them with the lowest dependencies that are promised.
test-lowest: $(READY)
	$(PYTHON) -m venv --without-pip $(VENV)-lowest
	$(PYTHON) tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(BIN)/python -m pip --python $(VENV)-lowest/bin/python install --quiet --no-compile \
	    --constraint $(VENV)-lowest/constraints.txt --editable . 'hypothesis>=6.100'
	$(VENV)-lowest/bin/python -m tests.run tests.test_keyvalue tests.test_pool tests.test_lane

# What takes long: faults again and again, a million operations, ten minutes of nonsense.
test-slow: $(READY)
	for round in 1 2 3 4 5 6 7 8 9 10; do $(BIN)/python -m tests.run tests.test_pool || exit 1; done
	$(BIN)/python benchmarks/order.py
	$(BIN)/python benchmarks/fuzz.py --seconds 600 --seed 1

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python examples/demo.py

bench: $(READY)
	$(BIN)/python benchmarks/kv.py
	$(BIN)/python benchmarks/jobs.py
	$(BIN)/python benchmarks/node.py
	$(BIN)/python benchmarks/node_rows.py

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist *.egg-info
