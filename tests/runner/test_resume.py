"""A sweep that is broken off goes on: from the command line, and when it is really killed."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bench.cli.main import main
from bench.data.sources import fingerprint
from bench.imaging import LOADER
from bench.runner import run as single
from bench.runner.manifest import Manifest
from bench.runner.queue import bytes_of
from bench.system.files import read_sealed, write_sealed
from bench.train import loop
from bench.train.checkpoint import CheckpointManager
from tests.conftest import PHOTOS, TINY_PLUGIN, write_photos
from tests.support.forked import Command, bench
from tests.support.sweeps import FAST, TIMES, Halt, records, states


@pytest.fixture
def line(photos: Path, tiny_plugin: Path) -> str:
    return f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"


def found(folder: Path) -> dict[str, Any]:
    """What must not depend on whether a sweep was broken off, by variant."""
    outcome = {}
    for path in sorted(folder.glob("results/*/run.json")):
        record = json.loads(path.read_text())
        name = record["variant"]["name"]
        assert name not in outcome, "two records of one run"
        assert record["status"] == "complete"
        history = json.loads((path.parent / "history.json").read_text())
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in history]
        metrics = {k: v for k, v in record["metrics"].items() if k != "fps"}
        outcome[name] = (rows, metrics, record["validation"], record["test"])
        assert {one.name for one in path.parent.iterdir()} == {
            "run.json", "metrics.json", "history.json", "training_plot.png", "best_model.pt",
        }  # fmt: skip
    return outcome


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the sweep of ``line`` comes to where nothing breaks it off."""
    folder = tmp_path_factory.mktemp("whole")
    photos = write_photos(folder / "photos", PHOTOS)
    (folder / "tiny_variants.py").write_text(TINY_PLUGIN)
    line = f"run --variants Tiny_CA,Tiny --plugin tiny_variants.py --data-dir {photos} {FAST}"
    env = {"PADDY_BENCH_CACHE_DIR": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    code, _, err = bench(line, folder=folder, env=env)
    assert code == 0, err
    return found(folder)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A signal comes during that step, counted from 1 over the whole sweep."""
    original_step = loop.train_step
    count = 0

    def spy(*args: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original_step(*args, **keywords)

    monkeypatch.setattr(loop, "train_step", spy)


@pytest.mark.parametrize("step", [1, 6, 14])
def test_a_stopped_sweep_goes_on_as_if_it_had_not(
    here: Path, line: str, expected: Any, capsys, monkeypatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        assert main(shlex.split(line)) == 143
    err = capsys.readouterr().err
    plugin = shlex.split(line)[4]
    assert err.strip().splitlines()[-1] == (
        "stopped by SIGTERM: what is finished is kept; go on with: python -m bench run --resume "
        f"--plugin {plugin}"
    )
    states = [json.loads(p.read_text())["status"] for p in here.glob("results/*/run.json")]
    assert states.count("running") == 1
    assert main(["report"]) == 0
    report = Path(capsys.readouterr().out.strip())
    assert "not finished (broken off, or still training: run --resume goes on)" in (
        report.read_text()
    )
    # What a kill in the middle of a write would have left.
    (sweep,) = here.glob("results/sweep-*.json")
    half_made = here / "results" / f".new-{sweep.stem.removeprefix('sweep-')}-x"
    half_made.mkdir()
    assert main(["run", "--resume", "--plugin", plugin]) == 0
    assert not half_made.exists()
    assert found(here) == expected
    (manifest,) = here.glob("results/sweep-*.json")
    assert json.loads(manifest.read_text())["ended"] is not None
    resumed = [json.loads(p.read_text())["resumed"] for p in here.glob("results/*/run.json")]
    assert sorted(map(len, resumed)) == [0, 1]
    assert main(["run", "--resume", "--plugin", plugin]) == 2
    assert "no unfinished sweep in results" in capsys.readouterr().err
    # One that has ended is not offered.
    assert main(["run", "--resume", "another", "--plugin", plugin]) == 2
    assert "can be gone on with are none" in capsys.readouterr().err


def test_time_that_is_over_ends_well_and_goes_on_later(here: Path, line: str, capsys) -> None:
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    out = capsys.readouterr().out
    assert "--hours 1e-06 are over: what is finished is kept" in out
    assert "go on with: python -m bench run --resume" in out
    assert list(here.glob("results/*/run.json")) == []
    assert main([*shlex.split(line), "--resume"]) == 0
    assert set(found(here)) == {"Tiny_CA", "Tiny"}


def test_a_failed_run_is_tried_again(here: Path, line: str, capsys, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bench.runner.run.train", lambda *_, **__: 1 / 0)
        assert main([*shlex.split(line), "--variants", "Tiny"]) == 1
    assert main([*shlex.split(line), "--variants", "Tiny", "--resume"]) == 0
    for path in here.glob("results/*/run.json"):
        record = json.loads(path.read_text())
        assert record["error"] is None
        assert record["resumed"][0]["error"]["type"] == "ZeroDivisionError"
    assert set(found(here)) == {"Tiny_CA", "Tiny"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--epochs 5", "--epochs is 5, and sweep {id} was begun with 3: leave it out"),
        ("--variants Tiny", "no unfinished sweep of Tiny in results"),
        ("--preset smoke", "was begun with no preset: leave --preset out"),
        ("--results-dir none", "no unfinished sweep in none"),
    ],
)
def test_what_does_not_fit_a_sweep_is_refused(
    here: Path, line: str, capsys, more: str, message: str
) -> None:
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    (manifest,) = here.glob("results/sweep-*.json")
    capsys.readouterr()
    before = sorted(here.rglob("*"))
    plugin = shlex.split(line)[4]
    assert main(["run", "--resume", "--plugin", plugin, *shlex.split(more)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message.format(id=manifest.stem.removeprefix("sweep-")) in err
    assert sorted(here.rglob("*")) == before


def test_a_sweep_that_cannot_be_found_or_trusted_is_refused(here: Path, line: str, capsys) -> None:
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    (manifest,) = here.glob("results/sweep-*.json")
    plugin = ["--plugin", shlex.split(line)[4]]
    for words, message in (
        (["--resume", "20200101-000000-beef"], "no sweep '20200101-000000-beef' in results"),
        (["--resume", "../evil"], "no sweep '../evil' in results"),
    ):
        assert main(["run", *words, *plugin]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert f"can be gone on with are {manifest.stem.removeprefix('sweep-')}\n" in err
    text = manifest.read_text()
    for damaged in (text.replace('"epochs": 3', '"epochs": 4'), text[: len(text) // 2], ""):
        manifest.write_text(damaged)
        assert main(["run", "--resume", *plugin]) == 2
        err = capsys.readouterr().err
        assert "cannot be gone on with (it is damaged" in err
        assert err.count("\n") == 1


def test_plugins_of_a_sweep_run_only_where_they_are_named(here: Path, line: str, capsys) -> None:
    import variants
    from variants import _registry

    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    for name in ("Tiny", "Tiny_CA"):
        _registry._variants.pop(name.lower())
        _registry._modules.pop(name.lower())
    assert "Tiny" not in variants.names()
    capsys.readouterr()
    assert main(["run", "--resume"]) == 2
    err = capsys.readouterr().err
    assert "has variants that are not known here (Tiny_CA, Tiny)" in err
    assert "--plugin" in err


def test_other_images_are_refused(here: Path, photos: Path, line: str, capsys) -> None:
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    next(photos.glob("blast/*.png")).unlink()
    assert main([*shlex.split(line), "--resume"]) == 2
    assert "the images are not those that sweep" in capsys.readouterr().err


def test_another_image_loader_is_refused(here: Path, line: str, capsys, monkeypatch) -> None:
    """A sweep from before the loader had a number, and one of the loader that comes."""
    from bench.runner import manifest

    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    (path,) = here.glob("results/sweep-*.json")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "LOADER", 99)
        assert main([*shlex.split(line), "--resume"]) == 2
    err = capsys.readouterr().err
    assert f"was begun with image loader {LOADER}, and this version has loader 99" in err
    content = json.loads(path.read_text())
    del content["loader"]
    write_sealed(path, content)
    content["variants"]["Tiny"] = 7
    write_sealed(path, content)

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the images were looked at")

    monkeypatch.setattr("bench.runner.preflight.check", never)
    assert main([*shlex.split(line), "--resume"]) == 2
    # Before its versions are spoken of.
    (told,) = capsys.readouterr().err.splitlines()
    assert "was begun with image loader 1" in told


# --- really killed ---------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_it_would_have(
    here: Path, line: str, expected: Any
) -> None:
    chance = random.Random(1)
    words = shlex.split(line)
    for _ in range(4):
        again = ["--resume"] if list(here.glob("results/sweep-*.json")) else []
        with Command([*words, *again], here) as process:
            # Checks are of no interest: the moment counts from the first run's begin.
            process.wait_for(lambda process=process: "\n[" in process.err or process.poll() == 0)
            time.sleep(chance.uniform(0.0, 1.5))
        # It may have been quick enough to end before its kill.
        whole = [
            json.loads(path.read_text())["ended"] for path in here.glob("results/sweep-*.json")
        ]
        if any(whole):
            break
    else:
        again = ["--resume"] if list(here.glob("results/sweep-*.json")) else []
        assert main([*words, *again]) == 0
    assert found(here) == expected
    assert sum(len(one["resumed"]) for one in records(here).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_process_in_good_order(
    here: Path, line: str, number: int, code: int
) -> None:
    words = [*shlex.split(line), "--epochs", "400", "--patience", "400"]
    with Command(words, here) as process:
        process.wait_for(lambda: "epoch 2/" in process.err)
        process.send_signal(number)
        ended, _, err = process.end()
    assert ended == code, err
    assert "go on with: python -m bench run --resume" in err
    assert "Traceback" not in err
    (folder,) = (path.parent for path in here.glob("results/*/run.json"))
    assert (folder / "last.pt").exists()


# --- what a measurement chooses, on request --------------------------------------------------


def plant(monkeypatch: pytest.MonkeyPatch, cache: Path, contiguous_s: float) -> list[str]:
    """Seconds of a step in contiguous format, where those in channels-last take 1; the formats
    that are measured."""
    measured: list[str] = []

    def measure(variant: Any, config: Any, classes: int, device: Any, form: str) -> list[float]:
        measured.append(form)
        seconds = contiguous_s if form == "contiguous" else 1.0
        return [seconds, seconds]

    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(cache))
    monkeypatch.setattr("bench.timing.estimate._measure", measure)
    # Nothing here takes so long that compiling were tried.
    monkeypatch.setattr("bench.timing.tuning.PAYS_FROM_S", 1e9)
    return measured


def formats(folder: Path) -> dict[str, tuple[str, str]]:
    setups = {
        record["variant"]["name"]: record["training"]["setup"]
        for record in map(json.loads, [p.read_text() for p in folder.glob("results/*/run.json")])
    }
    return {
        name: (setup["memory_format"], setup["memory_format_reason"])
        for name, setup in setups.items()
    }


def test_what_tuning_has_chosen_is_kept_by_a_sweep_that_goes_on(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*shlex.split(line), "--tune", "auto"]
    plant(monkeypatch, here / "quiet", 0.5)
    assert main([*words, "--results-dir", "whole/results"]) == 0
    expected = found(here / "whole")
    with monkeypatch.context() as patch:
        # Before the second variant has begun, so that no run of it says anything.
        stop_at(patch, 6)
        assert main(words) == 143
    (path,) = here.glob("results/sweep-*.json")
    tuned = json.loads(path.read_text())["tuned"]
    assert {name: one["memory_format"] for name, one in tuned.items()} == {
        "Tiny": "contiguous", "Tiny_CA": "contiguous",
    }  # fmt: skip
    measured = plant(monkeypatch, here / "busy", 2.0)
    assert main(["run", "--resume", "--plugin", words[4]]) == 0
    assert found(here) == expected
    assert {form for form, _ in formats(here).values()} == {"contiguous"}
    reason = (
        "--tune auto measured test_efficientnet at batch 8: channels-last 1, contiguous 2 images/s"
    )
    assert formats(here / "whole")["Tiny"] == ("contiguous", reason)
    # Measured for the estimate alone, in the one format of all.
    assert set(measured) == {"channels_last"}


def test_a_sweep_from_before_that_was_kept_has_it_in_its_runs(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options hold one that there is no more, and its formats stand in its runs alone."""
    words = [*shlex.split(line), "--tune", "auto"]
    plant(monkeypatch, here / "quiet", 0.5)
    with monkeypatch.context() as patch:
        stop_at(patch, 14)
        assert main(words) == 143
    (path,) = here.glob("results/sweep-*.json")
    content = read_sealed(path)
    del content["tuned"], content["config"]["memory_format"]
    content["config"]["channels_last"] = True
    write_sealed(path, content)
    plant(monkeypatch, here / "busy", 2.0)
    assert main(["run", "--resume", "--plugin", words[4]]) == 0
    assert {form for form, _ in formats(here).values()} == {"contiguous"}


def test_tuning_measures_here_and_others_train_elsewhere(here: Path, line: str, capsys) -> None:
    assert main([*shlex.split(line), "--tune", "auto", "--executor", "slurm-local"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --tune auto measures on this machine, and --executor slurm-local")


def test_what_is_measured_goes_on_elsewhere(
    here: Path, line: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs the extra slurm")
    plant(monkeypatch, here / "cache", 0.5)
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        assert main([*shlex.split(line), "--tune", "auto"]) == 143
    (path,) = here.glob("results/sweep-*.json")
    again = ["run", "--resume", "--dry-run", "--plugin", shlex.split(line)[4]]
    again += ["--executor", "slurm-local"]
    assert main(again) == 0
    content = read_sealed(path)
    del content["tuned"]["Tiny"]
    write_sealed(path, content)
    capsys.readouterr()
    assert main(again) == 2
    err = capsys.readouterr().err
    assert "(--tune auto) has yet to measure Tiny on this machine" in err
    assert err.endswith("go on with --executor local\n")


# --- memory that does not suffice ------------------------------------------------------------


def short_of_memory(monkeypatch: pytest.MonkeyPatch, from_step: int) -> list[int]:
    """From that step on no step fits as a whole; the parts that were tried."""
    original, tried = loop.train_step, []

    def step(*args: Any, parts: int = 1, **keywords: Any) -> Any:
        tried.append(parts)
        if parts == 1 and len(tried) >= from_step:
            raise torch.OutOfMemoryError("planted")
        return original(*args, parts=parts, **keywords)

    monkeypatch.setattr(loop, "train_step", step)
    return tried


@pytest.mark.parametrize("stop", ["before an epoch is whole", "later"])
def test_batches_stay_divided_in_a_sweep_that_goes_on(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    words = shlex.split(line)
    with monkeypatch.context() as patch:
        short_of_memory(patch, 1)
        assert main([*words, "--results-dir", "whole/results"]) == 0
    expected = found(here / "whole")
    with monkeypatch.context() as patch:
        short_of_memory(patch, 1)
        if stop == "later":
            stop_at(patch, 9)
            assert main(words) == 143
        else:
            # As a kill leaves it: no state of the training, which begins once more.
            stop_at(patch, 3)
            patch.setattr(CheckpointManager, "broken_off", lambda *_: None)
            assert main(words) == 143
            assert not list(here.glob("results/*/last.pt"))
    # There is memory enough now.
    tried = short_of_memory(monkeypatch, 10**9)
    assert main(["run", "--resume", "--plugin", words[4]]) == 0
    assert set(tried) == {2}
    assert found(here) == expected
    for path in here.glob("results/*/run.json"):
        record = json.loads(path.read_text())
        training = record["training"]
        assert (training["accumulation_parts"], training["batch_norm_images"]) == (2, 4)
        assert set(training["part_steps"]) == {"2"}
        assert (
            "each batch of 8 was trained in 2 parts (gradient accumulation) for want of memory: "
            "BatchNorm saw 4 images at a time instead of 8" in record["warnings"]
        )
    assert not list(here.glob("results/.sweep-*-parts*"))


def test_a_run_says_how_many_steps_were_divided(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 3)
    assert main(shlex.split(line)) == 0
    records = [json.loads(path.read_text()) for path in here.glob("results/*/run.json")]
    steps = {one["variant"]["name"]: one["training"]["part_steps"] for one in records}
    total = sum(steps["Tiny"].values())
    assert steps == {"Tiny_CA": {"1": 2, "2": total - 2}, "Tiny": {"2": total}}
    (mixed,) = (one["warnings"] for one in records if one["variant"]["name"] == "Tiny_CA")
    assert any(text.endswith(f"; {total - 2} of {total} steps") for text in mixed)


def test_a_training_that_goes_on_says_nothing_of_parts_it_was_not_trained_in(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        assert main(shlex.split(line)) == 143
    (path,) = here.glob("results/sweep-*.json")
    # Another device's training, meanwhile.
    path.with_name(f".{path.stem}-parts.2").touch()
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4]]) == 0
    told = {}
    for one in map(json.loads, (p.read_text() for p in here.glob("results/*/run.json"))):
        parts = one["training"]["accumulation_parts"]
        told[one["variant"]["name"]] = parts, "another run did not" in str(one["warnings"])
    assert told == {"Tiny_CA": (1, False), "Tiny": (2, True)}


# --- several devices at once -----------------------------------------------------------------

FLEET = ["--devices", "2"]


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_fleet_that_is_killed_and_told_to_stop_goes_on_as_if_it_had_not(
    here: Path, line: str, tiny_plugin: Path, expected: Any
) -> None:
    halt = Halt(tiny_plugin)
    words = shlex.split(line.replace(str(tiny_plugin), str(halt.plugin)))
    with Command([*words, *FLEET], here) as process:
        process.wait_for(lambda: len(states(here)) == 2)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.end()
        assert children
        _, alive = psutil.wait_procs(children, timeout=60)
        assert [child.pid for child in alive if is_running(child)] == []
    # Nobody holds the sweep: it can be gone on with.
    with Command(["run", "--resume", "--plugin", str(halt.plugin)], here) as process:
        process.wait_for(lambda: all(one["resumed"] for one in records(here).values()))
        process.send_signal(signal.SIGTERM)
        code, _, err = process.end()
    assert code == 143, err
    assert "stopped by SIGTERM" in err
    assert "Traceback" not in err
    assert [len(one["resumed"]) for one in records(here).values()] == [1, 1]
    assert len(states(here)) == 2
    assert main(["run", "--resume", "--plugin", str(tiny_plugin), "--devices", "1"]) == 0
    assert [len(one["resumed"]) for one in records(here).values()] == [2, 2]
    assert found(here) == expected


# --- a disk that is full ---------------------------------------------------------------------


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_whose_folder_cannot_be_made_fails_alone(
    here: Path, line: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = single.new_run_folder

    def no_room(results: Path, variant: str, *rest: Any) -> Path:
        return full() if variant == "Tiny" else make(results, variant, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(single, "new_run_folder", no_room)
        assert main(shlex.split(line)) == 1
    captured = capsys.readouterr()
    assert "failed: Tiny: OSError: [Errno 28] No space left on device: free some" in captured.err
    assert "failed: Tiny: the reasons" in captured.out
    assert [json.loads(p.read_text())["status"] for p in here.glob("results/*/run.json")] == [
        "complete"
    ]
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4]]) == 0
    assert set(found(here)) == {"Tiny", "Tiny_CA"}


def test_a_signal_does_not_hide_a_full_disk(
    here: Path, line: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 3)
    monkeypatch.setattr(CheckpointManager, "broken_off", full)
    assert main(shlex.split(line)) == 143
    err = capsys.readouterr().err
    assert "failed: Tiny_CA: OSError: [Errno 28] No space left on device: free some" in err


def test_a_sweep_file_that_cannot_be_written_at_the_end_is_told_of(
    here: Path, line: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Manifest.write

    def no_room(manifest: Manifest, folder: Path) -> None:
        full() if manifest.ended else write(manifest, folder)

    monkeypatch.setattr(Manifest, "write", no_room)
    assert main(shlex.split(line)) == 0
    assert "ended, but: [Errno 28] No space left" in capsys.readouterr().err


def test_a_full_disk_anywhere_is_a_line(here: Path, line: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr("bench.runner.sweep.completed_runs", full)
    assert main(shlex.split(line)) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == (
        "error: [Errno 28] No space left on device: what is finished is kept"
    )
    assert "Traceback" not in err


def test_what_a_sweep_has_on_the_disk_need_not_be_free(here: Path, line: str) -> None:
    assert main(shlex.split(line)) == 0
    (manifest,) = here.glob("results/sweep-*.json")
    sweep = manifest.stem.removeprefix("sweep-")
    files = [path for path in here.glob("results/*/*") if path.is_file()]
    assert bytes_of(here / "results", sweep) == sum(path.stat().st_size for path in files)
    assert bytes_of(here / "results", "another") == bytes_of(here / "none", sweep) == 0


EARLIER_PLUGIN = """\
from variants import BoTLinear, Variant, register

register(
    Variant(
        name="Tiny_BoT",
        backbone="test_efficientnet",
        attention=(BoTLinear(heads=4),),
        version=2,
        earlier={1: (BoTLinear(heads=4, version=1),)},
        channels=256,
        use_case="Tests",
    )
)
"""


def test_an_earlier_version_goes_on_and_is_used_as_what_it_was(
    here: Path, photos: Path, registry: None, capsys
) -> None:
    plugin = here / "bot.py"
    plugin.write_text(EARLIER_PLUGIN)
    line = f"run --variants Tiny_BoT@1 --plugin {plugin} --data-dir {photos} {FAST} --hours 1e-6"
    assert main(shlex.split(line)) == 0
    again = ["run", "--resume", "--plugin", str(plugin)]
    assert main(again) == 0
    assert "was begun with version 1 of Tiny_BoT, and goes on with it (version 2 is used" in (
        capsys.readouterr().err
    )
    (path,) = here.glob("results/*/run.json")
    about = json.loads(path.read_text())["variant"]
    assert (about["version"], len(about["attention"])) == (1, 1)
    assert about["attention"] == ["BoTLinear, 4 heads (version 1: one axis for each head)"]
    run = path.parent.name
    note = f"{run} is of version 1 of Tiny_BoT (BoTLinear, 4 heads (version 1: one axis"
    for command in (
        ["predict", run, str(photos / "blast"), "--out", "s.csv"],
        ["evaluate", run, "--data-dir", str(photos), "--json"],
        ["export", run, "--format", "torchscript"],
    ):
        assert main([*command, "--plugin", str(plugin)]) == 0
        _, err = capsys.readouterr()
        assert note in err
    (record,) = here.glob("results/external-*.json")
    assert any(text.startswith(note) for text in json.loads(record.read_text())["warnings"])
    from bench.deploy.saved_model import load_saved

    saved = load_saved(Path("results"), run, torch.device("cpu"))
    assert saved.variant.version == 1
    encoding = saved.model.attention[0].attention.position(torch.zeros(1, 64, 4, 4))
    # The first quarter of the channels, a head, is of the rows alone.
    assert torch.equal(encoding[:, :16, :, :1].expand(-1, -1, -1, 4), encoding[:, :16])


def test_a_version_that_cannot_be_built_any_more_is_refused(
    here: Path, photos: Path, tiny_plugin: Path, line: str, capsys
) -> None:
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    (path,) = here.glob("results/sweep-*.json")
    content = read_sealed(path)
    content["variants"]["Tiny"] = 7
    write_sealed(path, content)
    capsys.readouterr()
    assert main(["run", "--resume", "--plugin", str(tiny_plugin)]) == 2
    assert "was begun with version 7 of Tiny, and version 1 can be built here: begin a new" in (
        capsys.readouterr().err
    )


# --- the same images? ------------------------------------------------------------------------


def look(capsys) -> tuple[int, str]:
    """What going on says of the images; nothing is trained."""
    capsys.readouterr()
    code = main(["run", "--resume", "--dry-run", "--plugin", "../tiny_variants.py"])
    return code, capsys.readouterr().err


def overwrite(path: Path, *, in_place: bool = False) -> None:
    """Other bytes of the same number, with the time of before."""
    before, data = path.stat(), path.read_bytes()
    target = path if in_place else path.with_name("new")
    target.write_bytes(data[:-40] + bytes(byte ^ 0x55 for byte in data[-40:]))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(path)


@pytest.fixture
def begun(here: Path, photos: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep that has only begun, of whose images two are in the fingerprint's sample."""
    monkeypatch.setattr(fingerprint, "SAMPLE", 2)
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    return photos


def test_a_replaced_picture_of_equal_size_is_refused_by_name(begun: Path, capsys) -> None:
    for path in begun.glob("*/*"):
        os.utime(path, (1, 1))
    assert look(capsys)[0] == 0, "touched, and the same"
    for in_place in (True, False):
        for name in ("blast/003.png", "hispa/007.png"):
            kept = (begun / name).read_bytes()
            overwrite(begun / name, in_place=in_place)
            code, err = look(capsys)
            assert code == 2
            assert "the images are not those that sweep" in err
            assert f"(changed: '{name}'): give" in err
            (begun / name).write_bytes(kept)
    code, err = look(capsys)
    assert (code, "warning   sweep" in err) == (0, False)


def test_what_is_added_removed_or_of_another_class_is_named(begun: Path, capsys) -> None:
    (begun / "blast/003.png").rename(begun / "blast/zzz.png")
    code, err = look(capsys)
    assert code == 2
    assert "(added: 'blast/zzz.png'; removed: 'blast/003.png')" in err
    for number in range(4):
        (begun / f"blast/00{number + 4}.png").unlink()
    assert (
        "removed: 'blast/003.png', 'blast/004.png', 'blast/005.png', …, 5 in all"
        in (look(capsys)[1])
    )


def test_another_split_of_the_same_files_is_refused(
    here: Path, photos: Path, line: str, capsys
) -> None:
    rows = [str(path.relative_to(photos)) for path in sorted(photos.glob("*/*"))]
    table = [f"{row},{row.split('/')[0]},{'valid' if n % 3 else 'train'}"
             for n, row in enumerate(rows)]  # fmt: skip
    (photos / "metadata.csv").write_text("\n".join(["path,label,split", *table]))
    assert main([*shlex.split(line), "--hours", "1e-6"]) == 0
    assert look(capsys)[0] == 0
    table[0] = table[0].replace("train", "valid")
    (photos / "metadata.csv").write_text("\n".join(["path,label,split", *table]))
    code, err = look(capsys)
    assert code == 2
    assert "(other paths, sizes, labels, parts, groups or contents)" in err


def test_a_sweep_without_its_content_hashes_goes_on(begun: Path, here: Path, capsys) -> None:
    (table,) = here.glob("results/sweep-*.npz")
    table.write_bytes(table.read_bytes()[:100])
    warned = "is missing or damaged: the contents of 40 of 40 images were compared"
    code, err = look(capsys)
    assert (code, warned in err) == (0, True)
    table.unlink()
    code, err = look(capsys)
    assert (code, warned in err) == (0, True)


def test_a_kill_while_hashes_are_kept_leaves_nothing_for_good(
    here: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(results: Path, sweep: str, *_: Any) -> None:
        (results / f".sweep-{sweep}.npz.part").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.runner.sweep.keep_images", killed)
        assert main(shlex.split(line)) == 130
    assert list(here.glob("results/.sweep-*.part"))
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4], "--hours", "1e-6"]) == 0
    assert not list(here.glob("results/.sweep-*.part"))
