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

# What takes long: every case of every fault, again and again, a million operations, ten minutes of
# chaos and of nonsense.
FAULTS := tests.test_pool tests.test_pool_size tests.test_worker_deaths tests.test_worker_faults \
    tests.test_close tests.test_close_workers tests.test_shutdown tests.test_retry_ambiguous \
    tests.test_retry_keyword tests.test_server_faults tests.test_server_down tests.test_chaos
test-slow: $(READY)
	SLOW_TESTS=1 $(BIN)/python -m tests.run --rounds 20 $(FAULTS)
	$(BIN)/python -m tests.run --rounds 3
	$(BIN)/python benchmarks/chaos.py --seconds 600 --seed 1
	$(BIN)/python benchmarks/order.py
	$(BIN)/python benchmarks/overload.py
	$(BIN)/python benchmarks/fuzz.py --seconds 600 --seed 1

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python examples/demo.py

bench: $(READY)
	$(BIN)/python benchmarks/kv.py
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/stopped.py
	$(BIN)/python benchmarks/jobs.py
	$(BIN)/python benchmarks/node.py
	$(BIN)/python benchmarks/node_rows.py

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist *.egg-info
