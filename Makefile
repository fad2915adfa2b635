# Start with `make pipeline` or `make test`. Both install the environment first if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

DATASET ?= auto
DATA_DIR ?=
PRESET ?= mlp
RUN ?= runs/$(notdir $(patsubst %/,%,$(DATASET)))-$(PRESET)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup gpu export-extra s3-extra pipeline test lint types unit slow cluster prism bench-prepare bench-train bench-embed bench-compress bench-scale lock clean

help: ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'variables:          DATASET=$(DATASET) DATA_DIR=$(DATA_DIR) PRESET=$(PRESET) RUN=$(RUN) ARGS=$(ARGS) PYTHON=$(PYTHON)'
	@echo 'presets:            $(basename $(notdir $(wildcard trainer/presets/*.yaml)))'

gpu: $(READY) ## install TensorFlow with its CUDA packages, for GPUs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-gpu.lock

export-extra: $(READY) ## install the packages that `export` writes ONNX and LiteRT files with
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-export.lock

s3-extra: $(READY) ## install the packages for paths that begin with s3://, and the S3 server of the tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-s3.lock

setup: $(READY) ## install the exact versions of requirements.lock in .venv

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo 'error: $(PYTHON) is not Python 3.11 to 3.13; choose another, for example: make PYTHON=python3.12 …'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

pipeline: $(READY) ## prepare, train and evaluate: DATASET with PRESET, into the directory RUN
	$(BIN)/python -m pipeline run --run '$(RUN)' --dataset '$(DATASET)' --preset '$(PRESET)' \
	  $(if $(DATA_DIR),--data_dir '$(DATA_DIR)') $(ARGS)

test: lint types unit ## run lint, type checks and tests

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest -m 'not slow and not cluster' -n 2 --dist loadfile

slow: s3-extra prism ## run the long tests: killed stages, an engine, an S3 server; and Fashion-MNIST if TFDS_DATA_DIR has it
	$(BIN)/python -m pytest -m 'slow or cluster'

cluster: $(READY) prism ## test on an engine: Prism, or that of JOB_ENDPOINT=, ENVIRONMENT= and ARTIFACTS=
	$(BIN)/python -m pytest -m cluster

# Without Go, the tests look for a program named prism, or for the one that PRISM names.
prism: $(READY)
	-@test -n '$(JOB_ENDPOINT)$(PRISM)' || ! command -v go > /dev/null || go install \
	  github.com/apache/beam/sdks/v2/go/cmd/prism@v$$($(BIN)/python -c \
	  'import importlib.metadata as metadata; print(metadata.version("apache-beam"))')

bench-prepare: $(READY) ## compare the prepare stage and its parts with peers (more than ten minutes)
	$(BIN)/python -m benchmarks.prepare

bench-train: $(READY) ## measure every preset, and compare the trainer with its peers (about 40 minutes)
	$(BIN)/python -m benchmarks.train

bench-embed: $(READY) ## compare the embed stage with its peers (about five minutes)
	$(BIN)/python -m benchmarks.embed

bench-compress: $(READY) ## compare compression with image formats: make bench-compress MODEL=DIR EXAMPLES=DIR
	$(BIN)/python -m benchmarks.compress --model '$(MODEL)' --examples '$(EXAMPLES)'

bench-scale: $(READY) ## measure what the driver of prepare does for very many images (about ten minutes)
	$(BIN)/python -m benchmarks.scale

lock: $(READY) ## update the lock files from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --no-header --no-annotate pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --extra gpu \
	  --no-header --no-annotate pyproject.toml --output-file requirements-gpu.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --extra export \
	  --no-header --no-annotate pyproject.toml --output-file requirements-export.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --extra s3 --extra s3-server --constraints requirements.lock \
	  --no-header --no-annotate pyproject.toml --output-file requirements-s3.lock

clean: ## remove the environment and the caches of the tools, not runs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
