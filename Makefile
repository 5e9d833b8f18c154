# Every target sets up what it needs in .venv, on a machine that has only Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA ?= ../shared/data
RECIPES := trainer/facegpt_trainer/recipes
FLOOR := .venv-floor
NEWEST := .venv-newest
DOCS := .venv-docs
TORCH := torch==2.13.0
FLOOR_VERSIONS := transformers==5.17.0

# No model is trained, loaded from disk or wrapped in these.
FAST := $(addprefix tests/test_,camera.py rotations.py shading.py mesh.py losses.py photograph.py result_document.py \
	result_files.py recipe_reader.py configuration_facegpt.py face_fit.py face_detection.py rasterizer.py eight_bit_weights.py)

.PHONY: help demo test test-fast test-slow test-gpu test-faults test-floor test-newest test-common test-triton bench check docs train evaluate

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[fast]" scikit-image
	@touch $@

.venv/test-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[test]"
	@touch $@

demo: .venv/demo-installed ## reconstruct a sample photograph in 3D, into out/
	$(BIN)/python examples/demo.py

test: .venv/test-installed ## all fast tests
	$(BIN)/python -m pytest

test-fast: .venv/test-installed ## a part of them that takes less than two minutes
	$(BIN)/python -m pytest -q $(FAST)

test-slow: .venv/test-installed ## the tests that take longer than half a minute
	$(BIN)/python -m pytest -m slow --ignore tests/faults

test-faults: .venv/test-installed ## thousands of damaged files, killed runs, full disks: what must be refused, and nothing lost
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/faults

test-gpu: .venv/test-installed ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-floor: ## all fast tests with the oldest supported transformers, in a virtual environment of its own
	test -x $(FLOOR)/bin/python || $(PYTHON) -m venv $(FLOOR)
	grep -vE '^(transformers|huggingface_hub|tokenizers)==' constraints.txt > $(FLOOR)/constraints.txt
	$(FLOOR)/bin/pip install --quiet --disable-pip-version-check --constraint $(FLOOR)/constraints.txt \
		--editable ".[test]" $(FLOOR_VERSIONS)
	$(FLOOR)/bin/python -m pytest

test-newest: ## all fast tests with the newest of every dependency but torch, then what transformers' newest of all does
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		--editable ".[test]" $(TORCH)
	$(NEWEST)/bin/python -m pytest
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --upgrade transformers $(TORCH)
	$(NEWEST)/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E "^(transformers|huggingface|tokenizers)"
	-$(NEWEST)/bin/python -m pytest -q

test-common: .venv/test-installed ## transformers' own tests of models and processors, from its source release
	$(INSTALL) parameterized
	$(BIN)/python tests/fetch_common_suite.py
	$(BIN)/python -m pytest -o addopts= tests/common_suite.py

test-triton: .venv/test-installed ## the Triton kernels, in Triton's interpreter, with a copy of Triton that nothing else sees
	$(INSTALL) --no-deps --target .venv/triton triton==3.9.0
	PYTHONPATH=.venv/triton $(BIN)/python -m pytest tests/test_triton_rasterizer.py

bench: .venv/test-installed ## how fast each renderer draws; the README's table comes from tests.benchmarks.report
	$(BIN)/python -m pytest tests/benchmarks/suite.py --benchmark-only --benchmark-columns=median,min,rounds
	$(BIN)/python -m tests.benchmarks.report

check: .venv/test-installed ## style, types, who may import whom, structure of the model files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/mlinter --no-progress modeling_facegpt

docs: ## the documentation as web pages, into build/docs, from a virtual environment of its own
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check "mkdocs>=1.6,<2" "mkdocstrings[python]>=1.0,<2"
	$(DOCS)/bin/mkdocs build --strict

train: .venv/test-installed ## train facegpt-nano from nothing, by its recipes in order, into runs/
	$(BIN)/facegpt train --config $(RECIPES)/nano_renders.yaml
	$(BIN)/facegpt train --config $(RECIPES)/nano_photographs.yaml
	$(BIN)/facegpt train --config $(RECIPES)/nano_polish.yaml
	$(BIN)/facegpt train --config $(RECIPES)/nano_words.yaml
	$(BIN)/facegpt train --config $(RECIPES)/nano_chat.yaml

evaluate: .venv/test-installed ## print the figures that the README names (DATA: folder of the evaluation data)
	$(BIN)/facegpt evaluate morphable-model --data $(DATA)/morphable_models/ict_facekit/ict_facekit_light.npz
	$(BIN)/facegpt evaluate renders
	$(BIN)/facegpt evaluate renders --refine 40
	$(BIN)/facegpt evaluate groups
	$(BIN)/facegpt evaluate presence --data $(DATA)/faces
	$(BIN)/facegpt evaluate photographs --data $(DATA)/faces
	$(BIN)/facegpt evaluate photographs --data $(DATA)/faces --refine 40
	$(BIN)/facegpt evaluate photographs --data $(DATA)/faces --everything
