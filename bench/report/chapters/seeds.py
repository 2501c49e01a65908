"""The table of seeds and folds: how far a variant's figures spread from run to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.report.analysis.seeds import (
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
from bench.report.render.markdown import Table

HEADERS = (
    "Runs",
    "Accuracy (%), mean (range)",
    "95 % interval",
    "Macro-F1, mean (range)",
    "95 % interval (macro-F1)",
    "Training images/s, mean (range)",
)
INTERVALS = (
    "Intervals are for new seeds and new images of this data set: of one seed (folds pooled) "
    "Wilson's, of several with the variance of the seeds and of the images (Obuchowski and "
    "Rockette, Hillis' degrees of freedom); macro-F1 by the delete-one jackknife. Accuracy and "
    "macro-F1 are those of the part that models are judged on."
)


def spread_table(selection: Selection) -> Table:
    """Mean and range over seeds and folds for each variant; one seed is called so."""
    shown = [name for name in selection.variants() if runs_of(selection, name)]
    found = selection.labels
    rows, raw = [], []
    for name in shown:
        runs = runs_of(selection, name)
        rows.append([name, *found.cells(runs[0]), *_row(selection, name, runs)])
        raw.append([name, *_raw_row(selection, name, runs)])
    every = [run for name in shown for run in runs_of(selection, name)]
    text = caption(data_note(every), INTERVALS, training_note(every))
    headers = ["Variant", *found.headings(), *HEADERS]
    return Table("seeds", "Seeds and folds", caption(text, found.legend), headers, rows, (RAW, raw))


def _row(selection: Selection, variant: str, runs: Sequence[Record]) -> list[str]:
    valid = [run for run in runs if selection.invalid(run) is None]
    if not valid:
        return [_counted(runs), *[f"invalid ({selection.invalid(runs[-1])})"] * 5]
    accuracy = accuracy_of(selection, variant)
    if accuracy is None:
        shares, interval = "n/a (accuracy not recorded)", "n/a"
    elif accuracy.undertrained:
        shares = f"undertrained ({_range(accuracy.shares, _percent)}: {accuracy.undertrained})"
        interval = "n/a"
    else:
        folds = f", {accuracy.folds}" if accuracy.folds else ""
        shares = f"{_range(accuracy.shares, _percent)}, {accuracy.count()}, {accuracy.part}{folds}"
        interval = "n/a (single predictions not recorded)"
        if accuracy.low is not None and accuracy.high is not None:
            interval = f"{100 * accuracy.low:.1f}–{100 * accuracy.high:.1f}"
    f1, speed = macro_f1_of(valid), summarise(_numbers(valid, _speed))
    score = _range(None if f1 is None else summarise(f1.values), "{:.3f}".format)
    bounds = "n/a" if f1 is None or f1.low is None else f"{f1.low:.3f}–{f1.high:.3f}"
    broken = len(runs) - len(valid)
    count = _counted(runs) + (f"; {broken} invalid, left out" if broken else "")
    return [count, shares, interval, score, bounds, _range(speed, significant)]


def _counted(runs: Sequence[Record]) -> str:
    """``3 seeds (0, 1, 2)``, ``1 seed (0), 5 folds``."""
    seeds = distinct(map(seed_of, runs))
    folds = distinct(map(fold_of, runs))
    text = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} ({', '.join(map(str, seeds))})"
    return f"{text}, {len(folds)} of {folds[0][1]} folds" if folds else text


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _range(found: Summary | None, text: Callable[[float], str]) -> str:
    if found is None:
        return "n/a (not recorded)"
    if len(found.values) == 1:
        return text(found.mean)
    return f"{text(found.mean)} ({text(found.least)}–{text(found.most)})"


def _numbers(runs: Sequence[Record], key: Callable[[Record], float | None]) -> list[float]:
    return [value for run in runs if (value := key(run)) is not None]


def _speed(record: Record) -> float | None:
    return (record.get("training") or {}).get("images_per_s")


RAW = (
    "variant", "part", "seeds", "runs", "images", "accuracy_mean", "accuracy_least",
    "accuracy_most", "accuracy_low", "accuracy_high", "macro_f1_mean", "macro_f1_low",
    "macro_f1_high", "train_images_per_s_mean",
)  # fmt: skip


def _raw_row(selection: Selection, variant: str, runs: Sequence[Record]) -> list[Any]:
    found = accuracy_of(selection, variant)
    valid = [run for run in runs if selection.invalid(run) is None]
    f1, speed = macro_f1_of(valid) if valid else None, summarise(_numbers(valid, _speed))
    scores = [f1.mean, f1.low, f1.high] if f1 else [None] * 3
    means = [*scores, speed and speed.mean]
    seeds = len(distinct(map(seed_of, valid)))
    if found is None:
        return [None, seeds, len(valid), *[None] * 6, *means]
    shares = found.shares
    accuracy = [shares.mean, shares.least, shares.most, found.low, found.high]
    return [found.part, seeds, len(valid), found.images, *accuracy, *means]
