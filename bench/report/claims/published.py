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
    """``published: 0.32 × of the backbones (conditions; source)``, or nothing."""
    found = [*_figures(claim, claims), *_references(claim, claims)]
    return f"published: {'; '.join(found)}" if found else ""


def _figures(claim: Claim, claims: Claims) -> Iterator[str]:
    quantity = _QUANTITIES.get(claim.metric)
    name = claims.backbones.get(claim.variant, "")
    # Others' speeds are of other machines: only their ratio says something about a claim's.
    other = claims.backbones.get(claim.against or "", "")
    for entry in claims.published:
        if entry.quantity != quantity or entry.device not in (
            None, claim.conditions.get("device", entry.device)
        ):  # fmt: skip
            continue
        text = _accuracy(claim, entry, name, other) if entry.device is None else None
        ratio = entry.ratio(name, other) if entry.device is not None else None
        if ratio is not None and name != other:
            whose = "" if (name, other) == (claim.variant, claim.against) else f" {name} ÷ {other}"
            text = f"{fixed(ratio, 2)} ×{whose}, scaled to equal size ({entry.conditions}"
        if text is not None:
            yield f"{text}; {entry.source})"


def _accuracy(claim: Claim, entry: Published, name: str, other: str) -> str | None:
    if name not in entry.value:
        return None
    if claim.form != DIFFERENCE:
        return f"{entry.value[name]:g} % at {entry.sizes[name]} pixels ({entry.conditions}"
    if other not in entry.value:
        return None
    gap = entry.value[name] - entry.value[other]
    sizes = f"{entry.sizes[name]} and {entry.sizes[other]} pixels"
    return f"{gap:.2f} points, at {sizes} ({entry.conditions}"


def _references(claim: Claim, claims: Claims) -> Iterator[str]:
    for reference in claims.references if claim.form == VALUE else ():
        if reference.metric == claim.metric and claim.variant in reference.variants:
            yield f"{reference.text} ({reference.source})"
