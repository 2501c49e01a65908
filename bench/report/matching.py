"""Which runs of two variants may be compared, and their accuracy on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from bench.config import flag_of, options
from bench.report.gates import Record
from bench.report.markdown import one_line
from bench.report.runsets import RunSet, has_accuracy, run_set, sweep_of
from bench.report.selection import Selection, distinct, seconds_of
from bench.report.timed import counted
from bench.stats import accuracy as tests
from bench.stats.accuracy import AccuracyDifference
from bench.stats.multiple import ALPHA, holm

# Seeds are paired, reduction belongs to the variant, and workers and pinned memory change nothing.
MAY_DIFFER = (
    "seed", "seeds", "image_size", "reduction", "num_workers", "pin_memory", "cache", "cache_limit",
)  # fmt: skip


# --- may two runs be compared? ---------------------------------------------------------------


@attrs.frozen
class Refusal:
    """Why two runs are not compared; ``data``: they saw other images or another size of them."""

    reason: str
    data: bool = False


def refusal(one: RunSet, two: RunSet) -> Refusal | None:
    """What two variants' runs differ in, apart from the variant itself."""
    first, second = one.first, two.first
    for what, key in (("data", "fingerprint"), ("config", "image_size")):
        pair = [(record.get(what) or {}).get(key) for record in (first, second)]
        if pair[0] != pair[1]:
            named = "image sizes" if key == "image_size" else "data fingerprints"
            values = f"{one.variant} {_short(pair[0])}, {two.variant} {_short(pair[1])}"
            return Refusal(f"{named} differ: {values}", data=True)
    if one.part != two.part:
        return Refusal(
            f"parts differ: {one.variant} {one.part}, {two.variant} {two.part}", data=True
        )
    theirs = dict(settings(second))
    differing = [
        f"{name} {value} and {theirs.get(name)}"
        for name, value in settings(first)
        if theirs.get(name) != value
    ]
    return Refusal(f"settings differ: {'; '.join(differing)}") if differing else None


def _short(value: Any) -> str:
    return one_line(value)[:12]


def settings(record: Record) -> list[tuple[str, str]]:
    """What the training of two runs must share: all options but seeds, paths and measuring."""
    config, training = record.get("config") or {}, record.get("training") or {}
    found = [
        # Records from before there was an option did what its default does.
        (flag_of(field.name), one_line(config.get(field.name, field.default)))
        for field in options()
        if field.metadata["section"] in ("model", "training", "data")
        and field.metadata["kind"].__name__ != "Path"
        and field.name not in MAY_DIFFER
    ]
    weights = training.get("initial_weights")
    start = "not recorded" if weights is None else "random" if weights == "random" else "pretrained"
    loader = (record.get("data") or {}).get("loader", 1)
    return [
        *found,
        ("image loader", one_line(loader)),
        ("mixed precision", one_line(training.get("amp"))),
        ("initial weights", start),
    ]


# --- accuracy --------------------------------------------------------------------------------


@attrs.frozen
class AccuracyPair:
    """Accuracy of a variant against another's, or why there is no comparison.

    Attributes:
        p_adjusted: after Holm's correction for all pairs that are looked at together.
        notes: runs that were left out, with the reason.
    """

    variant: str
    other: str
    part: str = ""
    seeds: tuple[Any, ...] = ()
    folds: int = 0
    found: AccuracyDifference | None = None
    refused: Refusal | None = None
    notes: tuple[str, ...] = ()
    p_adjusted: float | None = None

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``tie``, or ``not compared``."""
        if self.found is None or self.p_adjusted is None:
            return "not compared"
        if self.p_adjusted >= ALPHA or self.found.difference == 0:
            return "tie"
        return "better" if self.found.difference > 0 else "worse"

    def images(self) -> str:
        """``23 test images``, with the number of seeds or folds where there are several."""
        if self.found is None:
            return ""
        text = counted(self.found.images, f"{self.part} image")
        if len(self.seeds) > 1:
            text += f", {len(self.seeds)} seeds"
        return text + (f", {self.folds} folds" if self.folds > 1 else "")


def compare_sets(one: RunSet, two: RunSet, comparisons: int = 1) -> AccuracyPair:
    """Compare the runs of equal seed and fold.

    Args:
        comparisons: how many pairs are looked at together, for the smallest visible difference.
    """
    pair = AccuracyPair(one.variant, two.variant, notes=(*one.left_out, *two.left_out))
    absent = one.absent or two.absent
    if absent:
        return attrs.evolve(pair, refused=Refusal(absent))
    refused = refusal(one, two)
    keys = [key for key in one.runs if key in two.runs]
    if refused is None and not keys:
        seeds = [", ".join(map(str, distinct(k[0] for k in each.runs))) for each in (one, two)]
        text = f"no run with the same seed and fold: seeds {seeds[0]} and {seeds[1]}"
        refused = Refusal(text)
    if refused is not None:
        return attrs.evolve(pair, refused=refused)
    ours, theirs = one.pooled(keys), two.pooled(keys)
    alpha = ALPHA / max(1, comparisons)
    try:
        if len(ours) == 1 and len(keys) > 1:
            folds = [(one.hits_of(key), two.hits_of(key)) for key in keys]
            found = tests.compare_folds(folds, alpha)
        else:
            found = tests.compare_runs([(ours[seed], theirs[seed]) for seed in ours], alpha)
    except ValueError:
        return attrs.evolve(pair, refused=Refusal("the two share no evaluated image", data=True))
    number = len(distinct(fold for _, fold in keys))
    return attrs.evolve(pair, part=one.part, seeds=tuple(ours), folds=number, found=found)


def accuracy_pair(
    selection: Selection, variant: str, other: str, comparisons: int = 1
) -> AccuracyPair:
    """Compare two variants in the latest sweep that trained both, else in the latest of each."""
    theirs = {sweep_of(record) for record in selection.complete(other) if has_accuracy(record)}
    common = [
        record
        for record in selection.complete(variant)
        if has_accuracy(record) and sweep_of(record) in theirs
    ]
    sweep = sweep_of(max(common, key=seconds_of)) if common else None
    one, two = run_set(selection, variant, sweep), run_set(selection, other, sweep)
    return compare_sets(one, two, comparisons)


def adjusted(pairs: Sequence[AccuracyPair]) -> list[AccuracyPair]:
    """The pairs with p values corrected after Holm for being looked at together."""
    values = holm([pair.found.p_value if pair.found else None for pair in pairs])
    return [attrs.evolve(pair, p_adjusted=p) for pair, p in zip(pairs, values, strict=True)]
