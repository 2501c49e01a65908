"""Sweeps that Ray trains, on this machine: the same code as on a cluster."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import variants
from bench.cli.main import main
from bench.config.options import RunConfig
from bench.config.presets import resolve
from bench.errors import BenchError
from bench.executors import ray as on_ray
from bench.executors import timing
from bench.executors.base import make_tasks
from bench.executors.task import versions
from bench.runner.context import Run, RunSpec, SweepContext
from bench.runner.executor import Resources, make_jobs
from bench.system.signals import StopRequest, TrainingInterrupted
from tests.support.forked import ROOT, Command
from tests.support.sweeps import FAST, Halt, records, rows, states

pytest.importorskip("ray", reason="needs the extra ray")


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return here


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ray on this machine, as a sweep starts it, with two cores and a resource ``bench-box``."""
    ray = on_ray.require_ray()
    init = ray.init
    resources = {"bench-box": 1, "accelerator_type:X1": 1}
    with pytest.MonkeyPatch.context() as patch:
        # What its workers have while it lasts.
        patch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path_factory.mktemp("ray-cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(
            ray, "init", lambda **told: init(**{**told, "num_cpus": 2, "resources": resources})
        )
        before = signal.getsignal(signal.SIGTERM)
        on_ray.connect(None)
        assert signal.getsignal(signal.SIGTERM) is before
    yield ray
    ray.shutdown()


def _workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "ray::_carry_out" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.slow
def test_a_sweep_that_is_killed_and_stopped_ends_as_one_of_this_process(
    photos, tiny_plugin, here, machine, capsys
) -> None:
    line = f"run --variants Tiny_CA,Tiny --data-dir {photos} {FAST}"
    alone = f"{line} --plugin {tiny_plugin} --results-dir alone/results"
    assert main(alone.split()) == 0
    halt, address = Halt(tiny_plugin), machine.get_runtime_context().gcs_address
    line += f" --plugin {halt.plugin} --executor ray --address {address} --devices 2"
    with Command(line.split(), here) as sweep:
        sweep.wait_for(lambda: len(states(here)) == 2)
        sweep.wait_for(_workers)[0].kill()
        sweep.wait_for(lambda: any(one["resumed"] for one in records(here).values()))
        sweep.send_signal(signal.SIGINT)
        code, _, err = sweep.end()
    assert code == 130, err
    assert "stopped by SIGINT: what is finished is kept; go on with: " in err
    assert {one["status"] for one in records(here).values()} == {"running"}
    halt.let_go()
    capsys.readouterr()
    again = f"run --resume --plugin {tiny_plugin} --gather file://{here}/gathered"
    assert main(again.split()) == 0
    said = capsys.readouterr()
    assert "2 runs, 0 failed" in said.out
    assert "Tiny_CA  epoch 3/3" in said.err
    assert "[2/2]" in said.err
    several = records(here)
    assert len(several) == 2
    for name, other in records(here / "alone").items():
        one = several[name]
        assert one["status"] == "complete"
        assert "trained anew" not in " ".join(one["warnings"])
        assert rows(one) == rows(other)
        assert one["validation"] == other["validation"]
        assert one["config"]["results_dir"] == "results"
        assert one["training"]["beside"] == 1
    assert sorted(len(one["resumed"]) for one in several.values()) == [1, 2]
    assert {path.parent.name for path in here.glob("gathered/*/run.json")} == {
        path.parent.name for path in here.glob("results/*/run.json")
    }
    assert not list(here.glob("results/.shared-*"))


TIMED = FAST.replace("--no-timing", "--rounds 1 --clocks model --modes eager")


@pytest.mark.slow
@pytest.mark.ci
def test_what_a_machine_of_that_class_times_is_in_the_records(
    photos, tiny_plugin, here, machine, capsys
) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {TIMED} --seeds 2"
    assert main(f"{line} --epochs 1 --executor ray --timing-on bench-box".split()) == 0
    said = "".join(capsys.readouterr())
    assert "timing    on bench-box of the cluster, when all is trained" in said
    # It began when the last training had ended.
    assert said.index("[2/2]") < said.index("timing: ") < said.index("timing round 1/1 done")
    found = [json.loads(path.read_text()) for path in here.glob("results/*/run.json")]
    assert len(found) == 2
    (session,) = {one["session"]["id"] for one in found}
    for one in found:
        assert one["status"] == "complete"
        assert {entry["device"] for entry in one["timing"]} == {"cpu"}
        assert one["metrics"]["fps"] > 0
        assert {entry["threads"] for entry in one["timing"]} == {1}
    assert (here / "results" / f"session-{session}.json").exists()


def test_a_class_that_cannot_time_is_refused_before_training(
    photos, tiny_plugin, here, machine, capsys
) -> None:
    node = {on_ray._node_of(machine, name)["NodeID"] for name in ("bench-box", "X1")}
    assert node == {machine.get_runtime_context().get_node_id()}
    for name in ("x1", "accelerator_type:X2", "node"):
        with pytest.raises(BenchError, match="no machine of the cluster has that accelerator"):
            on_ray._node_of(machine, name)
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {TIMED}"
    err = refused(f"{line} --executor ray --timing-on H100", capsys)
    assert "--timing-on H100: no machine of the cluster has that accelerator or resource" in err
    assert "(there are: X1, bench-box)" in err
    err = refused(f"{line} --timing-on H100", capsys)
    assert "--timing-on is of a Ray cluster: it needs --executor to be ray" in err
    if importlib.util.find_spec("openvino") is None:
        more = "--executor ray --timing-on bench-box --modes eager,openvino"
        err = refused(f"{line} {more}", capsys)
        assert err.startswith("error: worker ")
        assert "openvino" in err
    assert not list(here.glob("results/*/run.json"))


# --- what is asked wrongly -------------------------------------------------------------------


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.fixture
def not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before this process has joined a cluster."""
    monkeypatch.setattr(on_ray.require_ray(), "is_initialized", lambda: False)


def test_a_cluster_that_does_not_answer_is_named(photos, here, not_joined, capsys) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        for text in (address, f"ray://{address}"):
            err = refused(f"run --executor ray --address {text} --data-dir {photos} {FAST}", capsys)
            assert f"--address {text}: no Ray cluster answers within 10 s" in err


@pytest.mark.parametrize("text", ["nowhere", "host:port", "http//x"])
def test_an_address_that_is_none(photos, here, not_joined, capsys, text: str) -> None:
    err = refused(f"run --executor ray --address {text} --data-dir {photos} {FAST}", capsys)
    assert f"--address {text} is no address: give host:6379, ray://host:10001 or auto" in err


def test_an_address_needs_the_executor(photos, here, capsys) -> None:
    err = refused(f"run --address auto --data-dir {photos} {FAST}", capsys)
    assert "needs" in err
    assert "--executor" in err or "executor" in err


def test_a_missing_package_is_named_with_its_extra(photos, here, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    err = refused(f"run --executor ray --data-dir {photos} {FAST}", capsys)
    assert "pip install 'paddy-bench[ray]'" in err


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "file:///proc/nowhere/x"])
def test_a_folder_that_cannot_be_written_to(photos, here, capsys, url: str) -> None:
    err = refused(f"run --gather {url} --data-dir {photos} {FAST}", capsys)
    assert f"--gather {url}" in err


class Cluster:
    """Stands for Ray: so many GPUs and cores."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {}}]


@pytest.fixture
def cluster(monkeypatch) -> Any:
    def of(**resources: float) -> None:
        monkeypatch.setattr(on_ray, "connect", lambda address: Cluster(**resources))
        monkeypatch.setattr(on_ray, "_probe", lambda ray: None)

    return of


class Timer:
    """Stands for Ray with a machine of four cores and two GPUs; remembers what it was asked for."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cancelled: list[Any] = []

    def nodes(self) -> list[dict[str, Any]]:
        resources = {"CPU": 4.0, "GPU": 2.0, "accelerator_type:X1": 1.0}
        return [{"Alive": True, "NodeID": "ab" * 28, "Resources": resources}]

    def remote(self, what: Any) -> Any:
        def options(**told: Any) -> Any:
            self.asked.append(told)
            lines = SimpleNamespace(remote=list)
            return SimpleNamespace(remote=lambda *_: SimpleNamespace(lines=lines))

        return SimpleNamespace(options=options)

    def wait(self, handles: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return handles, []

    def get(self, handle: Any) -> Any:
        return handle

    def cancel(self, handle: Any, force: bool) -> None:
        self.cancelled.append(handle)


def test_a_session_is_given_the_whole_machine(monkeypatch) -> None:
    ray = Timer()
    monkeypatch.setattr(on_ray, "connect", lambda address: ray)
    config = RunConfig(executor="ray", timing_on="X1")
    request = SimpleNamespace(config=config)
    on_ray.time_on(request, stopper=StopRequest())
    board, session = ray.asked
    assert board == {"num_cpus": 0}
    assert (session["num_cpus"], session["num_gpus"]) == (4.0, 2.0)
    assert session["scheduling_strategy"].node_id == "ab" * 28
    assert not session["scheduling_strategy"].soft
    assert not ray.cancelled
    # Who stops, or fails, does not keep the machine.
    monkeypatch.setattr(ray, "wait", lambda *_, **__: ([], []))
    stopper = StopRequest()
    stopper.note(signal.SIGTERM, None)
    with pytest.raises(TrainingInterrupted):
        on_ray.time_on(request, stopper=stopper)
    assert len(ray.cancelled) == 1

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("the node died")

    monkeypatch.setattr(ray, "wait", gone)
    with pytest.raises(BenchError, match="--timing-on X1: the node died"):
        on_ray.time_on(request, stopper=StopRequest())
    assert len(ray.cancelled) == 2


def resources_of(devices: list[str]) -> Resources:
    images: Any = None
    return Resources(
        devices=devices, plugins=[], threads=1, features=Path("features"), features_limit=8.0,
        images=images, stopper=StopRequest(),
    )  # fmt: skip


@pytest.mark.parametrize("devices", [["cpu"], ["cuda"] * 4])
def test_tasks_share_the_limit_of_features(here, devices: list[str]) -> None:
    sweep = SweepContext(
        id="s1", command="", resolved=resolve({}, environ={}), device=torch.device("cpu")
    )
    spec = RunSpec(sweep=sweep, run=Run(0, None, None), key="ResNet18")  # type: ignore[arg-type]
    resources = resources_of(devices)
    (task,) = make_tasks(
        make_jobs([spec], frozen=True), resources, token="t", threads=2, concurrent_runs=3
    )
    assert task.features_limit == 8.0 / len(devices)
    assert (task.device, task.threads, task.sweep.concurrent_runs) == (devices[0], 2, 3)


def test_a_training_has_its_share_of_a_machine(photos, here, monkeypatch) -> None:
    """Eight cores on two machines, and as many trainings as are asked for."""
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}] * 2
    monkeypatch.setattr(on_ray, "connect", lambda address: SimpleNamespace(nodes=lambda: nodes))
    monkeypatch.setattr(on_ray, "RayPool", lambda ray, **share: share)
    asked: list[dict[str, Any]] = []

    def note(crew: Any, jobs: Any, resources: Any, **told: Any) -> Iterator[Any]:
        asked.append(told)
        return iter([crew])

    monkeypatch.setattr(on_ray, "train_tasks", note)

    def share(trainings: int, devices: list[str], **options: Any) -> tuple[dict[str, Any], int]:
        config = RunConfig(executor="ray", results_dir=here, **options)
        sweep = SimpleNamespace(config=config, id="s1")
        jobs: Any = [SimpleNamespace(planned=[SimpleNamespace(sweep=sweep)])] * trainings
        (crew,) = on_ray.RayExecutor().train(jobs, resources_of(devices))  # type: ignore[misc]
        assert asked[-1]["threads"] == crew["cores"]
        return crew, asked[-1]["concurrent_runs"]

    assert share(9, ["cpu"] * 4) == ({"cores": 2, "gpus": 0}, 1)
    assert share(9, ["cuda"] * 2) == ({"cores": 4, "gpus": 1}, 0)
    assert share(1, ["cpu"] * 4) == ({"cores": 4, "gpus": 0}, 0)
    assert share(9, ["cpu"] * 8, threads=3) == ({"cores": 3, "gpus": 0}, 3)
    assert share(9, ["cpu"], threads=16)[0]["cores"] == 4


def test_devices_are_those_of_the_cluster(cluster) -> None:
    cluster(GPU=2.0, CPU=8.0)
    assert on_ray.find_devices(None, None, "auto") == ["cuda"] * 2
    assert on_ray.find_devices(None, 1, "cuda") == ["cuda"]
    assert on_ray.find_devices(None, 3, "cpu") == ["cpu"] * 3
    with pytest.raises(BenchError, match="--devices 8: the cluster has 2 GPUs: give 2 or fewer"):
        on_ray.find_devices(None, 8, "auto")
    cluster(CPU=4.0)
    assert on_ray.find_devices(None, None, "auto") == ["cpu"]
    with pytest.raises(BenchError, match="--device cuda: the cluster has no GPU"):
        on_ray.find_devices(None, None, "cuda")
    with pytest.raises(BenchError, match="--devices 9: the cluster has 4 cores"):
        on_ray.find_devices(None, 9, "auto")


def test_a_worker_of_another_version_is_named() -> None:
    from bench.executors.task import check_versions

    check_versions(versions())
    with pytest.raises(BenchError, match=r"worker node-7 has other versions .*torch \S+ \(2\.0\)"):
        check_versions({**versions(), "torch": "2.0"}, "node-7")


def test_another_machine_is_asked_to_time_the_very_version(monkeypatch) -> None:
    asked: list[timing.Request] = []
    monkeypatch.setattr(on_ray, "time_on", lambda request, **_: asked.append(request))
    old = variants.get("EfficientNetV2_S_BoTLinear@1")
    on_ray.RayExecutor().time([old], RunConfig(), 3, plugins=[], images=[], stopper=StopRequest())
    assert asked[0].keys == ("EfficientNetV2_S_BoTLinear@1",)
