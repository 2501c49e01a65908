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
from bench.config.options import REMOVED, RunConfig, build, config_default, options, parse_value
from bench.errors import BenchError

FOLDER = Path(__file__).parents[1]
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
    """Return all presets by name, with their expected figures from the documented numbers."""
    presets = _read("config/presets.toml")
    documented = _read("report/claims/claims.toml")
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
    """Return the names alone, without reading the long file of documented numbers."""
    return list(_read("config/presets.toml"))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf8"))


def get_preset(name: str) -> Preset:
    """Return the preset of a name.

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

    @property
    def warnings(self) -> list[str]:
        """Return a line for each pair of options that do not fit each other."""
        lines = []
        config, given = self.config, self.config.scheduler_tmax
        if given is not None and given != config.epochs:
            effect = (
                f"the learning rate reaches its minimum after epoch {given} of {config.epochs} "
                "and climbs again"
                if given < config.epochs
                else f"training ends at epoch {config.epochs}, before the learning rate has "
                "reached its minimum"
            )
            lines.append(
                f"--scheduler-tmax {given} with --epochs {config.epochs}: {effect}: leave "
                "--scheduler-tmax out to follow the epochs"
            )
        if self.preset is not None and self.sources.get("base_lr") == "preset":
            meant = bool(get_preset(self.preset).options.get("pretrained", False))
            if meant != (config.pretrained or config.weights is not None):
                lines.append(
                    f"--base-lr {config.base_lr:g} of --preset {self.preset} is meant for "
                    f"{'pretrained' if meant else 'random'} weights, and training starts from "
                    f"{'random' if meant else 'pretrained'} ones: give --base-lr and --head-lr"
                )
        return lines


def resolve(
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Resolved:
    """Combine the sources of options: flag > environment > preset > default.

    Where the epochs are given by hand, the period of the schedule follows them unless it is given
    too: the preset's period is meant for the preset's epochs.

    Args:
        flags: values given on the command line, by option name, already parsed.
        preset: name of a preset, or none.
        environ: variables named ``PADDY_BENCH_<OPTION>`` are read.

    Raises:
        BenchError: an unknown preset, a value that is out of bounds or not of its type, or a
            variable of a removed option.
    """
    for name, instead in REMOVED.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environ.get(variable, "") != "":
            raise BenchError(
                f"{variable} is of an option that there is no more: set "
                f"{ENVIRONMENT_PREFIX}{instead.upper()} instead"
            )
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
    # A preset's schedule belongs to the preset's number of epochs.
    own_epochs = chosen.get("epochs", config_default("epochs"))
    if sources["scheduler_tmax"] == "preset" and values["epochs"] != own_epochs:
        values["scheduler_tmax"], sources["scheduler_tmax"] = None, "default"
    return Resolved(build(values), sources, preset)
