"""Every documented number as one claim: what is said of which variant, under which conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from bench.config.options import flag_of
from bench.report.claims.conditions import listed
from bench.report.claims.expected import FIGURES, SUBJECT
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
    as_documented,
)


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
    value: Documented = attrs.field(converter=as_documented)
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
        """The metric that it is about."""
        return METRICS[self.metric]

    def accepted(self) -> tuple[float, float]:
        """Return the bounds within which a figure confirms it; ValueError for words."""
        if isinstance(self.value, str):
            raise ValueError(f"{self.id} is stated in words")
        return accepted(self.value, self.kind, self.form, self.tolerance)

    def figure(self) -> str:
        """Return its value with the unit: ``~1.25 ×``."""
        return f"{format_documented(self.value, approximate=self.approximate)} {self.unit}".strip()

    def sentence(self) -> str:
        """Return ``EfficientNetV2_S ÷ ResNet18, inference speed: ~1.25 ×``."""
        subject = self.variant
        if self.option is not None:
            subject = flag_of(self.option)
        elif self.against is not None:
            sign = {RATIO: "÷", DIFFERENCE: "−"}[self.form]
            subject = f"{self.variant} {sign} {self.against}"
        return f"{subject}, {self.words or self.kind.words}: {self.figure()}"

    def under(self) -> str:
        """Return its conditions in words, else as data."""
        return self.stated or listed(self.conditions)

    def ratio(self) -> Claim | None:
        """Return the claim about the ratio of two models that its value implies, or None."""
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
    """Return every claim of the guide: its tables, presets, parameters and prose, in this order."""
    return [
        *_of_tables(claims),
        *_of_presets(claims),
        *_of_parameters(claims),
        *(Claim(**entry) for entry in claims.stated),
    ]


def with_siblings(own: Sequence[Claim]) -> list[Claim]:
    """Return the claims, each with the first other that states the same of another variant."""

    def base_of(claim: Claim) -> tuple[str, float] | None:
        if claim.form != VALUE or RATIO not in claim.kind.forms:
            return None
        said = (claim.metric, claim.form, claim.conditions)
        siblings = (
            (other.variant, float(other.value))
            for other in own
            if (other.metric, other.form, other.conditions) == said
            and other.variant != claim.variant
            and isinstance(other.value, (int, float))
            and other.value != 0
        )
        return next(siblings, None)

    return [attrs.evolve(claim, base=base_of(claim)) for claim in own]


def _of_tables(claims: Claims) -> Iterator[Claim]:
    for table in claims.tables:
        for row in table.rows:
            for variant, value in row.documented.items() if row.judged else ():
                if variant != row.against:
                    yield _of_row(table, row, variant, value)


def _of_row(table: ClaimTable, row: Row, variant: str, value: Documented) -> Claim:
    metric, implied = OF_CELLS[row.metric]
    form = row.form if row.against is not None else VALUE
    if isinstance(value, str):
        metric = "words"
    return Claim(
        id=f"{table.id}/{row.key}/{variant}",
        variant=variant,
        metric=metric,
        value=value,
        unit="" if metric == "words" else METRICS[metric].unit_of(form),
        source=table.source,
        form=form,
        against=row.against,
        tolerance=row.tolerance,
        conditions={**implied, **row.when},
        stated=row.conditions,
        remark=row.remark if variant in (row.remark_for or (variant,)) else "",
        approximate=row.approximate,
        base=_base(table, row, variant),
        words=row.label if metric == "words" else "",
    )


def _base(table: ClaimTable, row: Row, variant: str) -> tuple[str, float] | None:
    """Return what the table's row of ratios relates a value to: the other variant and its value."""
    reference = next((ratios.against for ratios in table.rows if ratios.of == row.key), None)
    if reference == variant:
        # The reference is itself related to the first of the others.
        reference = next((name for name in row.documented if name != variant), None)
    number = row.documented.get(reference or "")
    return (str(reference), float(number)) if isinstance(number, (int, float)) else None


def _of_presets(claims: Claims) -> Iterator[Claim]:
    for name, entry in claims.presets.items():
        # The figures of the project's own preset are a run of it, not a document to be judged.
        for key, (metric, _) in FIGURES.items() if "when" in entry else ():
            if key in entry:
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
            for metric, value in (
                ("option_default", item.default),
                ("recommendation", item.recommended),
            ):
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
