"""Named sets of option values, and which of flag, environment, preset and default wins."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from bench import ENVIRONMENT_PREFIX
from bench.config import RunConfig, build, options, parse_value
from bench.errors import BenchError

FOLDER = Path(__file__).parent
SOURCES = ("flag", "environment", "preset", "default")


@attrs.frozen
class Preset:
    """A named set of option values, with the documents that belong to it."""

    name: str
    title: str
    command: str
    hardware: str
    options: Mapping[str, Any]
    expected: Mapping[str, Any]


def load_presets() -> dict[str, Preset]:
    """All presets by name, their expected figures joined from the file of documented numbers."""
    presets = _read("presets.toml")
    documented = _read("report/claims.toml")
    return {
        name: Preset(
            name=name,
            title=entry["title"],
            command=entry["command"],
            hardware=entry["hardware"],
            options=entry["options"],
            expected=documented["presets"].get(name, {}),
        )
        for name, entry in presets.items()
    }


def preset_names() -> list[str]:
    """Their names alone: the file of documented numbers is long, and ``--help`` needs none."""
    return list(_read("presets.toml"))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf8"))


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        BenchError: there is none; near names are suggested and all are listed.
    """
    presets = load_presets()
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BenchError(f"unknown preset {name!r}: {hint}presets are {', '.join(presets)}")
    return presets[name]


# --- precedence ------------------------------------------------------------------------------


@attrs.frozen
class Resolved:
    """A config, and for each option which of :data:`SOURCES` its value came from."""

    config: RunConfig
    sources: Mapping[str, str]
    preset: str | None


def resolve(
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Resolved:
    """Combine flag > environment > preset > default.

    Args:
        flags: values given on the command line, by option name, already parsed.
        preset: name of a preset, or none.
        environ: variables named ``PADDY_BENCH_<OPTION>`` are read.

    Raises:
        BenchError: an unknown preset, or a value that is out of bounds or not of its type.
    """
    chosen = dict(get_preset(preset).options) if preset else {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in options():
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        if field.name in flags:
            values[field.name], sources[field.name] = flags[field.name], "flag"
        elif environ.get(variable, "") != "":
            values[field.name] = parse_value(field.name, environ[variable], variable)
            sources[field.name] = "environment"
        elif field.name in chosen:
            values[field.name], sources[field.name] = chosen[field.name], "preset"
        else:
            values[field.name], sources[field.name] = field.default, "default"
    return Resolved(build(values), sources, preset)
