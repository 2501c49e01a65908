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
_TEXTS = [key for key in KEYS if key not in ("value", "tolerance", "conditions")]
OWN_METRICS = tuple(name for name, metric in METRICS.items() if metric.own)


def load_claims_file(path: Path, known_variants: Collection[str]) -> list[Claim]:
    """Return the claims of a file, checked.

    Args:
        known_variants: names that ``variant`` and ``against`` may have.

    Raises:
        BenchError: the file cannot be read, or a claim in it is wrong; one line that names the
            file, the claim and the mend.
    """
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(_entries(path), start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        try:
            claim = _claim(entry, f"{path.stem}/{number}", known_variants)
            if claim.id in claims:
                first = list(claims).index(claim.id) + 1
                raise BenchError(f"id {claim.id!r} is that of claim {first} too: rename one")
        except BenchError as error:
            named = f"{number} ({name})" if isinstance(name, str) else number
            raise BenchError(f"{path}, claim {named}: {error}") from error
        claims[claim.id] = claim
    return list(claims.values())


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
    for key in raw:
        if key != "claim":
            raise BenchError(f"{path}: unknown {_suggest(key, ('claim',))}: use [[claim]]")
    entries = raw.get("claim")
    if not isinstance(entries, list) or not entries:
        raise BenchError(f"{path} holds no claims: begin each with a line [[claim]]")
    return entries


def _claim(entry: Any, name: str, known_variants: Collection[str]) -> Claim:
    if not isinstance(entry, dict):
        raise BenchError("is no table: begin each claim with [[claim]]")
    for key in entry:
        _check_name("key", key, KEYS)
    for key in _NEEDED:
        if entry.get(key) in (None, ""):
            raise BenchError(f"{key} is missing: add {_example(key, entry)}")
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), str) or entry.get(key) == "":
            raise BenchError(f"{key} must be a text in quotes, not {entry[key]!r}")
    metric = entry["metric"]
    _check_name("metric", metric, OWN_METRICS)
    for key in ("variant", "against"):
        if key in entry:
            _check_name(key, entry[key], known_variants)
    form = _form(entry)
    unit = METRICS[metric].unit_of(form)
    if entry["unit"] != unit:
        quantity = metric if form == VALUE else f"a {form} of {metric}"
        raise BenchError(f"unit {entry['unit']!r} is not that of {quantity}: write {unit!r}")
    return Claim(
        **{
            "id": name,
            **entry,
            "value": _value(entry["value"]),
            "tolerance": _tolerance(entry.get("tolerance")),
            "conditions": _conditions(entry.get("conditions", {})),
        }
    )


def _example(key: str, entry: Mapping[str, Any]) -> str:
    """Return what the missing line could be; the unit is the one that the metric has."""
    metric = METRICS.get(str(entry.get("metric")))
    examples = {
        "variant": '"ResNet18"',
        "metric": f"one of {', '.join(OWN_METRICS)}",
        "value": "a number or [low, high]",
        "unit": f'"{metric.unit_of(entry.get("form", VALUE))}"' if metric else "",
        "source": 'where it is stated, such as "model card"',
    }
    return f"{key} = {examples[key]}" if examples[key] else "the metric's unit"


def _form(entry: Mapping[str, Any]) -> str:
    forms, form = METRICS[entry["metric"]].forms, str(entry.get("form", VALUE))
    if form not in forms:
        raise BenchError(f"form {form!r} is not one of {entry['metric']}: {', '.join(forms)}")
    if form == VALUE and "against" in entry:
        relating = ", ".join(other for other in forms if other != VALUE) or "none of this metric"
        raise BenchError(f"against needs a form that relates two variants: {relating}")
    if form != VALUE and "against" not in entry:
        raise BenchError(f"a {form} needs the variant that it is related to: add against")
    if entry.get("against") == entry["variant"]:
        raise BenchError(f"against is the variant itself, {entry['variant']!r}: name another")
    return form


def _value(value: Any) -> float | tuple[float, float]:
    if isinstance(value, list) and len(value) == 2 and all(map(_number, value)):
        low, high = value
        if low > high:
            raise BenchError(f"value [{low:g}, {high:g}] has its low bound above its high: swap")
        return float(low), float(high)
    if not _number(value):
        raise BenchError(f"value must be a finite number or [low, high], not {value!r}")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _tolerance(value: Any) -> float | str | None:
    try:
        size = share_of(value) if isinstance(value, str) else value
    except ValueError:
        size = -1
    if size is not None and (not _number(size) or size < 0):
        raise BenchError(
            f'tolerance must be a number of 0 or more or a share such as "5 %", not {value!r}'
        )
    return value


def _conditions(conditions: Any) -> dict[str, Any]:
    if not isinstance(conditions, dict):
        raise BenchError('conditions must be a table such as { device = "cpu", batch = 16 }')
    for key, value in conditions.items():
        _check_name("condition", key, KINDS)
        # To Python a yes is a number, to the user it is not.
        if isinstance(value, bool) != (KINDS[key] is bool) or not isinstance(value, KINDS[key]):
            kind = {int: "a whole number", bool: "true or false"}.get(KINDS[key], "a text")
            raise BenchError(f"condition {key} must be {kind}, not {value!r}")
    device, data = conditions.get("device", DEVICES[0]), conditions.get("data")
    if device not in DEVICES:
        # Of "gpu" the nearest name would be "cpu".
        raise BenchError(f"condition device must be {' or '.join(DEVICES)}, not {device!r}")
    similar = [name for name in load_claims().data if name.startswith(str(data)[:5])]
    if data is not None and similar and data not in similar:
        raise BenchError(f"condition data {_suggest(data, similar)}")
    return conditions


def _check_name(kind: str, name: Any, known: Collection[str]) -> None:
    if name not in known:
        raise BenchError(f"unknown {kind} {_suggest(name, known)}")


def _suggest(name: Any, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name!r}: {hint}known are {', '.join(names)}"
