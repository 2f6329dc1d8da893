# `make bench` and `make test` work on a fresh machine with Python 3.11+, venv, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

.PHONY: bench test test-slow lint speed docs clean

bench: $(VENV)/.installed
	$(BIN)/srl-bench run quick --jobs $(JOBS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

speed: $(VENV)/.installed
	@for file in benchmarks/speed_*.py; do $(BIN)/python $$file || exit 1; done

docs: $(VENV)/.docs docs/vendor
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

# What sets the equations, and what lets the search work without a server, from the npm registry.
docs/vendor:
	@command -v npm >/dev/null || { echo "npm is missing; on Debian or Ubuntu: apt install npm"; exit 1; }
	rm -rf build/npm && mkdir -p build/npm/katex build/npm/iframe-worker
	cd build/npm && npm pack --silent katex@0.19.1 iframe-worker@1.0.4
	tar -xzf build/npm/katex-0.19.1.tgz -C build/npm/katex --strip-components=2 package/dist
	tar -xzf build/npm/iframe-worker-1.0.4.tgz -C build/npm/iframe-worker --strip-components=1
	mkdir -p build/npm/vendor/katex/fonts
	cp build/npm/katex/katex.min.* build/npm/vendor/katex
	cp build/npm/katex/fonts/*.woff2 build/npm/vendor/katex/fonts
	cp build/npm/iframe-worker/shim/index.js build/npm/vendor/iframe-worker.js
	mv build/npm/vendor $@

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "srl_bench needs Python 3.11 or newer; run 'make PYTHON=/path/to/python3.11 ...'"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
		|| { echo "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt 'torch==2.13.0'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs data site docs/vendor
