"""What choosing the best epoch on the validation part does to its accuracy: the selection bias."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.report.analysis.seeds import by_seed, runs_of
from bench.report.analysis.selection import Selection, caption, data_note, distinct, seed_note
from bench.report.analysis.validity import Accuracy, Record, part_accuracy, pooled_accuracy
from bench.report.analysis.values import percent_with_interval
from bench.report.render.markdown import Table, attributes
from bench.stats.accuracy import difference_of_shares
from bench.system.digits import points

MEANING = (
    "The best epoch is chosen on the validation part, so its accuracy flatters; the test part is "
    "touched once, at the end, by the chosen weights. Comparisons, ranks and claims use the test "
    "part; metrics.json keeps the validation accuracy. Difference: validation minus test, with "
    "Newcombe's 95 % interval for two sets of images (of the effective number of each); an "
    "interval with 0 in it shows no bias that so few images could tell from chance. Of several "
    "seeds: means, and the range of the differences."
)
HEADERS = (
    "Validation accuracy (%)",
    "Images, validation",
    "Test accuracy (%)",
    "Images, test",
    "Difference (points)",
)
RAW = (
    "variant", "seed", "valid_accuracy", "valid_images", "test_accuracy", "test_images",
    "difference",
)  # fmt: skip
Seed = tuple[Accuracy, Accuracy | None]


def bias_table(selection: Selection) -> Table:
    """Validation accuracy, test accuracy and their difference for each trained variant."""
    labels = selection.labels
    rows, raw, every = [], [], []
    for variant in selection.variants():
        runs = [run for run in runs_of(selection, variant) if run.get("validation")]
        if not runs:
            continue
        every += runs
        seeds = _by_seed([run for run in runs if selection.invalid(run) is None])
        if all(map(selection.invalid, runs)):
            cells = [f"invalid ({selection.invalid(runs[-1])})"] * 5
        else:
            cells = _row(list(seeds.values()))
        rows.append([variant, *labels.cells(runs[0]), *cells])
        raw += [[variant, seed, *_raw_row(*pair)] for seed, pair in seeds.items()]
    note = f"{seed_note(every).capitalize()}." if every else ""
    text = caption(MEANING, data_note(every), note, labels.legend)
    headers = ["Variant", *labels.headings(), *HEADERS]
    return Table("selection-bias", "Validation and test accuracy", text, headers, rows, (RAW, raw))


def _by_seed(runs: Sequence[Record]) -> dict[int | None, Seed]:
    """Accuracy on both parts for each seed, its folds pooled."""
    seeds: dict[int | None, Seed] = {}
    for seed, group in by_seed(runs).items():
        valid = pooled_accuracy([(run, "validation") for run in group])
        tested = all(part_accuracy(run, "test") is not None for run in group)
        test = pooled_accuracy([(run, "test") for run in group]) if tested else None
        if valid is not None:
            seeds[seed] = (valid, test)
    return seeds


def _row(seeds: Sequence[Seed]) -> list[str]:
    if not seeds:
        return ["n/a (no predictions recorded)", "n/a", "n/a", "n/a", "n/a"]
    valid = [accuracy for accuracy, _ in seeds]
    test = [accuracy for _, accuracy in seeds if accuracy is not None]
    cells = [_accuracies(valid), _images(valid)]
    if len(test) < len(valid):
        return [*cells, "n/a (no test part)", "n/a", "n/a (no test part)"]
    return [*cells, _accuracies(test), _images(test), _difference(valid, test)]


def _accuracies(accuracies: Sequence[Accuracy]) -> str:
    """``95.7 [79.0–99.2]`` of one seed, ``95.7 (94.0–97.1)`` of several: mean and range."""
    shares = [accuracy.share for accuracy in accuracies]
    if len(shares) > 1:
        text = f"{100 * statistics.fmean(shares):.1f}"
        text += f" ({100 * min(shares):.1f}–{100 * max(shares):.1f})"
    else:
        text = percent_with_interval(shares[0], accuracies[0].low, accuracies[0].high)
    reasons = [accuracy.undertrained for accuracy in accuracies if accuracy.undertrained]
    return f"undertrained ({text}: {reasons[0]})" if reasons else text


def _images(accuracies: Sequence[Accuracy]) -> str:
    totals = [accuracy.total or 0 for accuracy in accuracies]
    return "–".join(map(str, distinct([min(totals), max(totals)])))


def _difference(valid: Sequence[Accuracy], test: Sequence[Accuracy]) -> str:
    gaps = [100 * (a.share - b.share) for a, b in zip(valid, test, strict=True)]
    text = points(statistics.fmean(gaps))
    if len(gaps) > 1:
        return f"{text} ({points(min(gaps))} to {points(max(gaps))})"
    low, high = newcombe(valid[0], test[0])
    return f"{text} [{points(100 * low)} to {points(100 * high)}]"


def newcombe(one: Accuracy, two: Accuracy) -> tuple[float, float]:
    """95 % interval of a difference of two accuracies on different images, as fractions −1..1.

    Of the effective number of images of each, as the interval of each alone.
    """
    sizes = [a.effective or a.total or 0 for a in (one, two)]
    counts = [(a.share * size, size) for a, size in zip((one, two), sizes, strict=True)]
    return difference_of_shares(*counts)


def _raw_row(valid: Accuracy, test: Accuracy | None) -> list[Any]:
    difference = test and valid.share - test.share
    return [valid.share, valid.total, *attributes(test, ["share", "total"]), difference]
