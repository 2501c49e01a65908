"""Sweeps that Ray trains, on this machine: the same code as on a cluster."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import variants
from bench import timing_stage
from bench.cli import main
from bench.config import RunConfig
from bench.errors import BenchError
from bench.executors import on_ray, timing, timing_on_ray
from bench.executors.task import versions
from bench.stopping import StoppedError, Stopper

pytest.importorskip("ray", reason="needs the extra ray")
ROOT = Path(__file__).parents[2]
FAST = (
    "--epochs 3 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-2 "
    "--no-timing --tune off --save-history"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return folder


def start(line: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *line.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def bench(line: str) -> tuple[int, str, str]:
    process = start(line)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def records(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("results/*/run.json")]
    assert len({one["variant"]["name"] for one in found}) == len(found)
    return {one["variant"]["name"]: one for one in found}


def rows(record: dict[str, Any]) -> list[dict[str, float]]:
    timed = ("train_seconds", "valid_seconds", "images_per_s")
    return [
        {k: v for k, v in row.items() if k not in timed} for row in record["training"]["epochs"]
    ]


def wait_for(what: Any, process: subprocess.Popen[str], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_ray_trains_what_this_process_trains(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    code, out, err = bench(f"{line} --executor ray --devices 2 --gather file://{here}/gathered")
    assert code == 0, err
    assert "2 runs, 0 failed" in out
    assert "Tiny_CA  epoch 3/3" in err
    assert "[2/2]" in err
    several = records(here)
    assert main(f"{line} --threads 1 --results-dir alone/results".split()) == 0
    for name, alone in records(here / "alone").items():
        assert rows(several[name]) == rows(alone)
        assert several[name]["validation"] == alone["validation"]
        assert several[name]["config"]["results_dir"] == "results"
        assert several[name]["training"]["beside"] == 1
    assert {path.parent.name for path in here.glob("gathered/*/run.json")} == {
        path.parent.name for path in here.glob("results/*/run.json")
    }
    assert not list(here.glob("results/.shared-*"))


def _workers(of: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(of.pid).children(recursive=True)
        if "ray::_carry_out" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_gone_on_from_its_last_epoch(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    process = start(f"{line} --executor ray --devices 1 --epochs 40 --patience 40")
    (state,) = wait_for(lambda: list(here.glob("results/*/last.pt")), process)
    (worker,) = wait_for(lambda: _workers(process), process)
    worker.kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "2 runs, 0 failed" in out
    found = records(here)
    assert {one["status"] for one in found.values()} == {"complete"}
    name = json.loads((state.parent / "run.json").read_text())["variant"]["name"]
    assert len(found[name]["resumed"]) == 1
    assert [row["epoch"] for row in found[name]["training"]["epochs"]] == list(range(1, 41))
    assert "trained anew" not in " ".join(found[name]["warnings"])


@pytest.mark.slow
def test_a_sweep_is_cancelled_in_good_order_and_goes_on_here(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    process = start(f"{line} --executor ray --devices 2 --epochs 200 --patience 200")
    wait_for(lambda: len(list(here.glob("results/*/last.pt"))) == 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by SIGINT: what is finished is kept; go on with: " in err
    assert {one["status"] for one in records(here).values()} == {"running"}
    again = f"run --resume --plugin {tiny_plugin} --executor local --devices 1 --hours 0.001"
    assert main(again.split()) == 0
    assert all(len(one["resumed"]) <= 1 for one in records(here).values())


@pytest.mark.slow
def test_a_run_that_raises_is_a_row_and_the_others_go_on(photos, tiny_plugin, here) -> None:
    with tiny_plugin.open("a") as file:
        file.write(
            "\nfrom bench.train import engine\n"
            "step = engine.training_step\n"
            "def broken(model, *args, **options):\n"
            "    if getattr(model, 'attention', None) is not None and len(model.attention):\n"
            "        raise ValueError('a broken rail')\n"
            "    return step(model, *args, **options)\n"
            "engine.training_step = broken\n"
        )
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    code, out, err = bench(f"{line} --executor ray")
    assert code == 1, err
    assert "2 runs, 1 failed" in out
    found = records(here)
    assert found["Tiny_CA"]["error"]["message"] == "a broken rail"
    assert found["Tiny"]["status"] == "complete"


TIMED = FAST.replace("--no-timing", "--rounds 1 --clocks model --modes eager --threads 1")


@pytest.fixture
def bench_box(here) -> Any:
    """Ray with a machine that has a resource ``bench-box``."""
    ray = on_ray.require_ray()
    with on_ray._own_signals():
        ray.init(
            address="local", num_cpus=2, resources={"bench-box": 1, "accelerator_type:X1": 1},
            include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_what_a_machine_of_that_class_times_is_in_the_records(
    photos, tiny_plugin, here, bench_box, capsys
) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {TIMED}"
    assert main(f"{line} --executor ray --timing-on bench-box".split()) == 0
    said = "".join(capsys.readouterr())
    assert "timing    on bench-box of the cluster, when all is trained" in said
    # It began when the last training had ended.
    assert said.index("[2/2]") < said.index("timing: ") < said.index("timing round 1/1 done")
    found = records(here)
    assert len(found) == 2
    (session,) = {one["session"]["id"] for one in found.values()}
    for one in found.values():
        assert one["status"] == "complete"
        assert {entry["device"] for entry in one["timing"]} == {"cpu"}
        assert one["metrics"]["fps"] > 0
        assert {entry["threads"] for entry in one["timing"]} == {1}
    assert (here / "results" / f"session-{session}.json").exists()


def test_a_class_that_cannot_time_is_refused_before_training(
    photos, tiny_plugin, here, bench_box, capsys
) -> None:
    node = {timing_on_ray._node_of(bench_box, name)["NodeID"] for name in ("bench-box", "X1")}
    assert node == {bench_box.get_runtime_context().get_node_id()}
    for name in ("x1", "accelerator_type:X2", "node"):
        with pytest.raises(BenchError, match="no machine of the cluster has that accelerator"):
            timing_on_ray._node_of(bench_box, name)
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


def test_a_cluster_that_does_not_answer_is_named(photos, here, monkeypatch, capsys) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        for text in (address, f"ray://{address}"):
            err = refused(f"run --executor ray --address {text} --data-dir {photos} {FAST}", capsys)
            assert f"--address {text}: no Ray cluster answers within 10 s" in err


@pytest.mark.parametrize("text", ["nowhere", "host:port", "http//x"])
def test_an_address_that_is_none(photos, here, capsys, text: str) -> None:
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
    monkeypatch.setattr(timing_on_ray, "connect", lambda address: ray)
    config = RunConfig(executor="ray", timing_on="X1")
    request = SimpleNamespace(config=config)
    timing_on_ray.time_on(request, stopper=Stopper(), stream=sys.stderr)
    board, session = ray.asked
    assert board == {"num_cpus": 0}
    assert (session["num_cpus"], session["num_gpus"]) == (4.0, 2.0)
    assert session["scheduling_strategy"].node_id == "ab" * 28
    assert not session["scheduling_strategy"].soft
    assert not ray.cancelled
    # Who stops, or fails, does not keep the machine.
    monkeypatch.setattr(ray, "wait", lambda *_, **__: ([], []))
    stopper = Stopper()
    stopper.note(signal.SIGTERM, None)
    with pytest.raises(StoppedError):
        timing_on_ray.time_on(request, stopper=stopper, stream=sys.stderr)
    assert len(ray.cancelled) == 1

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("the node died")

    monkeypatch.setattr(ray, "wait", gone)
    with pytest.raises(BenchError, match="--timing-on X1: the node died"):
        timing_on_ray.time_on(request, stopper=Stopper(), stream=sys.stderr)
    assert len(ray.cancelled) == 2


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
    monkeypatch.setattr(timing_on_ray, "time_on", lambda request, **_: asked.append(request))
    old = variants.get("EfficientNetV2_S_BoTLinear@1")
    timing_stage._time_elsewhere(
        [old], RunConfig(), 3, [], [], stream=sys.stderr, stopper=Stopper()
    )
    assert asked[0].keys == ("EfficientNetV2_S_BoTLinear@1",)
