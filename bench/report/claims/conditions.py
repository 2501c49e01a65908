"""Under which conditions a claim holds, and in which of them a run or a timing differs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from bench.config.options import AMP_DTYPES, flag_of, options
from bench.config.presets import Preset, load_presets
from bench.records.schema import lookup
from bench.report.analysis.validity import Record
from bench.report.claims.model import load_claims
from bench.report.render.markdown import one_line

Conditions = Mapping[str, Any]

# Each condition: the type that a claim may give it as.
KINDS: Mapping[str, Any] = {
    "device": str,
    "device_name": str | list,
    "batch": int,
    "image_size": int,
    "dtype": str,
    "threads": int,
    "memory_format": str,
    "classes": int,
    "data": str,
    "preset": str,
    "pretrained": bool,
    "epochs": int,
    "reduction": int,
}
DEVICES = ("cpu", "cuda")
# An accuracy is that of the weights: what they ran on has no part in it.
OF_THE_MACHINE = ("device", "device_name", "threads", "memory_format", "dtype")
# A speed is that of the model: what its weights were learnt from has no part in it.
OF_THE_WEIGHTS = ("data", "pretrained", "epochs")
_OTHER_MODEL = {"ti", "super", "laptop", "mobile", "max-q", "d"}


def facts_of_timing(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions of one timing entry of a record."""
    keys = ("device", "device_name", "image_size", "dtype", "threads", "memory_format")
    return {**{key: entry.get(key) for key in keys}, "batch": entry.get("batch_size")}


def facts_of_run(record: Record) -> dict[str, Any]:
    """Return the conditions of a run's training."""
    training, config = record.get("training") or {}, record.get("config") or {}
    initial = training.get("initial_weights")
    return {
        "device": training.get("device"),
        "device_name": training.get("device_name"),
        "batch": config.get("batch_size"),
        "image_size": config.get("image_size"),
        "epochs": config.get("epochs") if training else None,
        "dtype": AMP_DTYPES.get(str(training.get("amp")), training.get("amp")),
        "threads": lookup(record, "environment", "threads"),
        "memory_format": lookup(training, "setup", "memory_format"),
        "classes": classes_of(record),
        "reduction": reduction_of(record),
        "pretrained": bool(config.get("pretrained")) if initial is None else initial != "random",
        "preset": _preset(record),
        "data": _data(record),
    }


def classes_of(record: Record) -> int | None:
    """Return the classes of the head that a run was built with; None where not recorded."""
    counted = lookup(record, "counts", "num_classes")
    return counted or len(lookup(record, "data", "classes") or []) or None


def has_reduction(record: Record) -> bool:
    """Return whether a run's model has Coordinate Attention, whose reduction can be chosen."""
    return any(re.match(r"CA\b", part) for part in _attention(record))


def reduction_of(record: Record) -> int | None:
    """Return the reduction of a run's Coordinate Attention; None without it, or unrecorded."""
    if not has_reduction(record):
        return None
    given = lookup(record, "config", "reduction")
    declared = declared_reduction(record)
    return int(given) if given is not None else declared and declared[0]


def declared_reduction(record: Record | None) -> tuple[int, str] | None:
    """Return the reduction that a variant's Coordinate Attention declares, and its words."""
    matches = (re.match(r"CA\b.*\breduction (\d+)", part) for part in _attention(record))
    return next(((int(match[1]), match.string) for match in matches if match), None)


def _attention(record: Record | None) -> list[str]:
    return [one_line(part) for part in lookup(record, "variant", "attention") or []]


@cache
def presets() -> Mapping[str, Preset]:
    """Return the presets by name, read once."""
    return load_presets()


def _preset(record: Record) -> str:
    """Return the preset that a run was one of: by name, or by having all of its options."""
    name, config = lookup(record, "sweep", "preset"), record.get("config") or {}
    values = tuple(config.get(field.name) for field in _recipe())
    try:
        return _preset_of(name, values)
    except TypeError:  # a value that nothing but a hostile record has
        return _preset_of.__wrapped__(name, values)


@lru_cache(maxsize=1024)
def _preset_of(name: Any, values: tuple[Any, ...]) -> str:
    if isinstance(name, str) and name in presets():
        changed = _changed(presets()[name], values)
        return f"{name} with other {', '.join(changed)}" if changed else name
    # The guide's own commands give the flags of a preset, not its name.
    same_options = (key for key, preset in presets().items() if not _changed(preset, values))
    return one_line(name or next(same_options, "none"))


@cache
def _recipe() -> list[Any]:
    """Return the options that make a recipe."""
    return [field for field in options() if field.metadata["recipe"]]


def _changed(preset: Preset, values: Sequence[Any]) -> list[str]:
    """Return flags of the recipe that a run had other values for than the preset gives."""
    return [
        flag_of(field.name)
        for field, value in zip(_recipe(), values, strict=True)
        if value != preset.options.get(field.name, field.default)
    ]


def _data(record: Record) -> str:
    data, config = record.get("data") or {}, record.get("config") or {}
    if data.get("synthetic"):
        return "synthetic"
    classes = data.get("classes") or []
    data_sets = load_claims().data
    name = next((key for key, names in data_sets.items() if set(names) == set(classes)), None)
    if name is None:
        return f"other data, {len(classes)} classes ({one_line(data.get('fingerprint'))})"
    if config.get("train_limit") is not None:
        return f"{name}, {config['train_limit']} training images only"
    return f"{name}, backbone frozen" if config.get("freeze_backbone") else name


def differing(stated: Conditions, facts: Conditions, without: Collection[str] = ()) -> list[str]:
    """Return what is stated and was otherwise: ``batch: 64 stated, 16 here``.

    What was not recorded differs too: nothing shows that it was as stated.
    """
    return [
        f"{key.replace('_', ' ')}: {written(value)} stated, {written(facts.get(key))} here"
        for key, value in stated.items()
        if key not in without and not same(key, value, facts.get(key))
    ]


def same(key: str, stated: Any, fact: Any) -> bool:
    """Return whether a condition holds; a device's name may be a part of the full one."""
    if key == "device_name":
        names = stated if isinstance(stated, (list, tuple)) else (stated,)
        return any(_names(str(name), str(fact or "")) for name in names)
    if key == "data":
        return bool(stated == fact or (fact and f"({stated})" in str(fact)))
    return bool(stated == fact)


def _names(short: str, full: str) -> bool:
    match = re.search(rf"(?<![\w-]){re.escape(short)}(?![\w])\s*(\S*)", full, re.IGNORECASE)
    # A "3090 Ti" is another GPU than a "3090".
    return match is not None and match[1].lower() not in _OTHER_MODEL


def unstated(stated: Conditions, needed: Collection[str]) -> list[str]:
    """Return the needed conditions that are not stated; a CPU's speed needs its threads too."""
    threads = ["threads"] if "device_name" in needed and stated.get("device") == "cpu" else []
    return [key.replace("_", " ") for key in (*needed, *threads) if key not in stated]


def written(value: Any) -> str:
    """Return a condition's value in a sentence."""
    if isinstance(value, (list, tuple)):
        return " or ".join(map(one_line, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not recorded" if value is None else one_line(value)


def listed(stated: Conditions) -> str:
    """Return all conditions of a claim in one line."""
    parts = [f"{key.replace('_', ' ')} {written(value)}" for key, value in stated.items()]
    return ", ".join(parts) or "none stated"
