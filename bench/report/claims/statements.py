"""Every documented number as one claim: what is said of which variant, under which conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from bench.config.options import flag_of
from bench.report.claims.conditions import listed
from bench.report.claims.expected import SUBJECT
from bench.report.claims.model import Claims, ClaimTable, Row, format_documented, rounded
from bench.report.claims.quantities import (
    DIFFERENCE,
    METRICS,
    OF_CELLS,
    RATIO,
    VALUE,
    Documented,
    Metric,
    accepted,
)

_PRESET_METRICS = {
    "minutes": "training_time",
    "accuracy_percent": "accuracy",
    "gpu_memory_gb": "gpu_memory",
}


@attrs.frozen
class Claim:
    """One documented figure.

    Attributes:
        id: its name in the verdict table, unlike all others.
        metric: a name of :data:`bench.report.claims.quantities.METRICS`.
        value: a number, low and high, or the document's own words.
        unit: of ``value``.
        form, against: whether the value is a figure, or its ratio to or difference from another
            variant's.
        tolerance: absolute in ``unit``, or a share such as "5 %"; None for the metric's default.
        conditions: as data; what is absent is unstated.
        stated: the conditions in the document's words.
        base: variant and value that the document gives beside it, so that a ratio is implied.
        option: of the program, for its defaults and recommendations.
        words: what a ``statement`` is about.
        reason: why no run can decide it.
    """

    id: str
    variant: str
    metric: str
    value: Documented
    unit: str
    source: str
    form: str = VALUE
    against: str | None = None
    tolerance: float | str | None = None
    conditions: Mapping[str, Any] = attrs.field(factory=dict)
    stated: str = ""
    remark: str = ""
    approximate: bool = False
    base: tuple[str, float] | None = None
    option: str | None = None
    words: str = ""
    reason: str = ""

    @property
    def kind(self) -> Metric:
        """What its metric is."""
        return METRICS[self.metric]

    def accepted(self) -> tuple[float, float]:
        """Bounds within which a measured figure confirms it; ValueError for words."""
        if isinstance(self.value, str):
            raise ValueError(f"{self.id} is stated in words")
        return accepted(self.value, self.kind, self.form, self.tolerance)

    def figure(self) -> str:
        """Its value with the unit: ``~1.25 ×``."""
        return f"{format_documented(self.value, approximate=self.approximate)} {self.unit}".strip()

    def sentence(self) -> str:
        """``EfficientNetV2_S ÷ ResNet18, inference speed: ~1.25 ×``."""
        subject = self.variant
        if self.option is not None:
            subject = flag_of(self.option)
        elif self.against is not None:
            sign = {RATIO: "÷", DIFFERENCE: "−"}[self.form]
            subject = f"{self.variant} {sign} {self.against}"
        about = self.words or self.kind.words
        return f"{subject}, {about}: {self.figure()}"

    def under(self) -> str:
        """Its conditions in words, else as data."""
        return self.stated or listed(self.conditions)

    def ratio(self) -> Claim | None:
        """The claim about the ratio of two models that its value implies, or None."""
        if self.base is None or not isinstance(self.value, (int, float)):
            return None
        name, value = self.base
        return attrs.evolve(
            self,
            value=rounded(self.value / value),
            unit=self.kind.unit_of(RATIO),
            form=RATIO,
            against=name,
            base=None,
            tolerance=None,
        )


def all_claims(claims: Claims) -> list[Claim]:
    """Every claim of the guide: its tables, presets, parameters and prose, in this order."""
    found = [claim for table in claims.tables for claim in _of_table(table)]
    found += _of_presets(claims)
    found += _of_parameters(claims)
    found += [from_entry(entry) for entry in claims.stated]
    return found


def from_entry(entry: Mapping[str, Any]) -> Claim:
    """A claim from its ``[[claim]]`` in TOML; TypeError for a key that is none."""
    value = entry["value"]
    return Claim(**{**entry, "value": tuple(value) if isinstance(value, list) else value})


def with_siblings(own: Sequence[Claim]) -> list[Claim]:
    """The claims, each with the first other one that states the same of another variant."""

    def base_of(claim: Claim) -> tuple[str, float] | None:
        for other in own:
            like = (other.metric, other.form, other.conditions) == (
                claim.metric, claim.form, claim.conditions
            )  # fmt: skip
            number = isinstance(other.value, (int, float)) and other.value != 0
            if like and number and other.variant != claim.variant and claim.form == VALUE:
                return other.variant, float(other.value)  # type: ignore[arg-type]
        return None

    return [
        attrs.evolve(claim, base=base_of(claim)) if RATIO in claim.kind.forms else claim
        for claim in own
    ]


# --- from the guide's tables -----------------------------------------------------------------


def _of_table(table: ClaimTable) -> Iterator[Claim]:
    against = {row.of: row.against for row in table.rows if row.of is not None}
    for row in table.rows:
        if not row.judged:
            continue
        for variant, value in row.documented.items():
            if variant != row.against:
                yield _of_row(table, row, variant, value, against.get(row.key))


def _of_row(
    table: ClaimTable, row: Row, variant: str, value: Documented, against: str | None
) -> Claim:
    metric, implied = OF_CELLS[row.metric]
    form = row.form if row.against is not None else VALUE
    if isinstance(value, str):
        metric, unit = "words", ""
    else:
        unit = METRICS[metric].unit_of(form)
    base = None
    # The reference of the row of ratios is itself related to the first of the others.
    other = against if against != variant else next(iter(set_aside(row.documented, variant)), None)
    if against is not None and other is not None:
        number = row.documented[other]
        base = (other, float(number)) if isinstance(number, (int, float)) else None
    return Claim(
        id=f"{table.id}/{row.key}/{variant}",
        variant=variant,
        metric=metric,
        value=value,
        unit=unit,
        source=table.source,
        form=form,
        against=row.against,
        tolerance=row.tolerance,
        conditions={**implied, **row.when},
        stated=row.conditions,
        remark=row.remark if variant in (row.remark_for or (variant,)) else "",
        approximate=row.approximate,
        base=base,
        words=row.label if metric == "words" else "",
    )


def set_aside(values: Mapping[str, Documented], variant: str) -> list[str]:
    """The names without one of them."""
    return [name for name in values if name != variant]


def _of_presets(claims: Claims) -> Iterator[Claim]:
    for name, entry in claims.presets.items():
        # The figures of the project's own preset are a run of it, not a document to be judged.
        for key, metric in _PRESET_METRICS.items():
            if key in entry and "when" in entry:
                low, high = entry[key]
                conditions = dict(entry["when"])
                if metric != "accuracy":
                    conditions.pop("data")
                yield Claim(
                    id=f"presets/{name}/{metric}",
                    variant=SUBJECT,
                    metric=metric,
                    value=low if low == high else (low, high),
                    unit=METRICS[metric].unit,
                    source=entry["source"],
                    conditions=conditions,
                    stated=f"preset {name}: {entry['conditions']}",
                    approximate=metric != "accuracy",
                )


def _of_parameters(claims: Claims) -> Iterator[Claim]:
    for table in claims.parameters:
        for item in table.parameters:
            pairs = (("option_default", item.default), ("recommendation", item.recommended))
            for metric, value in pairs:
                yield Claim(
                    id=f"{table.id}/{item.name}/{metric}",
                    variant=SUBJECT,
                    metric=metric,
                    value=value,
                    unit="",
                    source=table.source,
                    stated="the guide's script",
                    option=item.name,
                )
