# make demo   trains real runs and writes executed notebooks and figures to demo/
# make test   the tests that a contributor needs, the notebooks included: about a quarter of an hour on two cores
# make test-slow  the other tests: Docker images, the demo at full size, runs with separate imports,
#             statistics, faults, load
# make check  formatting, lint, types, layers, known vulnerabilities
# make docs   builds the documentation site in build/docs, without network
# make lab    JupyterLab on notebooks/
# make down   stops the demo's S3 server; its data are preserved
# make images builds the worker's and the notebook's Docker images
# Each target installs its requirements once.

PYTHON ?= python3
ENV_CACHE ?=
HASH := $(shell cat requirements.lock pyproject.toml | $(PYTHON) -c "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read() + sys.version.encode()).hexdigest()[:16])")
VENV := $(if $(ENV_CACHE),$(ENV_CACHE)/$(HASH),.venv)
BIN := $(VENV)/bin
export RVLAB_STORE ?= embedded:$(CURDIR)/demo/s3
export RVLAB_HOME ?= $(CURDIR)/demo/home

.PHONY: help env demo test test-slow check docs lab down images pictures lock clean
help:
	@sed -n '/^$$/q; s/^# //p' Makefile

env:
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'rvlab needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ...')"
	@if [ "$$(cat $(VENV)/.hash 2>/dev/null)" != "$(HASH)" ]; then \
	  echo "Installing into $(VENV): a few minutes, mostly torch and Raster Vision."; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) \
	  && $(BIN)/python -m pip install --quiet -c requirements.lock "hatchling>=1.21" "editables>=0.5" \
	  && $(BIN)/python -m pip install --quiet -c requirements.lock -e ".[train,local,kubeflow,docs,dev]" \
	  && echo "$(CURDIR)" > $(VENV)/.checkout && echo "$(HASH)" > $(VENV)/.hash; \
	elif [ "$$(cat $(VENV)/.checkout)" != "$(CURDIR)" ]; then \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . \
	  && echo "$(CURDIR)" > $(VENV)/.checkout; \
	fi

demo: env
	@$(BIN)/python notebooks/run.py

# tests/conftest.py chooses the number of parallel processes; ARGS="-n 0" runs all tests in one.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

test: export RVLAB_STORE :=
test: env
	@$(PYTEST) -m "not extended" $(ARGS)

test-slow: export RVLAB_STORE :=
test-slow: env
	@$(PYTEST) -m extended $(ARGS)

check: env
	@PATH="$(BIN):$$PATH" $(BIN)/python -m ruff format --check .
	@PATH="$(BIN):$$PATH" $(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/lint_prose.py
	@$(BIN)/python .ci/audit.py

docs: env
	@$(BIN)/python -m sphinx -q -W --keep-going -c docs/site . build/docs
	@echo "build/docs/index.html"

lab: env
	@$(BIN)/python -m jupyterlab --notebook-dir=notebooks --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root)

down:
	@$(BIN)/rvlab down

images:
	@docker/build.sh $(ARGS)

# Images of the README and the gallery are outputs of the demo.
pictures: env
	@for picture in docs/images/*.png; do cp demo/figures/$$(basename $$picture) docs/images/; done
	@$(BIN)/python docs/gallery

lock: env
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean:
	-@$(MAKE) --no-print-directory down 2>/dev/null
	rm -rf .venv demo
