"""Verdicts about accuracies, in simulated sweeps whose truth is known.

The functions under test are those of a report: analyse of bench.stats.multireader where each
variant has several seeds; compare_trained and holm where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import attrs
import numpy as np

from bench.stats.accuracy import compare_trained
from bench.stats.multiple import ALPHA, holm
from bench.stats.multireader import Analysis, analyse
from experiments.calibration import simulated_sweeps
from experiments.calibration.simulated_sweeps import Array, Design, simulate
from experiments.rows import Row, percent, rate, rate_row
from experiments.suite import Json, Record, Tables, trace

SEED = 20243
MANY_SWEEPS, TOGETHER = 10_000, 500
ACCURACY = 0.85
SMALL, LARGE, FEWEST = 576, 1041, 60
PARAMETERS = {
    "sweeps": 2000,
    "accuracy": ACCURACY,
    "reference_accuracy": simulated_sweeps.REFERENCE_ACCURACY,
    "reference_images": simulated_sweeps.REFERENCE_IMAGES,
    "run_sd": simulated_sweeps.RUN_SD,
    "disagreement": list(simulated_sweeps.DISAGREEMENT),
    "disagreement_of_twins": simulated_sweeps.DISAGREEMENT_OF_TWINS,
    "groups": simulated_sweeps.GROUPS,
    "group_share": simulated_sweeps.GROUP_SHARE,
    "pool_of_images_per_test_image": simulated_sweeps.POOL,
}
QUICK = {"sweeps": 8}


def equal(variants: int, seeds: int, images: int = SMALL, **options: Any) -> Design:
    """A sweep of equally accurate variants."""
    return Design(seeds, images, (ACCURACY,) * variants, **options)


@attrs.frozen
class Case:
    """What is asked of the sweeps of a design.

    Attributes:
        setting: in words.
        design: of the sweeps.
        limit: of the share of sweeps with a false alarm; None informs.
        by_image: whether images that lie in groups are judged as if they did not.
    """

    setting: str
    design: Design
    limit: float | None = 0.05
    by_image: bool = False


SIZES = ((10, 3), (10, 2), (7, 3), (5, 3))
ALARMS = (
    *(Case(f"{v} variants × {s} seeds", equal(v, s)) for v, s in SIZES),
    Case("2 variants × 3 seeds", equal(2, 3)),
    Case("2 twins × 3 seeds", equal(2, 3, twins=True)),
    Case("10 twins × 3 seeds", equal(10, 3, twins=True)),
    Case("10 twins × 2 seeds", equal(10, 2, twins=True)),
    Case("10 × 3, one with 3 × the luck", equal(10, 3, luck_of_first=3), 0.08),
    Case("10 × 2, one with 3 × the luck", equal(10, 2, luck_of_first=3), 0.08),
    Case("10 × 3, 1,041 images", equal(10, 3, LARGE)),
    Case("10 × 3, 60 images", equal(10, 3, FEWEST)),
    Case("10 × 3, 75 groups as units", equal(10, 3, grouped=True)),
    Case("10 × 3, 75 groups, images as units", equal(10, 3, grouped=True), None, by_image=True),
    Case("10 × 3, a test split for each seed", equal(10, 3, own_images=True)),
    Case("10 × 3, one variant lacks a seed", equal(10, 3, missing=True)),
)
TRAINED = (
    Case("10 trained models of equal accuracy", equal(10, 1)),
    Case("10 trained models, 75 groups as units", equal(10, 1, grouped=True)),
)
LUCK_AS_DESIGN = Case("2 twins × 1 seed, read as a verdict on designs", equal(2, 1, twins=True))


def ladder(variants: int, seeds: int, images: int, **options: Any) -> Design:
    """A sweep of accuracies from 80 to 95 %, the best first."""
    steps = np.linspace(0.95, 0.80, variants)
    return Design(seeds, images, tuple(steps.tolist()), **options)


LADDERS = (
    *(Case(f"{v} variants × {s} seeds", ladder(v, s, SMALL)) for v, s in SIZES),
    Case("10 × 3, 1,041 images", ladder(10, 3, LARGE)),
    Case("10 × 3, 75 groups as units", ladder(10, 3, SMALL, grouped=True)),
)


def halves(high: float, low: float, variants: int, seeds: int, images: int) -> Design:
    """A sweep of two accuracies in turns: half of the pairs differ."""
    return Design(seeds, images, tuple((high, low)[number % 2] for number in range(variants)))


POWERS = (
    Case("95 against 80 %, 1,041 images", halves(0.95, 0.80, 10, 3, LARGE), 0.95),
    Case("88.5 against 81.5 %, 576 images", halves(0.885, 0.815, 10, 3, SMALL), 0.75),
)
DETECTABLE = (*((v, s, SMALL) for v, s in SIZES), (10, 3, LARGE), (2, 3, SMALL))


def measure(chosen: Record) -> Json:
    """Simulate every case."""
    sweeps = chosen["sweeps"]
    many = sweeps if chosen["quick"] else MANY_SWEEPS
    outcome = {
        # The sizes that come nearest to the limit are simulated more often.
        "alarms": [
            _alarms(case, many if place < len(SIZES) else sweeps, place)
            for place, case in enumerate(ALARMS)
        ],
        "trained": [_trained(case, sweeps, place) for place, case in enumerate(TRAINED)],
        "luck_as_design": _trained(LUCK_AS_DESIGN, sweeps, len(TRAINED)),
        "coverage": [_coverage(case, sweeps, place) for place, case in enumerate(LADDERS)],
        "power": [
            _power(case.design, case.setting, sweeps, [3, place])
            for place, case in enumerate(POWERS)
        ],
        "detectable": [_detectable(size, sweeps, place) for place, size in enumerate(DETECTABLE)],
    }
    return {"outcome": outcome}


# --- simulation ------------------------------------------------------------------------------


def _gather(case: Case, sweeps: int, seed: list[int], take: Callable[[Analysis], Array]) -> Array:
    """What ``take`` makes of analyses whose arrays are (sweeps, pairs), all sweeps together."""
    trace(f"accuracy_verdicts: {case.setting}")
    rng = np.random.default_rng([SEED, *seed])
    units = None if case.by_image else case.design.units
    pairs = np.triu_indices(len(case.design.accuracies), 1)
    analyses = [analyse(simulate(case.design, rng), units) for _ in range(sweeps)]
    names = ("seeds", "units", "difference", "se", "df")
    arrays = [np.array([getattr(each, name)[pairs] for each in analyses]) for name in names]
    # The studentized range of all of them at once would take gigabytes.
    splits = zip(*(np.array_split(array, -(-sweeps // TOGETHER)) for array in arrays), strict=True)
    return np.concatenate([take(Analysis(analyses[0].variants, *split)) for split in splits])


def _gaps(design: Design) -> Array:
    """True difference of each pair."""
    return np.array([one - two for one, two in combinations(design.accuracies, 2)])


def _declared(analysis: Analysis) -> Array:
    return np.isin(analysis.verdict, ("better", "worse"))


def _signs(analysis: Analysis) -> Array:
    """1 where the first of a pair is declared better, −1 where it is declared worse."""
    return _declared(analysis) * np.sign(analysis.difference)


def _alarms(case: Case, sweeps: int, place: int) -> Json:
    declared = _gather(case, sweeps, [0, place], _declared)
    return {
        "setting": case.setting,
        "limit": case.limit,
        "sweeps": sweeps,
        "false_alarms": int(declared.any(axis=1).sum()),
    }


def _trained(case: Case, sweeps: int, place: int) -> Json:
    """Sweeps of one training each in which any pair is declared.

    Trained models of equal accuracy are drawn without the luck of training; twins are with it.
    """
    trace(f"accuracy_verdicts: {case.setting}")
    rng = np.random.default_rng([SEED, 1, place])
    design = case.design if case.design.twins else attrs.evolve(case.design, luck=0.0)
    declared = 0
    for _ in range(sweeps):
        pairs = combinations(simulate(design, rng), 2)
        p_values = [compare_trained(one, two, design.units).p_value for one, two in pairs]
        declared += min(p for p in holm(p_values) if p is not None) < ALPHA
    return {"setting": case.setting, "sweeps": sweeps, "false_alarms": declared}


def _coverage(case: Case, sweeps: int, place: int) -> Json:
    """Sweeps in which all intervals together hold the true differences."""
    gaps = _gaps(case.design)

    def take(analysis: Analysis) -> Array:
        held = (analysis.low <= gaps) & (gaps <= analysis.high)
        wrong = _signs(analysis) * np.sign(gaps) < 0
        return np.stack([held.all(axis=1), wrong.any(axis=1)], axis=1)

    held, wrong = _gather(case, sweeps, [2, place], take).sum(axis=0)
    return {
        "setting": case.setting,
        "sweeps": sweeps,
        "all_held": int(held),
        "declared_the_wrong_way": int(wrong),
    }


def _power(design: Design, setting: str, sweeps: int, seed: list[int]) -> Json:
    """Pairs with a true difference that are declared, and in the right direction."""
    gaps = _gaps(design)
    differ = gaps != 0
    right = _gather(Case(setting, design), sweeps, seed, _signs) == np.sign(gaps)
    by_pair, by_sweep = right[:, differ].mean(axis=0), right[:, differ].mean(axis=1)
    return {
        "setting": setting,
        "sweeps": sweeps,
        "pairs": int(differ.sum()),
        "power": float(by_sweep.mean()),
        "standard_error": float(by_sweep.std(ddof=1) / np.sqrt(sweeps)),
        "lowest": float(by_pair.min()),
        "highest": float(by_pair.max()),
    }


def _detectable(size: tuple[int, int, int], sweeps: int, place: int) -> Json:
    """Power at the mean of the minimum detectable differences that equal variants' sweeps print."""
    variants, seeds, images = size
    setting = f"{variants} variants × {seeds} seeds, {images:,} images"
    case = Case(setting, equal(variants, seeds, images))
    # The mean is known well from fewer.
    few = -(-sweeps // 4)
    mean = float(_gather(case, few, [4, place], lambda analysis: analysis.mdd).mean())
    design = halves(ACCURACY + mean / 2, ACCURACY - mean / 2, variants, seeds, images)
    return {**_power(design, setting, sweeps, [5, place]), "minimum_detectable": mean}


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """False alarms, coverage, power, and power at the minimum detectable difference."""
    return list(_rows(record["outcome"]))


def _rows(outcome: Record) -> Iterator[Row]:
    trained = [(case, 0.05) for case in outcome["trained"]]
    for what, cases in (
        ("False alarms", [(case, case["limit"]) for case in outcome["alarms"]]),
        ("False alarms, one training each", trained),
        ("One training each", [(outcome["luck_as_design"], None)]),
    ):
        for case, limit in cases:
            made = f"{case['sweeps']:,} simulated sweeps; any of the pairs declared different"
            bar = f"{what}: {case['setting']}"
            yield rate_row(bar, case["false_alarms"], case["sweeps"], made, most=limit)
    for case in outcome["coverage"]:
        bar = f"All intervals of a sweep hold the truth: {case['setting']}"
        made = f"{case['sweeps']:,} simulated sweeps, true accuracies 80 to 95 %"
        yield rate_row(bar, case["all_held"], case["sweeps"], made, least=0.93)
    for case, design in zip(outcome["power"], POWERS, strict=True):
        yield Row(
            f"Power: {case['setting']}, 10 × 3",
            f"at least {percent(design.limit, 0)}",
            _power_text(case),
            case["power"] >= design.limit,
            _power_made(case),
        )
    for case in outcome["detectable"]:
        yield Row(
            f"Power at the printed minimum detectable difference: {case['setting']}",
            "75 %–85 %",
            f"{_power_text(case)} at {100 * case['minimum_detectable']:.1f} points",
            0.75 <= case["power"] <= 0.85,
            _power_made(case),
        )


def _power_text(case: Record) -> str:
    mean, error = case["power"], 1.96 * case["standard_error"]
    interval = f"{percent(mean)} ({percent(max(0, mean - error))}–{percent(min(1, mean + error))})"
    if case["pairs"] == 1:
        return interval
    return f"{interval}; single pairs {percent(case['lowest'])} to {percent(case['highest'])}"


def _power_made(case: Record) -> str:
    return f"{case['sweeps']:,} simulated sweeps, {case['pairs']} pairs that differ"


def details(record: Record) -> Tables:
    """The model, and how often the wrong variant is declared better."""
    ladders = [
        [case["setting"], rate(case["declared_the_wrong_way"], case["sweeps"])]
        for case in record["outcome"]["coverage"]
    ]
    return [
        (
            f"{simulated_sweeps.MODEL} The table below is of true accuracies in equal steps from "
            "80 to 95 %: sweeps in which any pair is declared the wrong way round.",
            ["setting", "a pair declared the wrong way round"],
            ladders,
        ),
    ]
