"""The verdict table: each documented number, what was measured, and whether it holds.

A verdict needs an interval (counts are exact), valid and trained runs, and the claim's conditions.
A figure of a machine that is not here is never decided; the ratio of two models that it implies is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.records.schema import METRICS as SIX_KEYS
from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, caption
from bench.report.analysis.timings import RATIO_NOTE
from bench.report.claims.judge_accuracy import judge_accuracy
from bench.report.claims.judge_run import (
    judge_count,
    judge_default,
    judge_metrics,
    judge_recommendation,
    judge_training,
)
from bench.report.claims.judge_speed import judge_speed
from bench.report.claims.judging import (
    NOT_COMPARABLE,
    NOT_MEASURED,
    VERDICTS,
    Judge,
    Verdict,
)
from bench.report.claims.model import load_claims
from bench.report.claims.published import published_evidence
from bench.report.claims.statements import Claim, all_claims, with_siblings
from bench.report.render.markdown import Table, one_line
from bench.system.digits import counted

HEADERS = ("Claim", "Conditions stated", "Source", "Measured here", "Verdict", "Evidence")
RAW = (
    "id", "variant", "metric", "form", "against", "value_low", "value_high", "unit",
    "accepted_low", "accepted_high", "conditions", "source", "measured", "measured_low",
    "measured_high", "count", "machine", "verdict", "evidence",
)  # fmt: skip
RULES = (
    "Confirmed: the interval (or the exact count) lies within the claim's tolerance; "
    "contradicted: clear of it; undecided: it straddles a bound, or there is no interval (fewer "
    "than 6 rounds); not comparable: conditions differ or are unstated. Intervals are of 95 %; "
    "those of a difference or ratio of two variants belong to the verdict on the pair, corrected "
    "for all pairs judged with it (Holm's or Tukey's). Tolerances: the larger of "
    "half a unit of the last digit and 1 % for counts, 10 % for speeds, memory and their ratios, "
    "1 point for an accuracy, none for a range, unless the claim gives its own. Speeds of another "
    "machine are not decided; the ratio of two models is, on the machine that the verdict names. "
    f"{RATIO_NOTE} What follows 'published' was not measured here and decides nothing."
)


# Rows in words: how their labels begin, and what a variant declares about it.
_DECLARED = {"Pretrained": "weights_tag", "Use": "use_case"}


def _words(claim: Claim, selection: Selection) -> Verdict:
    """Quote the weights and uses that variants declare beside words."""
    record = selection.chosen(claim.variant)
    verdict = Verdict(NOT_COMPARABLE, "stated in words, not as a figure")
    for label, key in _DECLARED.items():
        value = lookup(record, "variant", key)
        if claim.words.startswith(label) and value:
            return verdict.noting(f"the variant declares {key.replace('_', ' ')} {one_line(value)}")
    return verdict


def _statement(claim: Claim, selection: Selection) -> Verdict:
    return Verdict(NOT_MEASURED, claim.reason)


def _imagenet(claim: Claim, selection: Selection) -> Verdict:
    size = "" if "image_size" in claim.conditions else "; the claim states no image size"
    return Verdict(NOT_MEASURED, f"ImageNet accuracy is not measured by this project{size}")


JUDGES: Mapping[str, Judge] = {
    **dict.fromkeys(("parameters", "macs", "feature_channels", "size"), judge_count),
    **dict.fromkeys(("inference_speed", "latency", "training_speed"), judge_speed),
    **dict.fromkeys(("training_time", "gpu_memory"), judge_training),
    **dict.fromkeys(SIX_KEYS, judge_metrics),
    "accuracy": judge_accuracy,
    "imagenet_accuracy": _imagenet,
    "option_default": judge_default,
    "recommendation": judge_recommendation,
    "statement": _statement,
    "words": _words,
}


def judge(claim: Claim, selection: Selection) -> Verdict:
    """Return the verdict on a claim, its reason with the published figures and the remark."""
    verdict = JUDGES[claim.metric](claim, selection)
    return verdict.noting(claim.remark, published_evidence(claim, load_claims()))


def judged_claims(selection: Selection, own: Sequence[Claim] = ()) -> list[tuple[Claim, Verdict]]:
    """Return every claim of the guide, then the user's own, with its verdict.

    Args:
        own: claims of a file of the user's
            (:func:`bench.report.claims.claims_file.load_claims_file`).
    """
    stated = [*all_claims(load_claims()), *with_siblings(own)]
    return [(claim, _judge_among(claim, selection, stated)) for claim in stated]


def _judge_among(claim: Claim, selection: Selection, stated: Sequence[Claim]) -> Verdict:
    """Return the verdict, with what the same document says otherwise in another place."""
    key = (claim.variant, claim.metric, claim.form, claim.against)
    others = [
        f"{other.figure()} ({other.source})"
        for other in stated
        if (other.variant, other.metric, other.form, other.against) == key
        and claim.against is not None
        and other.value != claim.value
        and other.conditions.get("device") in (None, claim.conditions.get("device"))
        and other.source.split(",")[0] == claim.source.split(",")[0]
    ]
    elsewhere = f"the same document elsewhere: {', '.join(others)}" if others else ""
    return judge(claim, selection).noting(elsewhere)


def verdict_table(selection: Selection, own: Sequence[Claim] = ()) -> Table:
    """Return a row for each claim: value and conditions, measured figure, verdict, evidence."""
    judged = judged_claims(selection, own)
    counts = Counter(verdict.word for _, verdict in judged)
    summary = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
    text = caption(f"{counted(len(judged), 'claim')}: {summary}.", RULES, selection.data_note())
    rows = [
        [
            claim.sentence(),
            claim.under(),
            claim.source,
            verdict.figure.cell() if verdict.figure else "n/a",
            verdict.cell(),
            verdict.reason,
        ]
        for claim, verdict in judged
    ]
    raw = [_raw(claim, verdict) for claim, verdict in judged]
    return Table("verdicts", "Verdicts on the documented numbers", text, HEADERS, rows, (RAW, raw))


def _raw(claim: Claim, verdict: Verdict) -> list[Any]:
    figure, value = verdict.figure, claim.value
    low, high = value if isinstance(value, tuple) else (value, value)
    accepted = (None, None) if isinstance(value, str) else claim.accepted()
    numbers = [getattr(figure, key, None) for key in ("number", "low", "high", "count", "machine")]
    return [
        claim.id, claim.variant, claim.metric, claim.form, claim.against, low, high, claim.unit,
        *accepted, claim.under(), claim.source, *numbers, verdict.cell(), verdict.reason,
    ]  # fmt: skip
