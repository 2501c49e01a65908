"""What others published about a claim: shown as evidence of its own kind, never measured here."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.analysis.values import fixed
from bench.report.claims.model import Claims, Published
from bench.report.claims.quantities import DIFFERENCE, VALUE
from bench.report.claims.statements import Claim

_QUANTITIES = {
    "inference_speed": "inference",
    "training_speed": "training",
    "imagenet_accuracy": "ImageNet top-1",
}


def published_evidence(claim: Claim, claims: Claims) -> str:
    """Return ``published: 0.32 × of the backbones (conditions; source)``, or nothing."""
    figures = [*_figures(claim, claims), *_references(claim, claims)]
    return f"published: {'; '.join(figures)}" if figures else ""


def _figures(claim: Claim, claims: Claims) -> Iterator[str]:
    device = claim.conditions.get("device")
    names = [claims.backbones.get(key or "", "") for key in (claim.variant, claim.against)]
    for entry in claims.published:
        if entry.quantity != _QUANTITIES.get(claim.metric):
            continue
        text = ""
        if entry.device is None:
            text = _accuracy(claim, entry, *names)
        elif device in (None, entry.device):
            text = _speed(claim, entry, *names)
        if text:
            yield f"{text} ({entry.conditions}; {entry.source})"


def _speed(claim: Claim, entry: Published, name: str, other: str) -> str:
    # Others' speeds are of other machines: only their ratio says something about a claim's.
    ratio = entry.ratio(name, other)
    if ratio is None or name == other:
        return ""
    whose = "" if (name, other) == (claim.variant, claim.against) else f" {name} ÷ {other}"
    return f"{fixed(ratio, 2)} ×{whose}, scaled to equal size"


def _accuracy(claim: Claim, entry: Published, name: str, other: str) -> str:
    value, reference = entry.value.get(name), entry.value.get(other)
    if value is None:
        return ""
    if claim.form != DIFFERENCE:
        return f"{value:g} % at {entry.sizes[name]} pixels"
    if reference is None:
        return ""
    sizes = f"{entry.sizes[name]} and {entry.sizes[other]} pixels"
    return f"{value - reference:.2f} points, at {sizes}"


def _references(claim: Claim, claims: Claims) -> Iterator[str]:
    for reference in claims.references if claim.form == VALUE else ():
        if reference.metric == claim.metric and claim.variant in reference.variants:
            yield f"{reference.text} ({reference.source})"
