"""How an option is declared: its kind, bounds, help, and how it is read from text."""

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
    """Seconds of a duration.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("a duration")
    return float(found[1]) * _UNIT_S[found[2]]


class Bytes(float):
    """The kind of an option that is an amount of storage: ``20GB``, ``500MB``, ``1.5TB``."""


_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(mb|gb|tb)")
_UNIT_BYTES = {"mb": 1e6, "gb": 1e9, "tb": 1e12}


def parse_size(text: str) -> float:
    """Bytes of an amount of storage (1 MB = 10⁶ bytes).

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("an amount of storage")
    return float(found[1]) * _UNIT_BYTES[found[2]]


PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_parse_bool, "yes or no"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a text"),
    Seconds: (parse_duration, "a duration such as 90s, 10m or 1h"),
    Bytes: (parse_size, "an amount of storage such as 500MB or 20GB"),
    Path: (lambda text: Path(text).expanduser(), "a path"),
}


def option(
    kind: type,
    default: Any,
    help: str,
    *,
    section: str,
    check: Any = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one option of :class:`RunConfig`; ``default=None`` makes the value optional."""
    rules = [check] if check is not None else []
    if choices:
        rules.append(validators.in_(choices))
    validator: Any = validators.and_(validators.instance_of(kind), *rules)
    if issubclass(kind, float):
        validator = validators.and_(validators.instance_of((int, float)), _finite, *rules)
    if default is None:
        validator = validators.optional(validator)
    return attrs.field(
        default=default,
        validator=validator,
        metadata={
            "kind": kind,
            "help": help,
            "section": section,
            "choices": choices,
            "optional": default is None,
        },
    )


def _finite(_: Any, attribute: Any, value: float) -> None:
    if not -1e308 < value < 1e308:
        raise ValueError(f"'{attribute.name}' must be a finite number: {value}")
