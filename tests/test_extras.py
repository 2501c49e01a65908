"""What is not installed is one line with the command that mends it, before anything is computed."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs
import pytest

from bench.cli.main import main
from bench.config.options import RunConfig
from bench.data import parts
from bench.data.splitting import division
from bench.data.splitting.division import require_division
from bench.deploy import explain
from bench.runner import preflight
from bench.runner.executor import LocalExecutor
from bench.timing import backends
from tests.data.indexes import make_index


def without(monkeypatch: pytest.MonkeyPatch, module: object, package: str) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else name)


@pytest.mark.parametrize("command", ["run --image-size 32 --variants Tiny --plugin", "data"])
def test_folds_name_their_extra_before_images_are_compared(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch, capsys, command: str
) -> None:
    without(monkeypatch, division, "sklearn")
    monkeypatch.setattr(parts, "find_duplicates", lambda *_, **__: pytest.fail("compared"))
    plugin = f" {tiny_plugin}" if command.endswith("--plugin") else ""
    assert main(shlex.split(f"{command}{plugin} --data-dir {photos} --folds 3")) == 2
    assert capsys.readouterr().err == (
        "error: --folds needs the package scikit-learn: pip install 'paddy-bench[folds]'\n"
    )
    assert list(here.iterdir()) == []


def test_without_folds_or_with_hashed_ones_scikit_learn_is_not_needed(monkeypatch) -> None:
    without(monkeypatch, division, "sklearn")
    index = make_index({"a": 9, "b": 9})
    require_division(RunConfig(), index)
    require_division(RunConfig(folds=3), attrs.evolve(index, layout="shards"))


def test_grad_cam_names_its_extra(here: Path, monkeypatch, capsys) -> None:
    without(monkeypatch, explain, "captum")
    assert main(["explain", "Some_Run", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == (
        "error: explain needs the package captum: pip install 'paddy-bench[explain]'\n"
    )


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("run --tune auto --no-timing", "--tune auto"),
        ("run --modes eager,compiled", "--modes compiled"),
        ("time --clocks model --modes compiled", "--modes compiled"),
    ],
)
def test_compiling_on_a_gpu_names_the_triton_that_pytorch_wants(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch, capsys, line: str, flag: str
) -> None:
    without(monkeypatch, backends, "triton")
    monkeypatch.setattr(
        backends, "requires", lambda _: ["sympy>=1.13.3", 'triton~=9.1; platform_system == "Linux"']
    )
    monkeypatch.setattr(preflight, "_timed_on_a_gpu", lambda _: True)
    monkeypatch.setattr(LocalExecutor, "preflight", lambda *_: ["cuda:0"])
    monkeypatch.setattr(preflight, "probe", lambda _: None)
    data = f" --data-dir {photos}" if line.startswith("run") else ""
    options = f"--variants Tiny --plugin {tiny_plugin} --image-size 32{data}"
    assert main(shlex.split(f"{line} {options}")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {flag} compiles on a GPU with Triton: pip install 'triton~=9.1'"
    )
    assert list(here.iterdir()) == []


def test_compiling_on_a_cpu_needs_no_triton(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch
) -> None:
    without(monkeypatch, backends, "triton")
    monkeypatch.setattr(preflight, "measure_rates", lambda *_: {})
    preflight.require_modes(RunConfig(device="cpu", modes="compiled"))
    line = (
        f"check --variants Tiny --plugin {tiny_plugin} --data-dir {photos} --image-size 32 "
        "--batch-size 8 --device cpu --tune auto --no-timing"
    )
    assert main(shlex.split(line)) == 0
