"""Copies of images in the data, and what those in two parts did to the accuracy."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product

from bench.records.schema import lookup
from bench.report.analysis.seeds import fold_of, runs_of, seed_of
from bench.report.analysis.selection import Selection, caption, data_note
from bench.report.analysis.validity import Accuracy, Record, part_accuracy
from bench.report.analysis.values import percent_with_interval
from bench.report.chapters.models import seed_text
from bench.report.render.markdown import Table, attributes, one_line

# An evaluated part, where its images may have copies, and how a record names those that do.
PAIRS = (
    ("validation", "training", "valid_with_twin"),
    ("test", "training", "test_with_twin"),
    ("test", "validation", "test_with_twin_in_valid"),
)
NEAR = "near, exact ones included"
COPIES = (
    "Data", "Duplicates", "Found by", "Groups", "Files", "Redundant files",
    "Kept in one part (--dedup group)",
)  # fmt: skip


def copies_table(selection: Selection) -> Table:
    """Exact and near copies in each set of data, and whether they were kept in one part."""
    # A dictionary: equal rows of several runs are one row.
    rows: dict[tuple[str, ...], None] = {}
    for record in selection.records:
        data = record.get("data")
        if not data:
            continue
        name, copies = str(data.get("fingerprint"))[:12], data.get("copies")
        if copies is None:
            rows[name, "n/a (copies were not looked for)", *["n/a"] * 5] = None
            continue
        together = "yes" if copies.get("dedup") == "group" else "no (--dedup none)"
        method = one_line(f"{copies.get('method')}, at most {copies.get('threshold_bits')} bits")
        for key, kind, how in (("exact", "exact", "same content"), ("near", NEAR, method)):
            counts = copies.get(key) or {}
            sizes = (str(counts.get(k, "n/a")) for k in ("groups", "files", "redundant_files"))
            rows[name, kind, how, *sizes, together] = None
    text = caption(
        selection.data_note(),
        "Copies are looked for over the whole data before it is split. Redundant files: all but "
        "one of each group.",
    )
    return Table("copies", "Copies in the data", text, COPIES, [list(row) for row in rows])


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
    labels = selection.labels
    runs = [
        run
        for name in selection.variants()
        for run in runs_of(selection, name)
        if selection.invalid(run) is None and run.get("validation")
    ]
    rows, raw = [], []
    for run, (part, other, key) in product(runs, PAIRS):
        accuracy = part_accuracy(run, part)
        if accuracy is None:
            continue
        copied = _copied(run, part, other, key)
        without = None if copied is None else part_accuracy(run, part, without=copied)
        name, fold = lookup(run, "variant", "name") or "unnamed", fold_of(run)
        rows.append([
            *map(one_line, [name, *labels.cells(run)]),
            seed_text(run),
            part,
            other,
            str(accuracy.total),
            *_cells(other, copied, accuracy, without),
        ])  # fmt: skip
        raw.append([
            name, seed_of(run), fold and fold[0], part, other, accuracy.total,
            None if copied is None else len(copied), accuracy.share,
            *attributes(without, ["share", "total"]),
        ])  # fmt: skip
    text = caption(
        "A copy in the training part makes an image easier than an unseen one. A copy in the "
        "validation part helped to choose the best epoch. Accuracy with its 95 % Wilson interval.",
        data_note(runs),
        labels.legend,
    )
    headers = ["Variant", *labels.headings(), *HEADERS]
    return Table("leaks", "Images with a copy in another part", text, headers, rows, (RAW, raw))


def _copied(run: Record, part: str, other: str, key: str) -> set[str] | None:
    """Names of a part's evaluated images with a copy in another; None where none looked."""
    copies = lookup(run, "data", "copies")
    if copies is None:
        return None
    images, others = (set(lookup(run, name, "ids") or []) for name in (part, other))
    if key in copies or other == "training":
        return set(copies.get(key) or []) & images
    # Older records have the groups, and name the images of both parts.
    groups = [set(group) for group in copies.get("groups") or []]
    return {name for group in groups if group & others for name in group & images}


def _cells(
    other: str, copied: Collection[str] | None, accuracy: Accuracy, without: Accuracy | None
) -> list[str]:
    """Return how many images have a copy, the accuracy, and that without them."""
    if copied is None:
        reason = "n/a (copies were not looked for)"
        return [reason, _text(accuracy), reason]
    if not copied:
        text = f"the same: no image has a copy in {other}"
    elif without is None:
        text = f"n/a (every image has a copy in {other})"
    else:
        text = _text(without, f", {without.count()}")
    return [str(len(copied)), _text(accuracy), text]


def _text(accuracy: Accuracy, count: str = "") -> str:
    text = percent_with_interval(accuracy.share, accuracy.low, accuracy.high) + count
    return f"undertrained ({text}: {accuracy.undertrained})" if accuracy.undertrained else text
