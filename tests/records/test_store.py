from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.records import (
    align_fingerprints,
    latest_sweep,
    load_records,
    new_run_folder,
    tidy,
    to_frame,
    write_json,
    write_record,
)
from bench.records.schema import KEYS, SCHEMA, SCHEMA_VERSION, problem_of
from bench.system.files import Damaged, read_sealed, write_sealed

NOON = datetime(2026, 3, 4, 12, 5)


def record(**changes) -> dict:
    base = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": "complete",
        "error": None,
        "sweep": {"id": "s1", "command": "c", "preset": None},
        "started": "2026-03-04T12:05:00+00:00",
        "finished": "2026-03-04T12:06:00+00:00",
        "variant": {"name": "ResNet18"},
        "config": {"seed": 0},
        "config_sources": {},
        "data": {"synthetic": True},
        "environment": {},
        "counts": {
            "parameters": 5,
            "size_mb": 0.1,
            "macs": [{"image_size": 64, "gmacs": 1.0}, {"image_size": 224, "gmacs": 2.0}],
        },
        "training": {"best_macro_f1": 0.7, "seconds": 3.0},
        "metrics": {"valid_acc": 0.8, "valid_loss": 0.5, "best_epoch": 2, "fps": 9.0},
        "timing": [],
        "timing_error": None,
        "session": None,
        "validation": None,
        "test": None,
        "warnings": [],
    }
    return {**base, **changes}


def sealed(content: dict) -> dict:
    """As it is read from a file of an earlier version."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return {**content, "checksum": checksum}


def keep(root: Path, name: str, content: dict) -> None:
    (root / name).mkdir(parents=True)
    write_record(root / name, content)


def test_folders_carry_date_and_minute_and_never_collide(tmp_path: Path) -> None:
    names = [
        new_run_folder(tmp_path / "results", "ResNet18", NOON, record()).name for _ in range(3)
    ]
    assert names == [f"ResNet18_04_03_2026_1205{end}" for end in ("", "_2", "_3")]


def test_a_file_in_place_of_the_results_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(OSError, match="results"):
        new_run_folder(tmp_path / "results", "ResNet18", NOON, record())


def test_json_is_whole_and_finite(tmp_path: Path) -> None:
    value = {"a": math.nan, "b": [1.5, math.inf], 3: ("ü", None)}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf8")
    assert json.loads(text) == {"a": None, "b": [1.5, None], "3": ["ü", None]}
    assert not list(tmp_path.glob("*.part"))


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_records_are_loaded_oldest_first_with_their_folder(tmp_path: Path) -> None:
    keep(tmp_path, "a", record(started="2026-03-04T12:07:00+00:00"))
    keep(tmp_path, "b", record(started="2026-03-04T12:05:00+00:00"))
    records, problems = load_records(tmp_path)
    assert [r["folder"] for r in records] == ["b", "a"]
    assert problems == []
    assert [r["folder"] for r in load_records(tmp_path, ["a"])[0]] == ["a"]
    assert [r["folder"] for r in load_records(tmp_path, [str(tmp_path / "b")])[0]] == ["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": ', "cannot be read"),
        ("[]", "is no record"),
        ('{"schema": "other"}', "is no record"),
        (json.dumps(record(schema_version=99)), "schema version 99, this program reads 2 and 3"),
        (json.dumps(record()), "is damaged (its checksum is missing)"),
        (json.dumps(sealed(record()) | {"started": ""}), "is damaged (its checksum is wrong)"),
        (json.dumps(sealed(record(status="odd"))), "status 'odd'"),
        (json.dumps(sealed(record(variant=None))), "NoneType as 'variant'"),
        (
            json.dumps(sealed({k: v for k, v in record().items() if k != "timing"})),
            "lacks 'timing'",
        ),
    ],
)
def test_a_bad_record_among_good_ones_is_named_and_left_out(text, message, tmp_path) -> None:
    keep(tmp_path, "good", record())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text(text)
    records, (problem,) = load_records(tmp_path)
    assert [r["folder"] for r in records] == ["good"]
    assert str(tmp_path / "bad" / "run.json") in problem
    assert message in problem


def test_the_schema_covers_the_record() -> None:
    assert problem_of(sealed(record()), b"") is None
    assert problem_of(record(schema_version=2), b"") is None
    assert set(KEYS) == set(record())


@pytest.mark.parametrize("content", [{}, record(), {"a": {"checksum": "text-0"}, "ü": [1, None]}])
def test_the_checksum_is_that_of_the_text_before_it(tmp_path: Path, content: dict) -> None:
    path = tmp_path / "x.json"
    write_sealed(path, content)
    assert read_sealed(path) == content
    data = path.read_bytes()
    assert list(json.loads(data)) == [*content, "checksum"]
    before = data[: data.rindex(b'"checksum"')].rstrip(b"\n ,")
    kept = hashlib.blake2b(before, digest_size=16).hexdigest()
    assert json.loads(data)["checksum"] == f"text-{kept}"
    # Another text is damaged, also where it says the same.
    for other in (data + b" ", data.replace(b"{", b"{ ", 1), data.replace(b"\n", b"\r\n")):
        path.write_bytes(other)
        with pytest.raises(Damaged, match="its checksum is wrong"):
            read_sealed(path)
    path.write_text(json.dumps(content))
    with pytest.raises(Damaged, match="its checksum is missing"):
        read_sealed(path)


def test_an_earlier_checksum_holds_whatever_the_order_and_the_spaces(tmp_path: Path) -> None:
    path, content = tmp_path / "x.json", sealed(record())
    for text in (json.dumps(content), json.dumps(content, indent=3, sort_keys=True)):
        path.write_text(text)
        assert read_sealed(path) == record()
    path.write_text(json.dumps({**content, "started": "x"}))
    with pytest.raises(Damaged, match="its checksum is wrong"):
        read_sealed(path)
    # It is nothing that looks like the other kind.
    path.write_text(json.dumps({**record(), "checksum": "text-" + "0" * 32}))
    with pytest.raises(Damaged, match="its checksum is wrong"):
        read_sealed(path)


def test_a_folder_that_is_not_yet_whole_is_no_run(tmp_path: Path) -> None:
    keep(tmp_path, ".new-abc", record())
    keep(tmp_path, "a", record())
    assert [one["folder"] for one in load_records(tmp_path)[0]] == ["a"]


def test_a_folder_is_never_there_without_its_record(tmp_path: Path, monkeypatch) -> None:
    folder = new_run_folder(tmp_path, "ResNet18", NOON, record())
    assert load_records(tmp_path)[0][0]["folder"] == folder.name

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.records.store.write_record", fail)
    with pytest.raises(OSError, match="No space left"):
        new_run_folder(tmp_path, "ResNet18", NOON, record())
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_what_a_killed_sweep_has_half_made_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine, other = record(), record(sweep={"id": "another"})
    sweep = mine["sweep"]["id"]
    keep(tmp_path, "a", mine)
    keep(tmp_path, "b", other)
    for folder in ("a", "b"):
        for name in ("last.pt.part", ".run.json.7.part", "last.pt"):
            (tmp_path / folder / name).touch()
    for name in (f".new-{sweep}-x1", ".new-another-x2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".run.json.7.part").touch()
    for name in (f".sweep-{sweep}.json.7.part", ".sweep-another.json.7.part"):
        (tmp_path / name).touch()
    tidy(tmp_path, sweep)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {
        "a", "a/run.json",  # it is complete: nothing goes on from it
        "b", "b/run.json", "b/last.pt", "b/last.pt.part", "b/.run.json.7.part",
        ".new-another-x2", ".new-another-x2/.run.json.7.part", ".sweep-another.json.7.part",
    }  # fmt: skip
    tidy(tmp_path / "none", sweep)


def test_missing_folders_and_runs(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no results folder"):
        load_records(tmp_path / "none")
    with pytest.raises(BenchError, match="no run 'x'"):
        load_records(tmp_path, ["x"])


def test_the_latest_sweep_is_the_one_that_started_last() -> None:
    early = {"id": "zz"}, {"id": "aa"}
    records = [
        record(sweep=early[0], started="2026-03-04T12:00:00+00:00"),
        record(sweep=early[1], started="2026-03-04T12:01:00+00:00"),
        record(sweep=early[0], started="2026-03-04T12:09:00+00:00"),
    ]
    assert latest_sweep(records) == "aa"
    assert latest_sweep([]) is None


def test_a_sweep_that_trained_comes_before_a_later_one_that_was_only_timed() -> None:
    trained = record(sweep={"id": "run"}, started="2026-03-04T12:00:00+00:00")
    failed = record(
        sweep={"id": "bad"}, started="2026-03-04T12:01:00+00:00", status="failed",
        error={"type": "DivergedError", "message": ""}, training=None,
    )  # fmt: skip
    timed = record(sweep={"id": "time"}, started="2026-03-04T12:02:00+00:00", training=None)
    untimed = record(
        sweep={"id": "time"}, started="2026-03-04T12:02:00+00:00", status="failed",
        error={"type": "TimingError", "message": ""}, training=None,
    )  # fmt: skip
    assert latest_sweep([trained, timed, untimed]) == "run"
    assert latest_sweep([trained, failed, timed]) == "bad"
    assert latest_sweep([timed]) == "time"


def test_the_frame_has_a_row_for_each_run(tmp_path: Path) -> None:
    failed = record(status="failed", metrics=None, counts=None, training=None)
    whole = record(
        folder="a",
        config={"seed": 4, "image_size": 64},
        environment={"machine": "1a2b3c4d", "device_name": "EPYC"},
        data={"synthetic": True, "fingerprint": "beef", "fold": {"number": 2, "of": 5}},
        test={"accuracy": 0.9, "macro_f1": 0.8},
    )
    frame = to_frame([whole, failed])
    assert list(frame["status"]) == ["complete", "failed"]
    assert frame.loc[0, "gmacs"] == 2.0
    assert frame.loc[0, "images_per_s"] == 9.0
    assert frame["valid_acc"].isna().tolist() == [False, True]
    row = frame.loc[0]
    assert (row["seed"], row["fold"], row["image_size"]) == (4, 2, 64)
    assert (row["machine"], row["device"], row["fingerprint"]) == ("1a2b3c4d", "EPYC", "beef")
    assert (row["test_acc"], row["test_macro_f1"]) == (0.9, 0.8)
    assert frame["test_acc"].isna().tolist() == [False, True]


def test_equal_data_of_both_fingerprints_are_named_alike() -> None:
    def of(fingerprint: str, listing: str | None = None) -> dict:
        newer = {"fingerprint_version": 2, "listing_fingerprint": listing} if listing else {}
        return record(data={"fingerprint": fingerprint, **newer})

    def names(records: list[dict]) -> list:
        return [one["data"] and one["data"]["fingerprint"] for one in records]

    same = [of("old"), of("new", "old"), of("new", "old"), of("far", "else"), record(data=None)]
    (line,) = align_fingerprints(same)
    assert names(same) == ["old", "old", "old", "far", None]
    assert line.startswith("data old: older records know paths, sizes and labels")
    # What lies beside a record goes with it, where it is of the same images.
    beside = [
        of("old"),
        *(of("new", "old") | {"quantised": {"fingerprint": f}} for f in ("new", "x")),
    ]
    align_fingerprints(beside)
    assert [one["quantised"]["fingerprint"] for one in beside[1:]] == ["old", "x"]
    apart = [of("old"), of("new", "old"), of("newer", "old")]
    (line,) = align_fingerprints(apart)
    assert names(apart) == ["old", "new", "newer"]
    assert "may be any of 2 sets of other contents: kept apart" in line
    newer = [of("new", "old"), of("newer", "old")]
    assert align_fingerprints(newer) == []
    assert names(newer) == ["new", "newer"]
