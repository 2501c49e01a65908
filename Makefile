PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2
COVERED = $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=95)
LOCK = uv pip compile pyproject.toml --constraint constraints.txt --universal --generate-hashes \
	--python-version 3.11 --no-annotate --no-header

.PHONY: install smoke test lint format docs benchmark calibration speed faults scale lock audit

# What the main job and the report need; in the same environment `make test` adds the rest.
install: $(VENV)/.smoke

# Set up and run the main job on the built-in data: every variant, then the report.
smoke: $(VENV)/.smoke
	$(BIN)/python -m bench run --variants all --preset smoke
	$(BIN)/python -m bench report

# Set up and run the tests, the files of WORKERS at once; COVERAGE=1 counts lines too.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(COVERED)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The page of every option, from their definition.
docs: $(VENV)/.dev
	$(BIN)/python -m bench.cli.reference > docs/reference.md

benchmark: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-autosave

# Measure the harness itself; needs a quiet machine and about two hours on two cores.
calibration: $(VENV)/.dev
	$(BIN)/python -m experiments.calibration

# Race the harness against timm's procedure and the step's limit; needs a quiet machine, four hours.
speed: $(VENV)/.dev
	$(BIN)/python -m experiments.speed

# Kill, starve and mislead the harness; about an hour. Filling a disk needs the right to mount one.
faults: $(VENV)/.dev
	$(BIN)/python -m experiments.faults

# Data in tar files, sweeps on Ray, ten thousand records; a quarter of an hour.
scale: $(VENV)/.dev
	$(BIN)/python -m experiments.scale

# Every file is checked against its hash; nothing else is downloaded.
$(VENV)/.smoke: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.smoke requirements-dev.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements-dev.lock
	touch $@

# After a change of pyproject.toml or constraints.txt; needs uv. Triton, which PyTorch brings, is
# 900 MB for torch.compile on a GPU alone.
lock:
	$(LOCK) --no-emit-package triton --output-file requirements.lock
	$(LOCK) --extra dev --output-file requirements-dev.lock
	sed -i "1i # What the main job and the report need, with the hashes of the files; made by: make lock" \
		requirements.lock
	sed -i "1i # What pyproject.toml's dev extra needs, with the hashes of the files; made by: make lock" \
		requirements-dev.lock

# Known vulnerabilities of what is locked; needs pip-audit and a network.
audit:
	pip-audit --requirement requirements-dev.lock --disable-pip
