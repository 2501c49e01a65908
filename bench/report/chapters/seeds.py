"""The table of seeds and folds: how far a variant's figures spread from run to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.records.schema import lookup
from bench.report.analysis.seeds import (
    SeedAccuracy,
    Summary,
    accuracy_of,
    fold_of,
    macro_f1_of,
    runs_of,
    seed_of,
    summarise,
)
from bench.report.analysis.selection import Selection, caption, data_note, distinct, training_note
from bench.report.analysis.validity import Record
from bench.report.analysis.values import significant
from bench.report.render.markdown import Table, attributes
from bench.system.digits import counted

HEADERS = (
    "Runs",
    "Accuracy (%), mean (range)",
    "95 % interval",
    "Macro-F1, mean (range)",
    "95 % interval (macro-F1)",
    "Training images/s, mean (range)",
)
RAW = (
    "variant", "part", "seeds", "runs", "images", "accuracy_mean", "accuracy_least",
    "accuracy_most", "accuracy_low", "accuracy_high", "macro_f1_mean", "macro_f1_low",
    "macro_f1_high", "train_images_per_s_mean",
)  # fmt: skip
INTERVALS = (
    "Intervals are for new seeds and new images of this data set: of one seed (folds pooled) "
    "Wilson's, of several with the variance of the seeds and of the images (Obuchowski and "
    "Rockette, Hillis' degrees of freedom); macro-F1 by the delete-one jackknife. Accuracy and "
    "macro-F1 are those of the part that models are judged on."
)


def spread_table(selection: Selection) -> Table:
    """Mean and range over seeds and folds for each variant; one seed is called so."""
    labels = selection.labels
    rows, raw, every = [], [], []
    for variant in selection.variants():
        runs = runs_of(selection, variant)
        if runs:
            cells, values = _row(selection, variant, runs)
            rows.append([variant, *labels.cells(runs[0]), *cells])
            raw.append([variant, *values])
            every += runs
    text = caption(data_note(every), INTERVALS, training_note(every), labels.legend)
    headers = ["Variant", *labels.headings(), *HEADERS]
    return Table("seeds", "Seeds and folds", text, headers, rows, (RAW, raw))


def _row(selection: Selection, variant: str, runs: Sequence[Record]) -> tuple[list[str], list[Any]]:
    """Return the cells of :data:`HEADERS` and the values of :data:`RAW` behind the variant."""
    valid = [run for run in runs if selection.invalid(run) is None]
    accuracy, f1 = accuracy_of(selection, variant), macro_f1_of(valid)
    speeds = [lookup(run, "training", "images_per_s") for run in valid]
    speed = summarise([value for value in speeds if value is not None])
    values = [
        *attributes(accuracy, ["part"]),
        len(distinct(map(seed_of, valid))),
        len(valid),
        *attributes(accuracy, ["images"]),
        *attributes(accuracy and accuracy.shares, ["mean", "least", "most"]),
        *attributes(accuracy, ["low", "high"]),
        *attributes(f1, ["mean", "low", "high"]),
        speed and speed.mean,
    ]
    count, invalid = _counted(runs), len(runs) - len(valid)
    if not valid:
        return [count, *[f"invalid ({selection.invalid(runs[-1])})"] * 5], values
    cells = [
        count + (f"; {invalid} invalid, left out" if invalid else ""),
        *_accuracy(accuracy),
        _range(f1, "{:.3f}".format),
        "n/a" if f1 is None or f1.low is None else f"{f1.low:.3f}–{f1.high:.3f}",
        _range(speed, significant),
    ]
    return cells, values


def _accuracy(accuracy: SeedAccuracy | None) -> tuple[str, str]:
    """Return mean with range, and interval."""
    if accuracy is None:
        return "n/a (accuracy not recorded)", "n/a"
    text = _range(accuracy.shares, lambda share: f"{100 * share:.1f}")
    if accuracy.undertrained:
        return f"undertrained ({text}: {accuracy.undertrained})", "n/a"
    folds = f", {accuracy.folds}" if accuracy.folds else ""
    interval = "n/a (single predictions not recorded)"
    if accuracy.low is not None and accuracy.high is not None:
        interval = f"{100 * accuracy.low:.1f}–{100 * accuracy.high:.1f}"
    return f"{text}, {accuracy.count()}, {accuracy.part}{folds}", interval


def _counted(runs: Sequence[Record]) -> str:
    """``3 seeds (0, 1, 2)``, ``1 seed (0), 5 folds``."""
    seeds, folds = distinct(map(seed_of, runs)), distinct(map(fold_of, runs))
    text = f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    return f"{text}, {len(folds)} of {folds[0][1]} folds" if folds else text


def _range(summary: Summary | None, number: Callable[[float], str]) -> str:
    if summary is None:
        return "n/a (not recorded)"
    text = number(summary.mean)
    if len(summary.values) == 1:
        return text
    return f"{text} ({number(summary.least)}–{number(summary.most)})"
