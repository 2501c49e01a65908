PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: smoke test lint format benchmark calibration speed faults

# Set up and run the main job on the built-in data: every variant, then the report.
smoke: $(VENV)/.installed
	$(BIN)/python -m bench run --variants all --preset smoke
	$(BIN)/python -m bench report

# Set up and run the tests.
test: $(VENV)/.tested
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.tested
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

$(VENV)/.installed $(VENV)/.tested $(VENV)/.developed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable \
		'.$(if $(findstring .tested,$@),[test])$(if $(findstring .developed,$@),[dev])'
	touch $@
