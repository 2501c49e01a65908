"""Declare an option: its kind, bounds and help, and how it is parsed from text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from attrs import validators


def _parse_bool(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "on": True}
    values |= {"0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in values:
        raise ValueError("yes or no")
    return values[text.strip().lower()]


class Seconds(float):
    """The kind of an option that is a duration: ``90``, ``90s``, ``10m``, ``1.5h``."""


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h)?")
_UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration.

    Raises:
        ValueError: it is none.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if not match:
        raise ValueError("a duration")
    return float(match[1]) * _UNIT_S[match[2]]


class Bytes(float):
    """The kind of an option that is an amount of storage: ``20GB``, ``500MB``, ``1.5TB``."""


_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(mb|gb|tb)")
_UNIT_BYTES = {"mb": 1e6, "gb": 1e9, "tb": 1e12}


def parse_size(text: str) -> float:
    """Return the bytes of an amount of storage (1 MB = 10⁶ bytes).

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if not match:
        raise ValueError("an amount of storage")
    return float(match[1]) * _UNIT_BYTES[match[2]]


PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_parse_bool, "yes or no"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a text"),
    Seconds: (parse_duration, "a duration such as 90s, 10m or 1h"),
    Bytes: (parse_size, "an amount of storage such as 500MB or 20GB"),
    Path: (lambda text: Path(text).expanduser(), "a path"),
}


def within(low: float, high: float) -> Any:
    """Return the check that a value is from ``low`` to ``high``, both allowed."""
    return validators.and_(validators.ge(low), validators.le(high))


def option(
    default: Any,
    help: str,
    *,
    kind: type | None = None,
    check: Any = None,
    choices: tuple[str, ...] = (),
    **facts: bool,
) -> Any:
    """Declare one option; ``default=None`` makes the value optional.

    Args:
        default: its value where none is given.
        help: one line for the command line and the documentation.
        kind: the type that text is parsed to; none: the default's.
        check: validator of the bounds.
        choices: the values that are allowed, where they are few.
        facts: ``movable`` (``--resume`` may change it: it changes no result), ``compared`` (runs
            that are compared must share it; seeds are paired, a reduction belongs to its variant),
            ``recipe`` (presets and documents state it) and ``timed`` (``bench time`` takes it),
            where they differ from the section's.
    """
    kind = kind or type(default)
    rules = [check] if check is not None else []
    if choices:
        rules.append(validators.in_(choices))
    validator: Any = validators.and_(validators.instance_of(kind), *rules)
    if issubclass(kind, float):
        validator = validators.and_(validators.instance_of((int, float)), _finite, *rules)
    if default is None:
        validator = validators.optional(validator)
    about = {"kind": kind, "help": help, "choices": choices, "optional": default is None}
    return attrs.field(default=default, validator=validator, metadata=about | facts)


def section(name: str, **facts: bool) -> Callable[[type, list[Any]], list[Any]]:
    """Return the ``field_transformer`` of a class whose options are shown together.

    Args:
        name: of the section.
        facts: of its options, as in :func:`option`, where these do not say otherwise.
    """
    defaults = {"section": name, "movable": False, "recipe": False, "timed": False} | facts

    def transform(_: type, fields: list[Any]) -> list[Any]:
        metadata = [defaults | field.metadata for field in fields]
        for facts in metadata:
            facts["compared"] = facts.get("compared", False) and not facts["movable"]
        return [field.evolve(metadata=facts) for field, facts in zip(fields, metadata, strict=True)]

    return transform


def _finite(_: Any, attribute: Any, value: float) -> None:
    if not -1e308 < value < 1e308:
        raise ValueError(f"'{attribute.name}' must be a finite number: {value}")
