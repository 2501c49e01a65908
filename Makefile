PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: install smoke test lint format docs benchmark calibration speed faults scale lock audit

install: $(VENV)/.installed

# Set up and run the main job on the built-in data: every variant, then the report.
smoke: $(VENV)/.installed
	$(BIN)/python -m bench run --variants all --preset smoke
	$(BIN)/python -m bench report

# Set up and run the tests.
test: $(VENV)/.installed
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The page of every option, from their definition.
docs: $(VENV)/.installed
	$(BIN)/python -m bench.reference > docs/reference.md

benchmark: $(VENV)/.installed
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-autosave

# Measure the harness itself; needs a quiet machine and about two hours on two cores.
calibration: $(VENV)/.installed
	$(BIN)/python -m experiments.calibration

# Race the harness against timm's procedure and the step's limit; needs a quiet machine, four hours.
speed: $(VENV)/.installed
	$(BIN)/python -m experiments.speed

# Kill, starve and mislead the harness; about an hour. Filling a disk needs the right to mount one.
faults: $(VENV)/.installed
	$(BIN)/python -m experiments.faults

# Data in tar files, sweeps on Ray, ten thousand records; a quarter of an hour.
scale: $(VENV)/.installed
	$(BIN)/python -m experiments.scale

# Every file is checked against its hash; nothing else is downloaded.
$(VENV)/.installed: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# After a change of pyproject.toml or constraints.txt; needs uv.
lock:
	uv pip compile pyproject.toml --extra dev --constraint constraints.txt --universal \
		--generate-hashes --python-version 3.11 --no-annotate --no-header \
		--output-file requirements.lock
	sed -i "1i # What pyproject.toml's dev extra needs, with the hashes of the files; made by: make lock" \
		requirements.lock

# Known vulnerabilities of what is locked; needs pip-audit and a network.
audit:
	pip-audit --requirement requirements.lock --disable-pip
