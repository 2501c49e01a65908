"""Copies of images in the data, and what those on both sides of the split did to the accuracy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bench.report.gates import Accuracy, Record, part_accuracy
from bench.report.markdown import Table, one_line
from bench.report.seeds import fold_of, runs_of, seed_of
from bench.report.selection import Selection, caption, data_note

PARTS = (("validation", "valid_with_twin"), ("test", "test_with_twin"))
KINDS = (("exact", "exact"), ("near", "near, exact ones included"))


def copies_table(selection: Selection) -> Table:
    """Exact and near copies in each set of data, and whether they were kept in one part."""
    rows: dict[tuple[str, ...], None] = {}
    for record in selection.records:
        data = record.get("data") or {}
        name = str(data.get("fingerprint"))[:12]
        copies = data.get("copies")
        if not data:
            continue
        if copies is None:
            rows[(name, "n/a (copies were not looked for)", *["n/a"] * 5)] = None
            continue
        kept = "yes" if copies.get("dedup") == "group" else "no (--dedup none)"
        method = one_line(f"{copies.get('method')}, at most {copies.get('threshold_bits')} bits")
        for key, kind in KINDS:
            found = copies.get(key) or {}
            counts = (str(found.get(k, "n/a")) for k in ("groups", "files", "redundant_files"))
            how = "same content" if key == "exact" else method
            rows[(name, kind, how, *counts, kept)] = None
    text = caption(
        selection.data_note(),
        "Copies are looked for over the whole data before it is split. Redundant files: all but "
        "one of each group.",
    )
    headers = ["Data", "Copies", "Found by", "Groups", "Files", "Redundant files"]
    headers.append("Kept in one part (--dedup group)")
    return Table("copies", "Copies in the data", text, headers, [list(row) for row in rows])


HEADERS = (
    "Seed",
    "Part",
    "Images",
    "With a copy in training",
    "Accuracy (%), all images",
    "Accuracy (%), without them",
)
RAW = (
    "variant", "seed", "fold", "part", "images", "with_twin", "accuracy", "accuracy_without",
    "images_without",
)  # fmt: skip


def leak_table(selection: Selection) -> Table:
    """How many evaluated images had a copy in the training part, and the accuracy without them."""
    runs = [run for name in selection.variants() for run in runs_of(selection, name)]
    runs = [run for run in runs if selection.invalid(run) is None and run.get("validation")]
    found = selection.labels
    rows, raw = [], []
    for run in runs:
        for part, key in PARTS:
            accuracy = part_accuracy(run, part)
            if accuracy is None:
                continue
            start = [(run.get("variant") or {}).get("name") or "unnamed", *found.cells(run)]
            rows.append([*map(one_line, start), *_row(run, part, key, accuracy)])
            raw.append([start[0], *_raw_row(run, part, key, accuracy)])
    text = caption(
        "A copy in the training part makes an image easier than an unseen one. Accuracy with its "
        "95 % Wilson interval.",
        data_note(runs),
        found.legend,
    )
    headers = ["Variant", *found.headings(), *HEADERS]
    return Table("leaks", "Images with a copy in training", text, headers, rows, (RAW, raw))


def _twins(run: Record, part: str, key: str) -> set[str] | None:
    """Names of a part's evaluated images with a copy in training; None where none looked."""
    copies = (run.get("data") or {}).get("copies")
    if copies is None:
        return None
    return set(copies.get(key) or []) & set((run.get(part) or {}).get("ids") or [])


def _without(run: Record, part: str, twins: Collection[str]) -> Accuracy | None:
    return part_accuracy(run, part, without=twins)


def _row(run: Record, part: str, key: str, accuracy: Accuracy) -> list[str]:
    fold, seed, twins = fold_of(run), seed_of(run), _twins(run, part, key)
    place = "n/a" if seed is None else str(seed)
    cells = [f"{place}, fold {fold[0]} of {fold[1]}" if fold else place, part]
    cells.append(str(accuracy.total))
    if twins is None:
        absent = "n/a (copies were not looked for)"
        return [*cells, absent, _text(accuracy), absent]
    if not twins:
        return [*cells, "0", _text(accuracy), "the same: no image has a copy in training"]
    kept = _without(run, part, twins)
    without = "n/a (every image has a copy in training)" if kept is None else _text(kept, True)
    return [*cells, str(len(twins)), _text(accuracy), without]


def _text(found: Accuracy, with_total: bool = False) -> str:
    text = f"{100 * found.share:.1f}"
    if found.low is not None and found.high is not None:
        text += f" [{100 * found.low:.1f}–{100 * found.high:.1f}]"
    if with_total:
        text += f", n {found.total}"
    return f"undertrained ({text}: {found.undertrained})" if found.undertrained else text


def _raw_row(run: Record, part: str, key: str, accuracy: Accuracy) -> list[Any]:
    fold, twins = fold_of(run), _twins(run, part, key)
    kept = None if twins is None else _without(run, part, twins)
    return [
        seed_of(run), fold[0] if fold else None, part, accuracy.total,
        None if twins is None else len(twins), accuracy.share,
        kept.share if kept else None, kept.total if kept else None,
    ]  # fmt: skip
