"""What holds for the project as a whole: it packs, installs, and stays in its rooms."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bench

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_with_its_data_files_runs_outside_the_repository(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("bench", "variants"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels, target = tmp_path / "wheels", tmp_path / "site"
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = wheels.glob("paddy_bench-*.whl")
    install = ["install", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    code = "import bench, variants; print(bench.__file__, variants.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for command, expected in (
        (["-c", code], str(target / "bench" / "__init__.py")),
        (["-m", "bench", "list", "--presets"], "kaggle: Recommended on Kaggle"),
        (["-m", "bench", "list"], "EfficientNetV2_S_Hybrid"),
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (target / "bin" / "paddy-bench").exists()
    for name in ("report.html.j2", "report.css", "report.js"):
        assert (target / "bench" / "report" / "render" / "templates" / name).exists()


LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins_of(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().lower().splitlines()
    pairs = (line.split(" ")[0].split("==") for line in lines if line and line[0] not in "# ")
    return {package.replace("_", "-"): version for package, version in pairs}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_each_pin(lock: str) -> None:
    locked, pins = pins_of(lock), pins_of("constraints.txt")
    assert {name: pins.get(name) for name in locked} == locked
    # An extra that not everybody wants; in the tests' process it would break what they start.
    assert "openvino" in set(pins) - set(locked)
    text = (ROOT / lock).read_text()
    pinned = False
    for line in text.splitlines()[1:]:
        assert line.startswith("    --hash=sha256:") or (not pinned and line.endswith(" \\")), line
        pinned = not line.startswith("    ")
    assert "://" not in text


def test_the_lean_lock_is_the_part_of_the_other_that_training_and_reports_need() -> None:
    lean, whole = (pins_of(lock) for lock in LOCKS)
    assert lean.items() <= whole.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name_of(one) for one in project["dependencies"]} <= set(lean)
    absent = {"triton", "scikit-learn", "statsmodels", "captum", "ray", "mlflow", "pytest", "ruff"}
    assert absent <= set(whole) - set(lean)


def name_of(requirement: str) -> str:
    return requirement.partition(">")[0].partition("=")[0].partition("[")[0]


def test_constraints_pin_what_is_needed() -> None:
    pins = pins_of("constraints.txt")
    assert pins["torch"] == "2.14.1"
    assert pins["torchvision"] == "0.29.1"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = name_of(requirement)
        assert name == "paddy-bench" or name in pins, name


def test_version_and_licence_are_the_same_wherever_they_stand() -> None:
    """What is cited, what the changelog tells of and what records are written by."""
    cited = dict(re.findall(r"^([a-z-]+): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M))
    changes = (ROOT / "CHANGELOG.md").read_text("utf8")
    version, date = re.findall(r"^## (\S+) \((\S+)\)$", changes, re.M)[0]
    assert cited["version"] == version == bench.__version__
    assert cited["date-released"] == date
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["license"] == project["license"]


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed (extra: dev)")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_options_module_needs_no_torch() -> None:
    code = (
        "import sys, bench.config.options, bench.cli.main, bench.cli.run;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'pandas', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
