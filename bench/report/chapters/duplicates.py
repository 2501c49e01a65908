"""Copies of images in the data, and what those in two parts did to the accuracy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bench.report.analysis.seeds import fold_of, runs_of, seed_of
from bench.report.analysis.selection import Selection, caption, data_note
from bench.report.analysis.validity import Accuracy, Record, part_accuracy
from bench.report.render.markdown import Table, one_line

# An evaluated part, where its images may have copies, and how a record names those that do.
PAIRS = (
    ("validation", "training", "valid_with_twin"),
    ("test", "training", "test_with_twin"),
    ("test", "validation", "test_with_twin_in_valid"),
)
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
    headers = ["Data", "Duplicates", "Found by", "Groups", "Files", "Redundant files"]
    headers.append("Kept in one part (--dedup group)")
    return Table("copies", "Copies in the data", text, headers, [list(row) for row in rows])


HEADERS = (
    "Seed",
    "Part",
    "Copies in",
    "Images",
    "With a copy there",
    "Accuracy (%), all images",
    "Accuracy (%), without them",
)
RAW = (
    "variant", "seed", "fold", "part", "copies_in", "images", "with_twin", "accuracy",
    "accuracy_without", "images_without",
)  # fmt: skip


def leak_table(selection: Selection) -> Table:
    """How many evaluated images had a copy in a part before, and the accuracy without them."""
    runs = [run for name in selection.variants() for run in runs_of(selection, name)]
    runs = [run for run in runs if selection.invalid(run) is None and run.get("validation")]
    found = selection.labels
    rows, raw = [], []
    for run in runs:
        for part, other, key in PAIRS:
            accuracy = part_accuracy(run, part)
            if accuracy is None:
                continue
            twins = _twins(run, part, other, key)
            start = [(run.get("variant") or {}).get("name") or "unnamed", *found.cells(run)]
            rows.append([*map(one_line, start), *_row(run, part, other, twins, accuracy)])
            raw.append([start[0], *_raw_row(run, part, other, twins, accuracy)])
    text = caption(
        "A copy in the training part makes an image easier than an unseen one. A copy in the "
        "validation part helped to choose the best epoch. Accuracy with its 95 % Wilson interval.",
        data_note(runs),
        found.legend,
    )
    headers = ["Variant", *found.headings(), *HEADERS]
    return Table("leaks", "Images with a copy in another part", text, headers, rows, (RAW, raw))


def _twins(run: Record, part: str, other: str, key: str) -> set[str] | None:
    """Names of a part's evaluated images with a copy in another; None where none looked."""
    copies = (run.get("data") or {}).get("copies")
    if copies is None:
        return None
    own, theirs = (set((run.get(name) or {}).get("ids") or []) for name in (part, other))
    if key in copies or other == "training":
        return set(copies.get(key) or []) & own
    # Older records have the groups, and name the images of both parts.
    groups = [set(group) for group in copies.get("groups") or []]
    return {name for group in groups if group & theirs for name in group & own}


def _without(run: Record, part: str, twins: Collection[str]) -> Accuracy | None:
    return part_accuracy(run, part, without=twins)


def _row(
    run: Record, part: str, other: str, twins: Collection[str] | None, accuracy: Accuracy
) -> list[str]:
    fold, seed = fold_of(run), seed_of(run)
    place = "n/a" if seed is None else str(seed)
    cells = [f"{place}, fold {fold[0]} of {fold[1]}" if fold else place, part, other]
    cells.append(str(accuracy.total))
    if twins is None:
        absent = "n/a (copies were not looked for)"
        return [*cells, absent, _text(accuracy), absent]
    if not twins:
        return [*cells, "0", _text(accuracy), f"the same: no image has a copy in {other}"]
    kept = _without(run, part, twins)
    without = f"n/a (every image has a copy in {other})" if kept is None else _text(kept, True)
    return [*cells, str(len(twins)), _text(accuracy), without]


def _text(found: Accuracy, with_total: bool = False) -> str:
    text = f"{100 * found.share:.1f}"
    if found.low is not None and found.high is not None:
        text += f" [{100 * found.low:.1f}–{100 * found.high:.1f}]"
    if with_total:
        text += f", {found.count()}"
    return f"undertrained ({text}: {found.undertrained})" if found.undertrained else text


def _raw_row(
    run: Record, part: str, other: str, twins: Collection[str] | None, accuracy: Accuracy
) -> list[Any]:
    fold = fold_of(run)
    kept = None if twins is None else _without(run, part, twins)
    return [
        seed_of(run), fold[0] if fold else None, part, other, accuracy.total,
        None if twins is None else len(twins), accuracy.share,
        kept.share if kept else None, kept.total if kept else None,
    ]  # fmt: skip
