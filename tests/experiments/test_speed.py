"""The speed experiments run, their rows say what was not met, and their arithmetic is right."""

from __future__ import annotations

import io
import json
import mmap
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import variants
from bench.data.images import load_rgb, square
from bench.data.index import SYNTHETIC_MARKER
from bench.data.synthetic.dataset import CLASSES, class_counts
from bench.errors import BenchError
from bench.system.memory import ALLOCATOR_ENVIRONMENT
from experiments import commands, figures, pictures
from experiments.contenders import ours, plain_pipeline, worker
from experiments.contenders.race import (
    BEST,
    FIXED,
    FIXED_TOO,
    OURS,
    OURS_TOO,
    TIMM,
    VALID_IMAGES,
    Worker,
    entry,
    race,
)
from experiments.speed import (
    accuracy,
    cold,
    cost,
    limit,
    memory,
    paired,
    pipeline,
    probe,
    progressive,
    startup,
    sweep,
    training,
    turns,
)
from experiments.suite import Part
from experiments.suites import SPEED as SUITE
from tests.experiments.stored import RECORDS, grey_pool, run_quick

MACHINE = {"cpu_model": "planted CPU", "cores": 2}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[int]]:
    """Pools of tiny grey pictures instead of drawn ones; the sizes that were asked for."""
    asked: list[int] = []

    def pool(cache: Path, images: int, seed: int) -> Path:
        asked.append(images)
        return grey_pool(cache, images, seed)

    monkeypatch.setattr(pictures, "cached_synthetic", pool)
    return asked


class Clock:
    """A clock that goes on by what is slept alone."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the contenders, of their channel and of what is compared within a sweep."""
    found = Clock()
    for module in (worker, ours, paired):
        monkeypatch.setattr(module, "time", found)
    return found


# --- processes and commands ------------------------------------------------------------------


def check_limit(record: dict) -> None:
    (one,) = record["outcome"]
    assert set(one["seconds"]) == {OURS, FIXED}
    for processes in one["seconds"].values():
        ((first, second),) = processes
        assert first > 0
        assert second > 0
    # The cold epoch finds, decodes and measures first.
    assert one["seconds"][OURS][0][0] > one["seconds"][OURS][0][1]
    assert one["order"][0] in ([OURS, FIXED], [FIXED, OURS])
    assert one["faults"][FIXED][0][1] >= 0
    assert record["machine"]["load_after"] is not None


def check_turns(record: dict) -> None:
    (one,) = record["outcome"]
    assert set(one["seconds"]) == {"ours", "fixed batch", "fixed batch again"}
    assert all(len(rounds) == 2 for (rounds,) in one["seconds"].values())


def check_sweep(record: dict) -> None:
    (one,) = record["outcome"]
    assert one["wall_s"] > one["import_s"][0]
    assert set(one["trainings"]) == {"MobileNetV3_Small", "ResNet18"}
    for found in one["trainings"].values():
        step, forward = sweep.per_image(found)
        assert step > forward > 0
        # 45 images in batches of eight, without the first; validation and test.
        assert len(found["steps"]) == len(found["fixed"]) == 45 // 8 - 1
        assert len(found["forwards"]) == 2
        assert found["trained_s"] > sum(found["steps"])


def check_progressive(record: dict) -> None:
    ((pair,),) = record["outcome"].values()
    assert len(pair["plain"]["epochs"]) == len(pair["progressive"]["epochs"]) == 2
    assert pair["plain"]["growth"] is None
    assert [stage["image_size"] for stage in pair["progressive"]["growth"]] == [32, 64]


def check_formats(record: dict) -> None:
    (one,) = record["outcome"]
    assert {form: len(seconds) for form, seconds in one["seconds"].items()} == {
        "channels_last": 1, "contiguous": 1,
    }  # fmt: skip


CHECKS: dict[str, tuple[Callable[[dict], None], str]] = {
    "turns": (check_turns, "in turn in one process"),
    "limit": (check_limit, "MobileNetV3_Small: ours ÷ the fixed batch"),
    "sweep": (check_sweep, "wall time of the command"),
    "progressive": (check_progressive, "reached in"),
    "formats": (check_formats, "channels-last ÷ contiguous"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_stored_quick_run_holds_what_was_measured(tmp_path: Path, name: str) -> None:
    shutil.copy(RECORDS / "speed" / f"{name}.json", tmp_path)
    page, _ = SUITE.render(tmp_path)
    check, text = CHECKS[name]
    check(json.loads((tmp_path / f"{name}.json").read_text("utf8")))
    assert text in page.read_text("utf8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["turns", *(pytest.param(name, marks=pytest.mark.ci) for name in list(CHECKS)[1:])]
)
def test_a_quick_run_is_recorded_and_rendered(tmp_path: Path, name: str, drawn: list[int]) -> None:
    record, _ = run_quick(SUITE, name, tmp_path)
    check, text = CHECKS[name]
    check(record)
    assert text in (tmp_path / "README.md").read_text("utf8")


@pytest.mark.slow
@pytest.mark.ci
def test_timms_procedure_trains_on_the_same_images(drawn: list[int], tmp_path: Path) -> None:
    model = entry("MobileNetV3_Small", 16, 64)
    chosen = {"image_size": 32, "repetitions": 1, "steady_epochs": 2, "quick": True}
    part = Part(tmp_path / "part.json", SUITE.head("training", True))
    found = race(model, (BEST,), chosen, part)
    assert [len(epochs) for epochs in found["seconds"][BEST]] == [3]
    assert min(found["seconds"][BEST][0]) > 0


def test_an_experiment_that_breaks_costs_no_other(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(limit, "measure", lambda chosen, part: 1 / 0)
    monkeypatch.setattr(
        training, "measure", lambda chosen, part: (_ for _ in ()).throw(BenchError("no pictures"))
    )
    runs = [{"wall_s": 5.0, "import_s": 3.0, "training_s": 1.0, "costs": ""}] * 2
    monkeypatch.setattr(
        startup, "measure", lambda chosen: {"help_s": [0.2], "runs": runs, "packages": {}}
    )
    assert SUITE.main(["limit", "training", "startup", "--out", str(tmp_path)]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"startup.json", "README.md"}
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "training: no pictures" in err
    assert err.strip().splitlines()[-1] == "error: no record of limit, training: see above"


def test_every_set_of_pictures_can_be_drawn() -> None:
    for module in (limit, training):
        for model in module.PARAMETERS["entries"]:
            class_counts(model["images"] + VALID_IMAGES)
    of_cold = cold.PARAMETERS["images"] + cold.PARAMETERS["valid_images"]
    for count in (sum(accuracy.PARAMETERS["images"].values()), of_cold):
        class_counts(count)
    for count in (
        sweep.PARAMETERS["images"], probe.PARAMETERS["images"], *memory.PARAMETERS["images"],
    ):  # fmt: skip
        class_counts(count)
    for cases in cost.GROWING.values():
        for images, _, _ in cases:
            class_counts(images)


def test_a_process_that_ends_says_why() -> None:
    said = "“unknown contender” ended with 1: KeyError"
    with (
        Worker("unknown contender", {}) as process,
        pytest.raises(BenchError, match=said),
    ):
        process.ready()


def test_a_process_of_ours_sets_its_threads_before_pytorch_is_there() -> None:
    code = (
        "import sys\n"
        "from experiments.contenders import worker\n"
        "def stop(): sys.exit('torch' in sys.modules)\n"
        "worker.launch.sleep_soon = stop\n"
        "worker.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"kind": "ours"}\n',
        cwd=commands.ROOT,
        check=False,
        text=True,
    )
    assert done.returncode == 0


def test_environment_has_only_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    monkeypatch.setenv("PADDY_BENCH_BATCH_SIZE", "3")
    found = commands.environment(cache=tmp_path)
    assert not set(found) & set(ALLOCATOR_ENVIRONMENT)
    assert "PADDY_BENCH_BATCH_SIZE" not in found
    assert found["PADDY_BENCH_CACHE_DIR"] == str(tmp_path)
    assert ALLOCATOR_ENVIRONMENT.items() <= commands.environment(allocator=True).items()
    # Without a cache of its own a process shares ours.
    assert commands.environment()["PADDY_BENCH_CACHE_DIR"] == os.environ["PADDY_BENCH_CACHE_DIR"]


def test_the_gate_times_steps_and_not_the_wait(clock: Clock) -> None:
    class Slow(io.StringIO):
        def readline(self, size: int | None = -1) -> str:
            clock.sleep(0.2)
            return super().readline()

    answers = io.StringIO()
    gate = ours.Gate(worker.Channel(Slow("epoch\n"), answers), None, memory_format="contiguous")
    for _ in gate.batches([(None, torch.zeros(3)), (None, torch.zeros(2))], 1):
        clock.sleep(0.02)
    gate.epoch_done({"valid_seconds": 0.5}, 1)
    answer = json.loads(answers.getvalue())
    assert answer["seconds"] == pytest.approx(0.04)
    assert answer["images"] == 5
    assert (answer["valid_seconds"], answer["memory_format"]) == (0.5, "contiguous")
    with pytest.raises(SystemExit):
        next(gate.batches([], 2))


def test_fixed_batches() -> None:
    batch = (torch.zeros(2, 3, 4, 4), torch.zeros(2))
    found = ours.fixed_batches(batch, 3)
    assert len(found) == 3
    assert [one is batch for one in found] == [True] * 3


def test_anonymous_memory_grows_with_what_is_held() -> None:
    before = commands.anonymous_mb(os.getpid())
    # Not from the heap, which may hold as much that earlier tests have freed.
    held = np.frombuffer(
        mmap.mmap(-1, 50_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=np.uint8
    )
    held[:] = 1
    after = commands.anonymous_mb(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(50, abs=10)
    assert held.all()
    assert commands.anonymous_mb(2**30) is None
    assert commands.children_of(2**30) == []


# --- pictures --------------------------------------------------------------------------------


def test_parts_hold_every_class_and_no_file_twice(drawn: list[int]) -> None:
    folder = pictures.pictures({"train": 80, "valid": 30})
    assert pictures.pictures({"train": 80, "valid": 30}) == folder
    assert drawn == [120]
    files = {part: list((folder / part).glob("*/*.jpg")) for part in ("train", "valid")}
    assert {part: len(found) for part, found in files.items()} == {"train": 80, "valid": 30}
    names = Counter(str(f.relative_to(f.parents[1])) for found in files.values() for f in found)
    assert set(names.values()) == {1}
    assert {f.parent.name for f in files["train"]} == set(CLASSES)
    # As a set with parts it must not be read as one folder for each class.
    assert not (folder / SYNTHETIC_MARKER).exists()


def test_a_whole_set_is_known_as_drawn(drawn: list[int]) -> None:
    folder = pictures.pictures(200)
    assert drawn == [2600]
    counts = [len(list((folder / name).iterdir())) for name in CLASSES]
    assert counts == class_counts(200)
    assert (folder / SYNTHETIC_MARKER).exists()


def test_the_plain_pipeline_squares_as_the_harness_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "picture.png"
    Image.fromarray(rng.integers(0, 256, (48, 36, 3), dtype=np.uint8)).save(path)
    plain = np.asarray(plain_pipeline.open_square(path, 32))
    apart = plain.astype(int) - np.asarray(square(load_rgb(path), 32))
    # Pillow rounds between the two sides, and begins with the other one here.
    assert np.abs(apart).max() <= 1


# --- rows with planted records ---------------------------------------------------------------


NAMES = {
    "fixed": FIXED, "fixed_too": FIXED_TOO, "ours_too": OURS_TOO, "timm_best": BEST,
}  # fmt: skip


def raced(variant: str, **seconds: float) -> dict:
    """Six processes with 1 % between them, each with two steady epochs after a cold one."""
    waves = [1 + 0.01 * (number % 3) for number in range(6)]
    return {
        "variant": variant,
        "batch_size": 32,
        "images": 64,
        "memory_format": "channels_last",
        "seconds": {
            NAMES.get(name, name): [[100.0, s * w, s * w] for w in waves]
            for name, s in seconds.items()
        },
        "faults": {NAMES.get(name, name): [[9e5, 12.0, 12.0]] for name in seconds},
    }


def record_of(outcome: object, **parameters: object) -> dict:
    return {"machine": MACHINE, "parameters": parameters, "outcome": outcome}


@pytest.mark.parametrize(
    ("timm", "best", "met"),
    [(1.81, 1.41, [True, True, True]), (1.79, 1.39, [True, False, False])],
)
def test_bars_of_training(timm: float, best: float, met: list[bool]) -> None:
    one = raced(
        "MobileNetV3_Small",
        ours=1.0, ours_too=1.0, fixed=0.96, fixed_too=0.96, timm=timm, timm_best=best,
    )  # fmt: skip
    rows = training.rows(record_of([one], image_size=224))
    # What this race says of the fixed batch informs: `turns` judges it for this model.
    assert [row.met for row in rows] == [None, *met[1:], None, None, None, None]
    assert rows[1].found.startswith(f"{timm:.3f} ({timm:.3f}–{timm:.3f}, 6 rounds)")
    assert [row.required for row in rows[:3]] == ["informs", "at least 1.8", "at least 1.4"]
    assert rows[6].found.startswith("1.000 (")
    assert rows[5].found.startswith(f"{best / 0.96:.3f} (")


def test_an_attention_variant_has_the_limit_as_its_only_bar() -> None:
    one = raced(
        "ResNet18_Hybrid",
        ours=1.0, ours_too=1.0, fixed=0.94, fixed_too=1, timm=1, timm_best=1,
    )  # fmt: skip
    rows = training.rows(record_of([one], image_size=224))
    assert [row.met for row in rows] == [False, *[None] * 6]


def test_training_by_epoch() -> None:
    one = raced("ResNet18", ours=1.0)
    ((_, header, cells),) = training.details(record_of([one], steady_epochs=2))
    assert header[2:5] == ["epoch 1 (cold)", "epoch 2", "epoch 3"]
    steady = "63.4 (62.7–64.0)"
    assert cells == [["ResNet18", "ours", "0.6 (0.6–0.6)", steady, steady, "12"]]


def test_bars_of_the_limit() -> None:
    outcome = [raced("ResNet18", ours=1.0, fixed=s) for s in (0.951, 0.949)]
    rows = limit.rows(record_of(outcome, image_size=224))
    assert [row.met for row in rows] == [True, False]
    finer = limit.rows(record_of([raced(turns.FINER[0], ours=1.0, fixed=0.9)], image_size=224))
    assert [row.met for row in finer] == [None]
    entries = [*limit.PARAMETERS["entries"], *training.PARAMETERS["entries"]]
    # Each of the ten is compared with its limit, once.
    names = [model["variant"] for model in entries]
    assert sorted(names) == sorted(v.name for v in variants.select([sweep.PARAMETERS["variants"]]))
    # timm's loader drops what is left over of an epoch; the contenders must see the same images.
    assert all(model["images"] % model["batch_size"] == 0 for model in entries)


@pytest.mark.parametrize(("fixed", "met"), [(0.951, True), (0.949, False)])
def test_bars_of_epochs_in_turn(fixed: float, met: bool) -> None:
    # The second process is slower throughout: its ratio is what counts, and one round of a process
    # that something disturbed does not.
    seconds = {
        "ours": [[1.0, 1.0, 9.0], [2.0, 2.0, 2.0]],
        "fixed batch": [[fixed] * 3, [2 * fixed] * 3],
        "fixed batch again": [[fixed] * 3, [2 * fixed, 2 * fixed, 9.0]],
    }
    one = {"variant": "V", "batch_size": 2, "images": 4, "seconds": seconds}
    ours, control = turns.rows(record_of([one], image_size=224, processes=2, rounds=3))
    assert ours.met is met
    assert ours.found.startswith(f"{fixed:.3f} (")
    assert control.met is None
    assert control.found.startswith("1.000 (")


def test_bars_of_a_cold_start() -> None:
    def done(*seconds: float) -> dict:
        return {"seconds": list(seconds), "process_seconds": sum(seconds) + 5}

    outcome = {OURS: [done(3, 1, 1), done(2, 1, 1)], TIMM: [done(3, 3, 2), done(2, 2, 2)]}
    parameters = {
        "variant": "V", "images": 64, "epochs": 3, "batch_size": 32, "image_size": 224,
    }  # fmt: skip
    judged, informs = cold.rows(record_of(outcome, **parameters))
    assert judged.found == "1.549 (no interval, 2 rounds)"
    assert judged.met is True
    assert informs.met is None
    assert informs.found == "1.261 (no interval, 2 rounds)"


@pytest.mark.parametrize(("wall", "met"), [(107.9, True), (108.1, False)])
def test_the_limit_of_a_sweep(wall: float, met: bool) -> None:
    def one(wall: float, decode: float) -> dict:
        training = {
            "batch": 4,
            "steps": [0.22, 0.18],
            "fixed": [0.18, 0.22],
            "forwards": [0.01, 0.03],
            "memory_format": "contiguous",
            "trained_s": 85.0,
        }
        return {
            "wall_s": wall,
            "beside_s": 12.0,
            "decode_s": decode,
            "import_s": [4.0, 3.0, 9.0],
            "parts": {"train": 500, "valid": 150, "test": 50},
            "trainings": {"ResNet18": training},
            "costs": "one-off costs 3.0 s",
        }

    assert sweep.limit(one(wall, 7.0), 3) == {
        "training steps": pytest.approx(0.05 * 1500),
        "validation and test forwards": pytest.approx(0.02 * 500),
        "one decode": 7.0,
        "one import": 4.0,
    }
    # A limit of 96 s and one of 104 s.
    record = record_of(
        [one(wall - 2, 7.0), one(wall + 2, 15.0)],
        images=700, image_size=64, epochs=3, batch_size=32,
    )  # fmt: skip
    (row,) = sweep.rows(record)
    assert row.met is met
    assert row.found.startswith(f"{wall / 100:.3f}: ")
    assert f"({wall + 2:.1f} s ÷ 104.0 s)" in row.found
    (said, _, summed), (_, _, each), *second = sweep.details(record)
    assert "with 12.0 s of measuring" in said
    assert summed[-1] == ["wall time of the command", f"{wall - 2:.1f}"]
    # Three epochs of 500 training and 150 validation images.
    assert each[0][:3] == ["ResNet18", "84.0", "85.0"]
    assert each[0][3].startswith("1.000 (")
    assert len(second) == 2


def test_the_limit_is_measured_between_the_steps_of_a_sweep(clock: Clock) -> None:
    seen: list[tuple[str, Any]] = []
    writing = False

    def step(model: Any, images: Any, labels: Any, *, lr: float) -> str:
        seen.append(("step", images.tolist()))
        assert lr == 0.5
        clock.sleep(0.02)
        return f"of {images.tolist()}"

    def evaluate(model: Any, batches: Any, device: Any, *, prepare: Any) -> Any:
        for batch in batches:
            seen.append(("forward", prepare(batch)[0].tolist()))
            clock.sleep(0.01)
        return SimpleNamespace(labels=[0] * 5)

    class Model:
        pass

    found = paired.Paired(step, evaluate, lambda: writing)
    model, other = Model(), Model()
    first, second, last = (torch.tensor(values) for values in ([1, 2], [3, 4], [5]))
    begin = clock.now
    for images in (first, second, last):
        assert found.step(model, images, images, lr=0.5) == f"of {images.tolist()}"
    # The first step prepares, and the last one has fewer images: they are not compared.
    assert seen == [("step", v) for v in ([1, 2], [3, 4], [1, 2], [5])]
    seen.clear()
    writing = True
    found.step(model, second, second, lr=0.5)
    assert seen == [("step", [3, 4])]
    seen.clear()
    # Five images in batches of two.
    found.evaluate(model, [(second,), (last,)], None, prepare=lambda batch: batch)
    assert seen == [("forward", v) for v in ([3, 4], [5], [1, 2], [1, 2], [1, 2])]
    took = clock.now - begin
    writing = False
    for images in (second, second, second):
        found.step(other, images, images, lr=0.5)
    own, new = found.trainings
    assert own["batch"] == 2
    assert own["steps"] == [pytest.approx(0.02)]
    assert own["fixed"] == [pytest.approx(0.02)]
    assert own["forwards"] == [pytest.approx(0.03 / 6)]
    assert len(new["fixed"]) == 2
    assert found.seconds == pytest.approx(
        sum(own["fixed"]) + 6 * own["forwards"][0] + sum(new["fixed"])
    )
    # What the sweep itself would have taken is left: five steps and two forwards.
    assert took - own["fixed"][0] - 6 * own["forwards"][0] == pytest.approx(0.1)


def test_the_fixed_batch_is_no_part_of_a_training() -> None:
    record = {
        "data": {"used": {"valid": 10}},
        "training": {"epochs": [{"train_seconds": 7.0, "valid_seconds": 3.0}] * 2},
    }
    # Two validations of ten images in batches of four, then the test part.
    own = {"batch": 4, "fixed": [1.0, 2.0], "forwards": [0.1, 0.05, 9.0]}
    assert sweep.trained_seconds(record, own) == pytest.approx(20 - 3 - 12 * 0.15)


def test_bars_of_the_pipeline() -> None:
    speeds = {pipeline.CACHE: [1500.0, 1200, 900], pipeline.JPEG: [220.0, 199, 190]}
    rows = pipeline.rows({"parameters": {"image_size": 224}, "images_per_s": speeds})
    assert [row.met for row in rows] == [True, False]
    assert rows[0].found == "1,200 (no interval, 3 rounds)"


def test_bars_of_the_probe() -> None:
    def way(seconds: list[float], predictions: list[int]) -> dict:
        return {"seconds": seconds, "predictions": {"A": [0, 1], "B": predictions}}

    outcome = [
        {"apart": way([8, 8], [1, 1]), "together": way([5], [1, 1])},
        {"apart": way([8, 8], [1, 1]), "together": way([5], [1, 0])},
    ]
    parameters = {
        "variants": ["A", "B"], "images": 60, "image_size": 32, "epochs": 1, "batch_size": 8,
    }  # fmt: skip
    speed, same = probe.rows(record_of(outcome, **parameters))
    assert (speed.met, speed.found) == (True, "3.20 (repetitions 3.20, 3.20)")
    assert (same.met, same.found) == (False, "3 of 4 runs")


def test_bars_of_the_start() -> None:
    same = {"import_s": 3.0, "training_s": 1.0, "costs": ""}
    runs = [{"wall_s": wall, **same} for wall in (6.5, 5.9, 5.5, 7.0)]
    rows = startup.rows({"help_s": [0.2, 0.31, 0.29], "runs": runs})
    assert [row.met for row in rows] == [True, True, False]
    assert rows[1].found == "1.90 (1.50–3.00)"


def test_memory_of_each_epoch() -> None:
    lines = [
        (1.0, "variants  2: A, B"),
        (5.0, "A  epoch 1/2  loss 1.0/2.0"),
        (5.2, "A  epoch 2/2  loss 1.0/2.0"),
        (9.0, "B  epoch 1/2  loss 1.0/2.0"),
    ]
    samples = [(0.5, 10.0, 12.0), (4.9, 30.0, 33.0), (6.0, 20.0, 20.0), (8.0, 25.0, 40.0)]
    found = memory.by_epoch(commands.Ended(0, 10.0, lines, "", [], samples))
    assert [(one["variant"], one["epoch"]) for one in found] == [("A", 1), ("A", 2), ("B", 1)]
    assert [one["own_mb"] for one in found] == [30.0, 30.0, 25.0]
    assert [one["with_children_mb"] for one in found] == [33.0, 33.0, 40.0]


def epochs_of(*runs: tuple[float, ...]) -> list[dict]:
    return [
        {"variant": "V", "epoch": number, "own_mb": mb, "with_children_mb": mb}
        for run in runs
        for number, mb in enumerate(run, 1)
    ]


@pytest.mark.parametrize(
    ("runs", "met"),
    [
        (((80, 100, 104), (100, 110, 111), (90, 100, 100), (110, 110, 111)), [True, True]),
        (((80, 100, 106), (100, 110, 111), (90, 100, 100), (110, 110, 118)), [False, False]),
    ],
)
def test_bars_of_memory(runs: tuple[tuple[float, ...], ...], met: list[bool]) -> None:
    outcome = [
        {"images": 8000, "epochs": epochs_of(*runs)},
        {"images": 1000, "epochs": epochs_of((70.0,))},
    ]
    parameters = {"variants": ["A", "B"], "image_size": 96, "epochs": 3, "seeds": 2}
    rows = memory.rows(record_of(outcome, **parameters))
    # 7,000 images of 27,648 bytes more: 194 MB, of which a quarter is 48 MB.
    assert [row.met for row in rows] == [*met, True]
    outcome[1]["epochs"] = epochs_of((60.0,))
    assert memory.rows(record_of(outcome, **parameters))[2].met is False


def test_the_interval_of_accuracy() -> None:
    low, high = accuracy.interval([1.0, 2.0, 3.0])
    # Student's t with 2 degrees of freedom: 4.3027.
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    assert accuracy.inside(-2.9, 2.9)
    assert not accuracy.inside(-3.1, 1)
    assert not accuracy.inside(-1, 3.1)


def test_bars_of_accuracy() -> None:
    pairs = {"ours": [0.8, 0.7, 0.75], "plain": [0.79, 0.7, 0.76]}
    images = {"train": 1, "valid": 1, "test": 1}
    outcome = {
        "synthetic": {**pairs, "images": images},
        "rice3": {"ours": [0.1, 0.9], "plain": [0.9, 0.1], "images": images},
    }
    parameters = {"variant": "V", "epochs": 1, "image_size": 64, "margin_points": 3.0}
    judged, informs = accuracy.rows(record_of(outcome, **parameters))
    assert judged.met is True
    assert judged.found.startswith("+0.00 (-2.48 to +2.48, 3 seeds; macro-F1 0.750 and 0.750)")
    assert informs.met is None


def test_cost_is_a_line() -> None:
    cases = [
        {"images": n, "epochs": 2, "variants": 1, "wall_s": 5 + 0.01 * n, "training_s": 0.01 * n}
        for n in (500, 1000, 4000)
    ]
    assert cost.line(cases, "images") == pytest.approx((5.0, 0.01))


# --- the table -------------------------------------------------------------------------------


def test_a_bar_that_is_not_met_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = [raced("ResNet18", ours=1.0, fixed=s) for s in (0.951, 0.949)]
    record = {
        **record_of(outcome, image_size=224),
        "experiment": "limit",
        "command": "python -m experiments.speed limit",
    }
    (tmp_path / "limit.json").write_text(json.dumps(record), encoding="utf8")
    assert SUITE.main(["--table", "--out", str(tmp_path)]) == 1
    text = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "**1 of 2 bars met.**" in text
    assert "**No record of training, turns, " in text
    assert "Not met:\n\n- ResNet18: ours ÷ the fixed batch: 0.949" in text
    assert "planted CPU" in text
    assert "NOT MET" in capsys.readouterr().out
    assert (tmp_path / "limit.png").stat().st_size > 5000


def test_every_experiment_can_be_found() -> None:
    for name in SUITE.experiments:
        module = SUITE.module_of(name)
        assert module.__name__ == f"experiments.speed.{name}"
        assert module.__doc__


def test_an_unknown_experiment_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SUITE.main(["trainng", "--out", str(tmp_path)]) == 2
    assert "no experiment 'trainng': choose from training" in capsys.readouterr().err


def test_figures_name_the_device() -> None:
    assert figures.device({"machine": MACHINE}) == "planted CPU, 2 cores, float32"


@pytest.mark.parametrize(
    ("second", "reach", "met"), [(5.0, 0.8, True), (7.6, 0.8, False), (5.0, 0.79, False)]
)
def test_bars_of_progressive_learning(second: float, reach: float, met: bool) -> None:
    def training(accuracy: float, seconds: float) -> dict:
        row = {"train_seconds": seconds - 1, "valid_seconds": 1.0, "valid_acc": accuracy}
        return {"epochs": [row], "growth": None, "test_accuracy": 0.5}

    outcome = {
        "V": [
            {"seed": 0, "plain": training(0.8, 10.0), "progressive": training(0.8, second)},
            {"seed": 1, "plain": training(0.8, 10.0), "progressive": training(reach, second)},
        ]
    }
    parameters = {"images": 1, "image_size": 64, "batch_size": 2, "epochs": 1}
    bar, whole, difference = progressive.rows(record_of(outcome, **parameters))
    assert bar.met is met
    assert ("reached in 2 of 2" in bar.found) is (reach == 0.8)
    assert whole.met is difference.met is None
    assert whole.found.startswith(f"{second / 10:.2f}")


def test_formats_are_compared_by_their_seconds() -> None:
    outcome = [{"variant": "V", "seconds": {"channels_last": [1.0], "contiguous": [2.0]}}]
    (row,) = SUITE.module_of("formats").rows(record_of(outcome, image_size=32, batch_size=8))
    assert row.found.startswith("2.000")


def test_flags_of_a_training(drawn: list[int]) -> None:
    chosen = {"variants": ["A", "B"], "images": 60, "image_size": 32, "batch_size": 8, "epochs": 2}
    flags = commands.training_flags(chosen, variants="A", freeze_backbone=True)
    text = " ".join(flags)
    assert "--image-size 32 --batch-size 8 --epochs 2 --variants A --patience 2" in text
    assert "--freeze-backbone --data-dir" in text
    # Nothing is drawn for a folder that is there.
    given = commands.training_flags({**chosen, "images": 20_000}, data_dir=Path("there"))
    assert given[given.index("--data-dir") + 1] == "there"
    assert given[given.index("--variants") + 1] == "A,B"
    assert drawn == [120]
