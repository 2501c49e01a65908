"""The whole walk on tiny variants: run, records, report, failures, repeatability."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bench.cli.main import main
from bench.records.schema import METRICS, problem_of
from bench.timing.timer import BLOCKS
from bench.train import loop
from tests.support.fake_timing import FakeTimingProcess
from tests.support.forked import server

FAST = (
    "--epochs 2 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-2 "
    "--threads 1"
)


def run(line: str) -> int:
    return main(["run", *shlex.split(line)])


def records(folder: Path) -> dict[str, dict]:
    data = [path.read_bytes() for path in folder.glob("results/*/run.json")]
    found = [json.loads(one) for one in data]
    assert all(problem_of(*one) is None for one in zip(found, data, strict=True))
    return {record["variant"]["name"]: record for record in found}


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a fleet that have PyTorch imported when they begin."""
    context = server()
    monkeypatch.setattr("bench.runner.executor.multiprocessing.get_context", lambda _: context)


def without_times(history: list[dict]) -> list[dict]:
    times = ("train_seconds", "valid_seconds", "images_per_s")
    return [{k: v for k, v in row.items() if k not in times} for row in history]


@pytest.mark.draws
def test_a_sweep_leaves_the_guides_folders_and_a_report(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    line = f"--variants tiny,TINY_ca --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert run(f"{line} --save-history") == 0
    out, err = capsys.readouterr()
    assert "Tiny_CA" in out
    assert "next: python -m bench report" in out
    assert "epoch 2/2" in err
    ends = [line for line in err.splitlines() if "  epoch " in line]
    assert [", sweep " in line for line in ends] == [True, True, False, False]
    folders = sorted(path for path in (here / "results").iterdir() if path.is_dir())
    assert [re.sub(r"\d", "0", f.name) for f in folders] == [
        "Tiny_00_00_0000_0000",
        "Tiny_CA_00_00_0000_0000",
    ]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "metrics.json",
            "history.json",
            "training_plot.png",
            "best_model.pt",
            "run.json",
        }
    record = records(here)["Tiny_CA"]
    with Image.open(folders[1] / "training_plot.png") as plot:
        assert plot.size == (1100, 462)
    metrics = json.loads((folders[1] / "metrics.json").read_text())
    assert tuple(metrics) == METRICS
    assert metrics == record["metrics"]
    history = json.loads((folders[1] / "history.json").read_text())
    assert history == record["training"]["epochs"]
    best = history[metrics["best_epoch"] - 1]
    for key in ("valid_acc", "valid_loss", "train_acc", "train_loss"):
        assert metrics[key] == pytest.approx(best[key])
    assert main(["report"]) == 0
    report = Path(capsys.readouterr().out.strip())
    text = report.read_text()
    assert report.parent.name == record["sweep"]["id"]
    assert "Tiny_CA" in text
    assert "Why EfficientNetV2-S" in text


def test_what_a_record_holds(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess]
) -> None:
    line = f"--variants Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --seed 3"
    assert run(f"{line} --dropout 0.1 --base-lr 5e-3") == 0
    record = records(here)["Tiny_CA"]
    assert record["status"] == "complete"
    assert record["config"]["seed"] == 3
    assert record["config_sources"]["seed"] == "flag"
    assert record["config_sources"]["patience"] == "default"
    assert record["sweep"]["command"].startswith("python -m bench run --variants Tiny_CA")
    assert record["variant"]["backbone"] == "test_efficientnet"
    assert record["variant"]["attention"] == ["CA, reduction 32"]
    data = record["data"]
    assert data["classes"] == ["blast", "hispa", "normal"]
    used = data["used"]
    assert sum(used.values()) == 40
    for part in ("validation", "test"):
        evaluated = record[part]
        count = used["valid" if part == "validation" else "test"]
        assert len(evaluated["ids"]) == len(evaluated["predictions"]) == count
        hits = [a == b for a, b in zip(evaluated["labels"], evaluated["predictions"], strict=True)]
        assert evaluated["accuracy"] == pytest.approx(sum(hits) / count)
        for name, label in zip(evaluated["ids"], evaluated["labels"], strict=True):
            assert name.startswith(data["classes"][label] + "/")
    training = record["training"]
    assert training["steps_per_epoch"] == -(-used["train"] // 8)
    assert training["initial_weights"] == "random"
    assert training["attention_lr"] == 1e-2
    assert training["peak_memory_mb"] > 50
    assert training["gpu_memory"] is None
    # Images of training over its own seconds: validation has no part in it.
    seconds = [row["train_seconds"] for row in training["epochs"]]
    assert training["images_per_s"] == pytest.approx(2 * used["train"] / sum(seconds), rel=1e-9)
    assert [row["images_per_s"] for row in training["epochs"]] == pytest.approx(
        [used["train"] / one for one in seconds], rel=1e-9
    )
    assert training["seconds"] > sum(seconds) + sum(r["valid_seconds"] for r in training["epochs"])
    counts = record["counts"]
    assert [m["image_size"] for m in counts["macs"]] == [32, 224]
    assert counts["attention_parameters"] == 256 * 8 + 8 + 16 + 2 * (8 * 256 + 256)
    timed = {(case["clock"], case["regime"], case["image_size"]) for case in record["timing"]}
    assert ("model", "throughput", 32) in timed
    assert ("model", "latency", 224) in timed
    assert record["session"]["rounds"] == 10
    assert record["environment"]["load_after"] is not None
    assert record["metrics"]["fps"] > 0


@pytest.mark.parametrize(("asked", "cores"), [(2, 1), (1, 2)])
def test_workers_that_are_asked_for_are_started(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch,
    asked: int, cores: int,
) -> None:  # fmt: skip
    from bench.runner import setup

    monkeypatch.setattr(setup, "usable_cores", lambda: cores)
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(f"{line} --epochs 1 --num-workers {asked}") == 0
    record = records(here)["Tiny"]
    assert record["training"]["setup"]["workers"] == asked
    assert record["training"]["setup"]["workers_reason"] == "--num-workers"
    told = [line for line in record["warnings"] if "--num-workers" in line]
    assert told == (
        ["--num-workers 2: more loader processes than cores of each training (1)"]
        if asked > cores
        else []
    )


def test_histories_do_not_hang_on_what_is_measured(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet and a busy machine, planted: other steps, another pipeline, other workers."""
    from bench.runner import setup
    from bench.timing import estimate

    monkeypatch.setattr(setup, "usable_cores", lambda: 2)
    outcomes, workers = [], []
    for name, steps, pipeline, load in (
        ("quiet", [1.0, 1.0], 1e9, 0.0),
        # Whatever the order in which formats are measured, contiguous steps look faster here.
        ("busy", [9.0, 1.0, 1.0, 9.0, 1.0], 1.0, 0.9),
    ):
        planted = itertools.cycle(steps)
        monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(here / f"cache-{name}"))
        monkeypatch.setattr(
            estimate, "_seconds", lambda step, device, left=planted: (step(), next(left))[1]
        )
        monkeypatch.setattr(estimate.LoadMeter, "stop", lambda meter, load=load: load)
        monkeypatch.setattr(setup, "measure_pipeline", lambda *_, rate=pipeline, **__: rate)
        line = (
            f"--variants Tiny_CA --plugin {tiny_plugin} --data-dir {photos} --no-timing --epochs 2 "
            "--batch-size 8 --image-size 32 --head-lr 1e-2 --base-lr 1e-2"
        )
        assert run(f"{line} --results-dir {name}") == 0
        (path,) = Path(name).glob("*/run.json")
        record = json.loads(path.read_text())
        training = record["training"]
        workers.append(training["setup"]["workers"])
        assert training["setup"]["memory_format"] == "channels_last"
        assert training["setup"]["memory_format_reason"] == "the same for all variants on cpu"
        outcomes.append((without_times(training["epochs"]), record["validation"], record["test"]))
    assert workers == [0, 1]
    assert outcomes[0] == outcomes[1]


def test_one_runs_want_of_memory_is_no_reason_in_the_records_of_others(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.train_step

    def step(*args: Any, parts: int = 1, **keywords: Any) -> Any:
        if parts == 1:
            raise torch.OutOfMemoryError("planted")
        return original(*args, parts=parts, **keywords)

    monkeypatch.setattr(loop, "train_step", step)
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(line) == 0
    found = records(here)
    assert {one["training"]["accumulation_parts"] for one in found.values()} == {2}
    told = {
        name: [line for line in record["warnings"] if "did not fit in memory" in line]
        for name, record in found.items()
    }
    assert len(told["Tiny"]) == 1
    assert told["Tiny"][0].startswith("Tiny did not fit in memory: each batch of 8 is trained in 2")
    assert told["Tiny_CA"] == []


def test_the_same_seed_gives_identical_histories_and_another_does_not(
    here: Path, photos: Path, tiny_plugin: Path
) -> None:
    histories = {}
    for name, seed, workers in (("a", 0, 0), ("b", 0, 1), ("c", 1, 0)):
        line = f"--variants Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
        assert run(f"{line} --seed {seed} --num-workers {workers} --results-dir {name}") == 0
        (path,) = Path(name).glob("*/run.json")
        record = json.loads(path.read_text())
        histories[name] = (
            without_times(record["training"]["epochs"]),
            record["validation"],
            record["test"],
        )
        assert record["timing"] == []
        assert record["metrics"]["fps"] is None
        # Validation has no part in the speed of training.
        rows, images = record["training"]["epochs"], record["data"]["used"]["train"]
        seconds = sum(row["train_seconds"] for row in rows)
        assert record["training"]["images_per_s"] == pytest.approx(len(rows) * images / seconds)
    assert histories["a"] == histories["b"]
    assert histories["a"] != histories["c"]


def test_a_variant_that_fails_is_a_record_and_the_sweep_goes_on(
    here: Path, photos: Path, tiny_plugin: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = here.parent / "bad_variants.py"
    bad.write_text(
        "import torch\n"
        "from variants import Variant, register\n"
        "def build(num_classes, dropout, reduction):\n"
        "    raise RuntimeError('no such thing\\nas this model')\n"
        "register(Variant(name='A_Broken', backbone='none', build=build))\n"
    )
    line = f"--variants A_Broken,Tiny --plugin {tiny_plugin} --plugin {bad} --data-dir {photos}"
    assert run(f"{line} {FAST} --no-timing") == 1
    out, err = capsys.readouterr()
    assert "1 failed" in out
    assert "failed: A_Broken: RuntimeError: no such thing as this model" in err
    found = records(here)
    assert found["Tiny"]["status"] == "complete"
    broken = found["A_Broken"]
    assert broken["status"] == "failed"
    assert broken["error"]["type"] == "RuntimeError"
    assert "Traceback" in broken["error"]["traceback"]
    assert main(["report", "--name", "both"]) == 0
    text = (here / "reports" / "both" / "report.md").read_text()
    assert "no such thing as this model" in text


def test_an_unreadable_image_is_warned_of_and_counted(
    here: Path, photos: Path, tiny_plugin: Path, capsys: pytest.CaptureFixture
) -> None:
    (photos / "blast" / "broken.png").write_bytes(b"\x89PNG no more")
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(line) == 0
    assert "blast/broken.png" in capsys.readouterr().err
    record = records(here)["Tiny"]
    assert record["data"]["unreadable"] == ["blast/broken.png"]
    assert any("broken.png" in line for line in record["warnings"])


def test_only_the_training_part_is_augmented(here, photos, tiny_plugin, monkeypatch) -> None:
    from bench.data.dataset import ImageDataset

    seen: dict[int, set[bool]] = {}
    original = ImageDataset.batch

    def spy(self, places, draws=None, size=None, **options):
        seen.setdefault(len(self), set()).add(draws is not None)
        return original(self, places, draws, size, **options)

    monkeypatch.setattr(ImageDataset, "batch", spy)
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(f"{line} --epochs 1 --num-workers 0 --tune off") == 0
    used = records(here)["Tiny"]["data"]["used"]
    assert len(set(used.values())) == 3
    assert seen == {used["train"]: {True}, used["valid"]: {False}, used["test"]: {False}}


def test_a_linear_probe_sweep_computes_features_once(here, photos, tiny_plugin, capsys) -> None:
    line = f"--plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing --freeze-backbone"
    assert run(f"{line} --variants Tiny_CA,Tiny --epochs 2") == 0
    found = {
        name: record["training"]["setup"]["features"] for name, record in records(here).items()
    }
    assert found["Tiny_CA"]["batches_computed"] > 0
    assert found["Tiny"]["batches_computed"] == 0
    assert found["Tiny"]["train_batches_read"] > 0
    assert records(here)["Tiny"]["training"]["images_per_s"] is None
    assert "one-off costs" in capsys.readouterr().out
    assert not list(Path(os.environ["PADDY_BENCH_CACHE_DIR"]).glob("features-*"))


@pytest.mark.slow
def test_two_trainings_at_once_give_what_one_after_the_other_gives(
    here, photos, tiny_plugin, quick_start
) -> None:
    line = f"--plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing --epochs 1 --device cpu"
    assert run(f"{line} --variants Tiny_CA,Tiny --threads 1") == 0
    alone = {name: record["validation"] for name, record in records(here).items()}
    shutil.rmtree(here / "results")
    assert run(f"{line} --variants Tiny_CA,Tiny --threads 2 --devices 2") == 0
    both = {name: record["validation"] for name, record in records(here).items()}
    assert both == alone


@pytest.mark.slow
def test_devices_train_one_backbones_probes_together(
    here, photos, tiny_plugin, quick_start, capsys
) -> None:
    line = (
        f"--plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing --freeze-backbone "
        "--device cpu --threads 2"
    )
    assert run(f"{line} --variants Tiny_CA,Tiny --devices 2") == 0
    found = {
        name: record["training"]["setup"]["features"] for name, record in records(here).items()
    }
    assert found["Tiny_CA"]["batches_computed"] > 0
    assert found["Tiny"]["batches_computed"] == 0
    err = capsys.readouterr().err
    assert "[1/2] Tiny_CA done" in err
    assert "[2/2] Tiny done" in err
    assert not list(Path(os.environ["PADDY_BENCH_CACHE_DIR"]).glob("features-*"))


def test_more_devices_than_there_are_are_refused(here, photos, tiny_plugin, capsys) -> None:
    line = f"--plugin {tiny_plugin} --data-dir {photos} {FAST} --variants Tiny --device cpu"
    assert run(f"{line} --devices 64") == 2
    assert "--devices 64: this machine has" in capsys.readouterr().err


def test_a_last_batch_of_one_image_trains(here: Path, make_photos, tiny_plugin: Path) -> None:
    folder = make_photos({"train/a": 5, "train/b": 4, "valid/a": 2, "valid/b": 1}, "nine")
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {folder} {FAST} --no-timing"
    assert run(f"{line} --batch-size 4") == 0
    record = records(here)["Tiny"]
    assert record["data"]["used"] == {"train": 9, "valid": 3, "test": 0}
    assert record["training"]["steps_per_epoch"] == 2
    assert record["test"] is None


def test_local_weights_start_the_training(here: Path, photos: Path, tiny_plugin: Path) -> None:
    import timm
    import torch

    torch.manual_seed(9)
    source = timm.create_model("test_efficientnet", num_classes=1000)
    torch.save(source.state_dict(), here / "test_efficientnet.pth")
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(f"{line} --weights . --freeze-backbone --epochs 1") == 0
    record = records(here)["Tiny"]
    assert record["training"]["initial_weights"] == "file: test_efficientnet.pth"
    (path,) = here.glob("results/*/best_model.pt")
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["model"]["backbone.conv_stem.weight"], source.conv_stem.weight)
    assert saved["classes"] == ["blast", "hispa", "normal"]


def test_dry_run_and_check_stop_before_anything_is_written(
    here: Path, photos: Path, tiny_plugin: Path, capsys: pytest.CaptureFixture
) -> None:
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert run(f"{line} --dry-run") == 0
    assert "nothing was trained" in capsys.readouterr().out
    assert main(["check", *shlex.split(line)]) == 0
    out = capsys.readouterr().out
    assert "Tiny_CA" in out
    assert "28 train" in out or "train" in out
    assert re.search(r"minutes +\d+\.\d  in all, estimated", out)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--batch-size 500", "--batch-size 500 is larger than the training part"),
        ("--results-dir taken", "taken is a file"),
        ("--reports-dir taken/x", "taken is a file"),
        ("--weights taken", "cannot be read"),
        ("--weights .", "has no weights for test_efficientnet"),
        ("--train-limit 2", "cannot hold all 3 classes"),
    ],
)
def test_mistakes_that_need_the_data_are_one_line_too(
    options: str, message: str, here: Path, photos: Path, tiny_plugin: Path, capsys
) -> None:
    (here / "taken").write_text("x")
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} {options}"
    assert run(line) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in here.iterdir()] == ["taken"]


@pytest.mark.parametrize("counts", [{"a": 5}, {"a": 5, "b": 1}, {}])
def test_folders_that_cannot_be_used(counts, here: Path, make_photos, capsys) -> None:
    folder = make_photos(counts, "odd")
    folder.mkdir(exist_ok=True)
    assert run(f"--variants ResNet18 --data-dir {folder} --batch-size 2") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(here: Path, monkeypatch) -> None:
    from bench.errors import BenchError
    from bench.runner.preflight import check_folder

    monkeypatch.setattr("bench.runner.preflight.os.access", lambda path, mode: False)
    with pytest.raises(BenchError, match=r"--results-dir new/er: .* is not writable"):
        check_folder(Path("new/er"), "--results-dir")


def test_a_disk_too_small_for_the_checkpoints(here, photos, tiny_plugin, monkeypatch, capsys):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("bench.runner.preflight.shutil.disk_usage", lambda folder: usage)
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert run(line) == 2
    assert "GB free and the checkpoints need" in capsys.readouterr().err


def test_the_state_of_a_training_needs_room_too(
    here, photos, tiny_plugin, monkeypatch, capsys
) -> None:
    from bench.errors import BenchError
    from bench.runner import preflight

    def refuse(runs: object, config: object, checkpoint_bytes: int) -> float:
        raise BenchError(f"bytes {checkpoint_bytes}")

    monkeypatch.setattr(preflight, "_check_disk", refuse)
    monkeypatch.setattr(preflight, "_check_variants", lambda chosen, config: [100, 40])
    line = f"--variants Tiny,Tiny_CA --seeds 3 --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert run(line) == 2
    # Three times the best weights of each; of the larger one the state twice, and new best weights.
    assert f"bytes {3 * 140 + 7 * 100}" in capsys.readouterr().err


def test_a_wrong_declared_count_is_recorded(here: Path, photos: Path, tiny_plugin: Path) -> None:
    text = tiny_plugin.read_text().replace(
        'use_case="Tests"', 'use_case="Tests", parameters={10: 5, 1000: 995}'
    )
    tiny_plugin.write_text(text)
    line = f"--variants Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(line) == 0
    record = records(here)["Tiny_CA"]
    assert record["counts"]["parameters_declared"] == -2
    assert any("are declared" in line for line in record["warnings"])


def test_a_report_of_chosen_sweeps_and_runs(here, photos, tiny_plugin, capsys) -> None:
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    for _ in range(2):
        assert run(line) == 0
    sweeps = sorted(
        json.loads(path.read_text())["sweep"]["id"] for path in here.glob("results/*/run.json")
    )
    folders = sorted(path.parent.name for path in here.glob("results/*/run.json"))
    capsys.readouterr()
    assert main(["report", "--sweep", sweeps[0], "--name", "first"]) == 0
    assert main(["report", "--runs", *folders]) == 0
    out = capsys.readouterr().out.split()
    assert out == ["reports/first/report.md", "reports/runs/report.md"]
    assert main(["report", "--sweep", "none"]) == 2
    assert "no sweep 'none'" in capsys.readouterr().err
    assert main(["report", "--name", "../x"]) == 2
    (here / "reports" / "taken").write_text("x")
    assert main(["report", "--name", "taken"]) == 2
    for path in here.glob("results/*/run.json"):
        path.write_text("{")
    assert main(["report"]) == 2
    assert "no readable records" in capsys.readouterr().err


def test_report_imports_no_torch(here: Path, photos: Path, tiny_plugin: Path) -> None:
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(line) == 0
    code = (
        "import sys; from bench.cli.main import main; code = main(['report']);"
        "sys.exit(code or int(any(m in sys.modules for m in ('torch', 'timm', 'torchvision'))))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- timing in fresh processes ---------------------------------------------------------------


@pytest.mark.slow
def test_time_leaves_records_that_can_be_reported(
    here: Path, tiny_plugin: Path, capsys: pytest.CaptureFixture
) -> None:
    """The one session here whose processes are real."""
    line = (
        f"time --variants Tiny_CA --plugin {tiny_plugin} --image-size 224 --rounds 1 "
        "--clocks model --threads 1 --timing-batch 2 --json"
    )
    assert main(shlex.split(line)) == 0
    found = json.loads(capsys.readouterr().out)
    kinds = [(row["mode"], row["regime"], row["image_size"]) for row in found["timing"]]
    assert kinds == [("eager", "latency", 224), ("eager", "throughput", 224)]
    assert all(row["variant"] == "Tiny_CA" and row["threads"] == 1 for row in found["timing"])
    assert all(row["images_per_s"] > 0 for row in found["timing"])
    assert not any("mode_error" in row for row in found["timing"])
    assert found["session"]["baseline"] == "Tiny_CA"
    control = found["session"]["control"]["timing"]
    assert [entry["mode"] for entry in control] == ["eager"] * 2
    record = records(here)["Tiny_CA"]
    assert record["timing"] == [
        {key: value for key, value in row.items() if key != "variant"} for row in found["timing"]
    ]
    for entry in [*record["timing"], *control]:
        assert entry["allocator"]["MALLOC_MMAP_MAX_"] == "0"
        (one,) = entry["rounds"]
        assert len(one["block_seconds"]) >= BLOCKS
        assert (len(one["step_seconds"]) >= 5) == (entry["regime"] == "latency")
    assert (record["status"], record["training"], record["metrics"]) == ("complete", None, None)
    assert main(["report", "--sweep", record["sweep"]["id"]]) == 0
    assert "an interval needs 6" in Path(capsys.readouterr().out.strip()).read_text()


def test_time_prints_ratios_and_how_to_report(
    here: Path, tiny_plugin: Path, played: type[FakeTimingProcess], capsys: pytest.CaptureFixture
) -> None:
    played.seconds = {"Tiny": 0.010, "Tiny_CA": 0.015}
    line = f"time --variants Tiny,Tiny_CA --plugin {tiny_plugin} --image-size 32 --clocks model"
    assert main(shlex.split(line)) == 0
    out, err = capsys.readouterr()
    assert "10 rounds of 3 processes (the baseline Tiny twice)" in err
    assert "slower" in out
    print(out)
    assert "0.667" in out
    sweep = records(here)["Tiny"]["sweep"]["id"]
    assert f"next: python -m bench report --sweep {sweep}" in out


def test_a_timing_process_that_fails_is_told(
    here: Path, tiny_plugin: Path, played: type[FakeTimingProcess], capsys: pytest.CaptureFixture
) -> None:
    played.failures["Tiny"] = {"error": "timing process ended with 1: RuntimeError: no"}
    line = f"time --variants Tiny,Tiny_CA --plugin {tiny_plugin} --image-size 32 --clocks model"
    assert main(shlex.split(line)) == 1
    out, err = capsys.readouterr()
    assert "failed: Tiny: timing process ended with 1: RuntimeError: no" in err
    found = records(here)
    assert found["Tiny"]["error"]["type"] == "TimingError"
    assert found["Tiny_CA"]["status"] == "complete"
    assert "Tiny_CA" in out


def test_a_time_budget_below_a_round_is_refused_before_anything_is_written(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("bench.timing.estimate._seconds", lambda *_: 0.1)
    where = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos}"
    for line in (
        f"time {where} --image-size 32 --time-budget 1",
        f"run {where} {FAST} --time-budget 1s",
    ):
        assert main(shlex.split(line)) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: --time-budget 1s is too small for a single round")
        assert "give --time-budget" in err
    assert list(here.iterdir()) == []


def test_a_failed_timing_is_a_warning_of_the_run(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess]
) -> None:
    played.failures["Tiny"] = {"error": "no clock"}
    assert run(f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}") == 0
    record = records(here)["Tiny"]
    assert "timing: no clock" in record["warnings"]
    assert record["metrics"]["fps"] is None


def test_a_session_is_in_the_records_of_all_its_variants(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess]
) -> None:
    played.full_above["Tiny_CA"] = 8
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --rounds 6"
    assert run(line) == 0
    found = records(here)
    assert found["Tiny"]["session"] == found["Tiny_CA"]["session"]
    for record in found.values():
        assert any("batch 8 instead of 16 for all" in line for line in record["warnings"])
        assert {case["batch_size"] for case in record["timing"]} == {1, 8}
        assert all(len(case["rounds"]) == 6 for case in record["timing"])
        clocks = {case["clock"] for case in record["timing"]}
        assert clocks == {"model", "pipeline", "train"}
        assert record["metrics"]["fps"] == pytest.approx(8 / 0.08)


def test_a_session_is_kept_before_anything_is_trained(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def stop(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.runner.queue.run_variant", stop)
    assert run(f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}") == 130
    (kept,) = here.glob("results/session-*.json")
    session = json.loads(kept.read_text())
    assert len(session["timing"]["Tiny"][0]["rounds"]) == 10
    assert session["session"]["baseline"] == "Tiny"


def test_an_unreadable_image_is_not_timed(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess]
) -> None:
    for path in sorted(photos.glob("*/*.png"))[::3]:
        path.write_bytes(path.read_bytes()[:60])
    broken = {path.name for path in photos.glob("*/*.png") if path.stat().st_size == 60}
    assert broken
    line = f"--plugin {tiny_plugin} --variants Tiny --data-dir {photos}"
    assert run(f"{line} {FAST} --epochs 1 --batch-size 4") == 0
    assert main(["time", *shlex.split(line), "--image-size", "32", "--rounds", "1"]) == 0
    readable = [path for path in played.images if Path(path).stat().st_size > 60]
    assert played.images == readable != []


def test_nothing_to_decode_is_said_before_anything_is_timed(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    for path in photos.glob("*/*.png"):
        path.write_bytes(b"no picture")
    line = f"time --plugin {tiny_plugin} --variants Tiny --data-dir {photos} --image-size 32"
    assert main(shlex.split(line)) == 2
    assert "can be decoded: give --data-dir" in capsys.readouterr().err
    assert played.log == []


def test_timings_stand_where_counting_fails(
    here: Path, tiny_plugin: Path, played: type[FakeTimingProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_) -> None:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    monkeypatch.setattr("bench.cli.time.count_into", refuse)
    line = f"time --variants Tiny --plugin {tiny_plugin} --image-size 32 --clocks model"
    assert main(shlex.split(line)) == 0
    record = records(here)["Tiny"]
    assert record["timing"]
    assert record["counts"] is None
    assert any(line.startswith("not counted: RuntimeError") for line in record["warnings"])


# --- seeds and folds -------------------------------------------------------------------------


def test_seeds_are_the_same_for_all_variants(
    here: Path, photos: Path, tiny_plugin: Path, capsys: pytest.CaptureFixture
) -> None:
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(f"{line} --seeds 2 --seed 5") == 0
    assert "[4/4] Tiny_CA, seed 6" in capsys.readouterr().err
    tested: dict[tuple[str, int], list[str]] = {}
    for path in here.glob("results/*/run.json"):
        record = json.loads(path.read_text())
        key = record["variant"]["name"], record["config"]["seed"]
        tested[key] = record["test"]["ids"]
    assert set(tested) == {("Tiny", 5), ("Tiny", 6), ("Tiny_CA", 5), ("Tiny_CA", 6)}
    assert tested["Tiny", 5] == tested["Tiny_CA", 5]
    assert tested["Tiny", 6] == tested["Tiny_CA", 6]
    assert tested["Tiny", 5] != tested["Tiny", 6]
    assert main(["report"]) == 0
    assert "2 seeds" in Path(capsys.readouterr().out.strip()).read_text()


def test_folds_test_every_image_once(here: Path, photos: Path, tiny_plugin: Path) -> None:
    line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --no-timing"
    assert run(f"{line} --folds 3 --epochs 1") == 0
    tested: list[str] = []
    for path in here.glob("results/*/run.json"):
        record = json.loads(path.read_text())
        assert record["data"]["fold"]["of"] == 3
        tested += record["test"]["ids"]
    assert len(tested) == len(set(tested)) == 40


# --- comparing -------------------------------------------------------------------------------


def test_compare_names_what_is_real(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    played.seconds = {"Tiny": 0.010, "Tiny_CA": 0.015}
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert run(line) == 0
    capsys.readouterr()
    assert main(["compare", "Tiny", "tiny_ca"]) == 0
    out = capsys.readouterr().out
    assert "Tiny_CA" in out
    assert "33 %" in out
    for words in (["compare", "Tiny", "Tony"], ["compare", "Tiny"]):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_own_claims_and_budgets_reach_the_report(
    here: Path, photos: Path, tiny_plugin: Path, played: type[FakeTimingProcess],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    line = f"--variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST} --epochs 1"
    assert run(line) == 0
    capsys.readouterr()
    claim = """[[claim]]
variant = "Tiny"
metric = "parameters"
value = 123
unit = "M"
source = "my card"
"""
    Path("mine.toml").write_text(claim)
    words = "report --claims mine.toml --max-latency-ms 50 --max-size-mb 5"
    assert main(shlex.split(words)) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "my card" in text
    assert "50 ms" in text
    Path("mine.toml").write_text(claim.replace('unit = "M"\n', ""))
    assert main(shlex.split("report --claims mine.toml")) == 2
    assert "unit" in capsys.readouterr().err
    for flag in ("--max-latency-ms", "--max-size-mb"):
        for value in ("fast", "0", "-1", "nan", "inf"):
            assert main(["report", flag, value]) == 2
            assert flag in capsys.readouterr().err


# --- estimates -------------------------------------------------------------------------------


def test_an_estimate_is_measured_once_and_then_cached(
    photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.data.parts import find_parts
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    chosen = variants.select(["Tiny", "Tiny_CA"])
    config = RunConfig(data_dir=photos, image_size=32, batch_size=4, epochs=10, timing=False)
    parts = find_parts(config)
    device = torch.device("cpu")
    calls = []

    def measure(variant, *_):
        calls.append(variant.name)
        return [0.5, 0.25]

    load = [0.0]
    monkeypatch.setattr(module, "_measure", measure)
    monkeypatch.setattr(module.LoadMeter, "stop", lambda meter: load[0])
    for _ in range(2):
        rates = module.measure_rates(chosen, config, parts.num_classes, device)
        assert {name: one.rate for name, one in rates.items()} == {
            "Tiny": (0.5, 0.25),
            "Tiny_CA": (0.5, 0.25),
        }
        # One of them was measured for both: what is said of it names the backbone.
        assert {one.of for one in rates.values()} == {"test_efficientnet"}
        found = module.estimate(chosen, config, [parts, parts], rates)
        used = {name: len(p) for name, p in parts.used.as_dict().items()}
        seconds = 10 * (0.5 * used["train"] + 0.25 * used["valid"]) + 0.25 * used["test"]
        assert [item.minutes for item in found] == pytest.approx([2 * seconds / 60] * 2)
        epoch = 0.5 * used["train"] + 0.25 * used["valid"]
        assert [item.epoch_s for item in found] == pytest.approx([epoch] * 2)
    assert calls == ["Tiny"]


def test_an_update_costs_the_same_whatever_the_batch() -> None:
    from bench.timing.estimate import per_image

    # Eight images take 0.8 s, and the update 0.2 s.
    assert per_image(1.0, 0.2, 8, 8) == pytest.approx(1.0 / 8)
    assert per_image(1.0, 0.2, 8, 32) == pytest.approx(0.1 + 0.2 / 32)


def test_what_is_measured_on_a_busy_machine_says_so_and_is_forgotten(
    photos: Path, tiny_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.data.parts import find_parts
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    chosen = variants.select(["Tiny", "Tiny_CA"])
    config = RunConfig(data_dir=photos, image_size=32, batch_size=4)
    calls: list[str] = []

    def measure(variant, *_):
        calls.append(variant.name)
        return [0.5, 0.25]

    monkeypatch.setattr(module, "_measure", measure)
    parts, notes = find_parts(config), []
    for load in (0.4, 0.05, 0.4):
        monkeypatch.setattr(module.LoadMeter, "stop", lambda meter, load=load: load)
        rates = module.measure_rates(chosen, config, 3, torch.device("cpu"))
        notes.append({item.note for item in module.estimate(chosen, config, [parts], rates)})
    # The third time nothing is measured: what is known was measured in quiet.
    assert calls == ["Tiny", "Tiny"]
    busy = " (measured while others used 40 % of the machine)"
    assert notes == [{busy}, {""}, {""}]


@pytest.mark.parametrize("memory_format", ["auto", "contiguous"])
def test_steps_are_measured_in_the_format_of_the_training(
    tiny_plugin, registry, monkeypatch: pytest.MonkeyPatch, memory_format: str
) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    seen: set[bool] = set()
    build = module.build.build

    def built(*arguments):
        model, initial = build(*arguments)
        model.register_forward_pre_hook(
            lambda _, inputs: seen.add(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        return model, initial

    monkeypatch.setattr(module.build, "build", built)
    config = RunConfig(image_size=32, batch_size=4, memory_format=memory_format)
    found = module.measure_rates(variants.select(["Tiny"]), config, 3, torch.device("cpu"))["Tiny"]
    assert all(seconds > 0 for seconds in found.rate)
    assert seen == {memory_format == "auto"}


@pytest.mark.parametrize(
    ("image_size", "batch_size", "measured"),
    [(224, 32, 8), (384, 32, 8), (160, 64, 15), (64, 32, 16), (64, 12, 12), (32, 4, 4)],
)
def test_the_measured_batch_has_the_pixels_of_eight_images_of_224_up_to_sixteen(
    tiny_plugin: Path,
    registry: None,
    monkeypatch: pytest.MonkeyPatch,
    image_size: int,
    batch_size: int,
    measured: int,
) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    seen: list[int] = []
    build = module.build.build

    def built(*arguments):
        model, initial = build(*arguments)
        model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return model, initial

    monkeypatch.setattr(module.build, "build", built)
    config = RunConfig(image_size=image_size, batch_size=batch_size)
    found = module.measure_rates(variants.select(["Tiny"]), config, 3, torch.device("cpu"))["Tiny"]
    assert set(seen) == {measured}
    assert found.batch == measured


def test_small_images_are_evaluated_twice_as_many_at_a_time(
    photos: Path, tiny_plugin: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.runner import setup

    asked: dict[tuple[int, bool], set[int]] = {}
    make = setup.make_loader

    def noted(dataset, *, batch_size: int, train: bool, **rest):
        size = dataset.images.image_size
        asked.setdefault((size, train), set()).add(batch_size)
        return make(dataset, batch_size=batch_size, train=train, **rest)

    monkeypatch.setattr(setup, "make_loader", noted)
    for size in (64, 112):
        line = f"--variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --epochs 1"
        assert run(f"{line} --batch-size 4 --no-timing --image-size {size}") == 0
    assert asked == {(64, True): {4}, (64, False): {8}, (112, True): {4}, (112, False): {4}}


def test_seconds_are_those_of_one_image(tiny_plugin, registry, monkeypatch) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    monkeypatch.setattr(module, "_seconds", lambda step, device: step() or 2.0)
    for batch_size in (4, 16):
        config = RunConfig(image_size=32, batch_size=batch_size)
        chosen = variants.select(["Tiny"])
        found = module.measure_rates(chosen, config, 3, torch.device("cpu"))["Tiny"]
        assert found.rate == pytest.approx((2.0 / batch_size, 2.0 / batch_size))


def test_a_long_step_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from bench.timing import estimate as module

    clock, calls = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    def step(seconds: list[float]) -> None:
        calls.append(seconds[0])
        clock[0] += seconds.pop(0)

    cpu = torch.device("cpu")
    for seconds, least, times in (([9.0, 0.2, 0.1], 0.2, 2), ([9.0, 0.08, 0.06], 0.06, 3)):
        calls.clear()
        assert module._seconds(lambda left=seconds: step(left), cpu) == pytest.approx(least)
        assert len(calls) == times


def test_an_estimate_without_a_measurement_says_so(photos, tiny_plugin, monkeypatch) -> None:
    import torch

    import variants
    from bench.config.options import RunConfig
    from bench.data.parts import find_parts
    from bench.timing import estimate as module

    variants.load_plugin(tiny_plugin)
    config = RunConfig(data_dir=photos, image_size=32, batch_size=4)
    monkeypatch.setattr(module, "BUDGET_S", -1.0)
    chosen = variants.select(["Tiny"])
    assert module.measure_rates(chosen, config, 3, torch.device("cpu")) == {}
    (found,) = module.estimate(chosen, config, [find_parts(config)], {})
    assert "not measured" in found.note


# --- data ------------------------------------------------------------------------------------


def test_data_summarises_a_folder(photos: Path, capsys: pytest.CaptureFixture) -> None:
    twin = (photos / "blast" / "000.png").read_bytes()
    (photos / "normal" / "twin.png").write_bytes(twin)
    (photos / "hispa" / "broken.png").write_bytes(b"no picture")
    assert main(["data", "--data-dir", str(photos)]) == 0
    text = capsys.readouterr().out
    assert "hispa/broken.png" in text
    assert "blast" in text
    assert main(["data", "--data-dir", str(photos), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "hispa/broken.png" in json.dumps(found)
    assert "normal/twin.png" in json.dumps(found)


def test_data_writes_the_synthetic_set(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(shlex.split("data --write drawn --synthetic-images 60")) == 0
    assert "60 synthetic images are in drawn" in capsys.readouterr().out
    assert len(list(here.glob("drawn/*/*.jpg"))) == 60
    assert main(shlex.split("data --write drawn --synthetic-images 60")) == 2
    assert "is not an empty folder" in capsys.readouterr().err
