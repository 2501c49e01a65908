"""What choosing the best epoch on the validation part does to its accuracy: the selection bias."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.report.analysis.seeds import runs_of, seed_of
from bench.report.analysis.selection import Selection, caption, data_note, seed_note
from bench.report.analysis.validity import Accuracy, Record, part_accuracy, pooled_accuracy
from bench.report.render.markdown import Table
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
    groups = {name: runs_of(selection, name) for name in selection.variants()}
    groups = {name: [r for r in runs if r.get("validation")] for name, runs in groups.items()}
    groups = {name: runs for name, runs in groups.items() if runs}
    found = selection.labels
    rows, raw = [], []
    for name, runs in groups.items():
        valid = [run for run in runs if selection.invalid(run) is None]
        start = [name, *found.cells(runs[0])]
        if not valid:
            rows.append([*start, *[f"invalid ({selection.invalid(runs[-1])})"] * 5])
            continue
        seeds = _by_seed(valid)
        rows.append([*start, *_row(list(seeds.values()))])
        raw += [[name, seed, *_raw_row(pair)] for seed, pair in seeds.items()]
    every = [run for runs in groups.values() for run in runs]
    text = caption(
        MEANING, data_note(every), f"{seed_note(every).capitalize()}." * bool(every), found.legend
    )
    headers = ["Variant", *found.headings(), *HEADERS]
    return Table("selection-bias", "Validation and test accuracy", text, headers, rows, (RAW, raw))


def _by_seed(runs: Sequence[Record]) -> dict[int | None, Seed]:
    """Accuracy on both parts for each seed, its folds pooled."""
    groups: dict[int | None, list[Record]] = {}
    for run in runs:
        groups.setdefault(seed_of(run), []).append(run)
    found: dict[int | None, Seed] = {}
    for seed, group in groups.items():
        valid = pooled_accuracy([(run, "validation") for run in group])
        tested = all(part_accuracy(run, "test") is not None for run in group)
        test = pooled_accuracy([(run, "test") for run in group]) if tested else None
        if valid is not None:
            found[seed] = (valid, test)
    return found


def _row(seeds: Sequence[Seed]) -> list[str]:
    if not seeds:
        return ["n/a (no predictions recorded)", "n/a", "n/a", "n/a", "n/a"]
    valid = [pair[0] for pair in seeds]
    test = [pair[1] for pair in seeds if pair[1] is not None]
    start = [_accuracies(valid), _images(valid)]
    if len(test) < len(valid):
        return [*start, "n/a (no test part)", "n/a", "n/a (no test part)"]
    return [*start, _accuracies(test), _images(test), _difference(valid, test)]


def _accuracies(found: Sequence[Accuracy]) -> str:
    """``95.7 [79.0–99.2]`` of one seed, ``95.7 (94.0–97.1)`` of several: mean and range."""
    shares = [100 * one.share for one in found]
    text = f"{statistics.fmean(shares):.1f}"
    one = found[0]
    if len(found) > 1:
        text += f" ({min(shares):.1f}–{max(shares):.1f})"
    elif one.low is not None and one.high is not None:
        text += f" [{100 * one.low:.1f}–{100 * one.high:.1f}]"
    reasons = [accuracy.undertrained for accuracy in found if accuracy.undertrained]
    return f"undertrained ({text}: {reasons[0]})" if reasons else text


def _images(found: Sequence[Accuracy]) -> str:
    totals = sorted({one.total or 0 for one in found})
    return "–".join(map(str, dict.fromkeys((totals[0], totals[-1]))))


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


def _raw_row(pair: Seed) -> list[Any]:
    valid, test = pair
    if test is None:
        return [valid.share, valid.total, None, None, None]
    return [valid.share, valid.total, test.share, test.total, valid.share - test.share]
