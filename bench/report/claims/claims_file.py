"""Reads a claims file of the user's own, for ``bench report --claims my_claims.toml``.

A file holds one table for each claim; any model card can be checked with it::

    [[claim]]
    variant = "EfficientNetV2_S"        # a name of `python -m bench list`
    metric = "inference_speed"          # a name of bench/report/claims/quantities.py
    form = "ratio"                      # "value" (default), "ratio" or "difference"
    against = "ResNet18"                # for ratio and difference: the other variant
    value = 1.2                         # a number, or [low, high]
    unit = "×"                          # the metric's; "×" for a ratio, "points" for a difference
    tolerance = "5 %"                   # or a number in the unit; without it the metric's own
    source = "model card, 3 May"        # where it is stated
    conditions = { device = "cpu", threads = 2, batch = 16, image_size = 224 }
    id = "card-speed"                   # optional, unlike all others
    remark = "said without a batch"     # optional, shown in the evidence

Conditions that are left out are unstated. Their names are those of
:data:`bench.report.claims.conditions.KINDS`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from bench.report.claims.conditions import DEVICES, KINDS
from bench.report.claims.model import load_claims
from bench.report.claims.quantities import METRICS, VALUE, share_of
from bench.report.claims.statements import Claim

KEYS = (
    "id", "variant", "metric", "form", "against", "value", "unit", "tolerance", "source",
    "conditions", "remark",
)  # fmt: skip
_NEEDED = ("variant", "metric", "value", "unit", "source")
_TEXTS = ("id", "variant", "metric", "form", "against", "unit", "source", "remark")
OWN_METRICS = tuple(name for name, metric in METRICS.items() if metric.own)


@attrs.frozen
class _Where:
    """Names a claim of a file in messages."""

    path: Path
    name: str

    def error(self, text: str) -> BenchError:
        """The user's mistake in one line."""
        return BenchError(f"{self.path}, claim {self.name}: {text}")


def load_claims_file(path: Path, known_variants: Collection[str]) -> list[Claim]:
    """The claims of a file, checked.

    Args:
        known_variants: names that ``variant`` and ``against`` may have.

    Raises:
        BenchError: the file cannot be read, or a claim in it is wrong; one line that names the
            file, the claim and the mend.
    """
    found: list[Claim] = []
    seen: dict[str, str] = {}
    for number, entry in enumerate(_entries(path), start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        where = _Where(path, f"{number} ({name})" if isinstance(name, str) else str(number))
        if not isinstance(entry, dict):
            raise where.error("is no table: begin each claim with [[claim]]")
        claim = _claim(entry, where, f"{path.stem}/{number}", known_variants)
        if claim.id in seen:
            raise where.error(f"id {claim.id!r} is that of claim {seen[claim.id]} too: rename one")
        seen[claim.id] = str(number)
        found.append(claim)
    return found


def _entries(path: Path) -> list[Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise BenchError(
            f"cannot read the claims file {path}: {error.strerror}: check the path after --claims"
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        text = " ".join(str(error).split())
        raise BenchError(f"{path} is not TOML: {text}: mend that line") from error
    unknown = [key for key in raw if key != "claim"]
    if unknown:
        raise BenchError(f"{path}: unknown {_suggest(unknown[0], ('claim',))}: use [[claim]]")
    entries = raw.get("claim")
    if not isinstance(entries, list) or not entries:
        raise BenchError(f"{path} holds no claims: begin each with a line [[claim]]")
    return entries


def _claim(
    entry: Mapping[str, Any], where: _Where, name: str, known_variants: Collection[str]
) -> Claim:
    for key in entry:
        if key not in KEYS:
            raise where.error(f"unknown key {_suggest(key, KEYS)}")
    for key in _NEEDED:
        if entry.get(key) in (None, ""):
            raise where.error(f"{key} is missing: add {_example(key, entry)}")
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), str) or entry.get(key) == "":
            raise where.error(f"{key} must be a text in quotes, not {entry[key]!r}")
    if entry["metric"] not in OWN_METRICS:
        raise where.error(f"unknown metric {_suggest(entry['metric'], OWN_METRICS)}")
    for key in ("variant", "against"):
        if key in entry and entry[key] not in known_variants:
            raise where.error(f"unknown {key} {_suggest(entry[key], known_variants)}")
    form = _form(entry, where)
    wanted = METRICS[entry["metric"]].unit_of(form)
    if entry["unit"] != wanted:
        about = entry["metric"] if form == VALUE else f"a {form} of {entry['metric']}"
        raise where.error(f"unit {entry['unit']!r} is not that of {about}: write {wanted!r}")
    return Claim(
        id=entry.get("id", name),
        variant=entry["variant"],
        metric=entry["metric"],
        value=_value(entry["value"], where),
        unit=wanted,
        source=entry["source"],
        form=form,
        against=entry.get("against"),
        tolerance=_tolerance(entry.get("tolerance"), where),
        conditions=_conditions(entry.get("conditions", {}), where),
        remark=entry.get("remark", ""),
    )


def _example(key: str, entry: Mapping[str, Any]) -> str:
    """What the missing line could be; the unit is the one that the metric has."""
    examples = {
        "variant": '"ResNet18"',
        "metric": f"one of {', '.join(OWN_METRICS)}",
        "value": "a number or [low, high]",
        "source": 'where it is stated, such as "model card"',
    }
    if key != "unit":
        return f"{key} = {examples[key]}"
    metric = METRICS.get(str(entry.get("metric")))
    return f'unit = "{metric.unit_of(entry.get("form", VALUE))}"' if metric else "the metric's unit"


def _form(entry: Mapping[str, Any], where: _Where) -> str:
    forms, form = METRICS[entry["metric"]].forms, str(entry.get("form", VALUE))
    if form not in forms:
        raise where.error(f"form {form!r} is not one of {entry['metric']}: {', '.join(forms)}")
    if form == VALUE and "against" in entry:
        named = ", ".join(other for other in forms if other != VALUE) or "none of this metric"
        raise where.error(f"against needs a form that relates two variants: {named}")
    if form != VALUE and "against" not in entry:
        raise where.error(f"a {form} needs the variant that it is related to: add against")
    if entry.get("against") == entry["variant"]:
        raise where.error(f"against is the variant itself, {entry['variant']!r}: name another")
    return form


def _value(value: Any, where: _Where) -> float | tuple[float, float]:
    if isinstance(value, list) and len(value) == 2 and all(map(_number, value)):
        low, high = value
        if low > high:
            raise where.error(f"value [{low:g}, {high:g}] has its low bound above its high: swap")
        return float(low), float(high)
    if not _number(value):
        raise where.error(f"value must be a finite number or [low, high], not {value!r}")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _tolerance(value: Any, where: _Where) -> float | str | None:
    if value is None:
        return None
    try:
        size = share_of(value) if isinstance(value, str) else value
    except ValueError:
        size = None
    if size is None or not _number(size) or size < 0:
        raise where.error(
            f'tolerance must be a number of 0 or more or a share such as "5 %", not {value!r}'
        )
    return value


def _conditions(given: Any, where: _Where) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise where.error('conditions must be a table such as { device = "cpu", batch = 16 }')
    for key, value in given.items():
        if key not in KINDS:
            raise where.error(f"unknown condition {_suggest(key, KINDS)}")
        # To Python a yes is a number, to the user it is not.
        wrong = isinstance(value, bool) != (KINDS[key] == (bool,))
        if wrong or not isinstance(value, KINDS[key]):
            raise where.error(f"condition {key} must be {_NAMES[KINDS[key][0]]}, not {value!r}")
    device = given.get("device", DEVICES[0])
    if device not in DEVICES:
        # Of "gpu" the nearest name would be "cpu".
        raise where.error(f"condition device must be {' or '.join(DEVICES)}, not {device!r}")
    named = [name for name in load_claims().data if name.startswith(str(given.get("data"))[:5])]
    if "data" in given and named and given["data"] not in named:
        raise where.error(f"condition data {_suggest(given['data'], named)}")
    return dict(given)


_NAMES = {str: "a text", int: "a whole number", bool: "true or false"}


def _suggest(word: Any, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{word!r}: {hint}known are {', '.join(names)}"
