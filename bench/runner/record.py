"""Build the record of a run (run.json): configuration, counts, timings, errors."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import variants
from bench.config.options import RunConfig
from bench.models import build
from bench.models.complexity import counters_disagree
from bench.records import SCHEMA, SCHEMA_VERSION
from bench.system.environment import environment
from bench.system.files import read_sealed, write_sealed
from bench.system.memory import keep_freed_memory
from bench.timing.cases import REFERENCE_SIZE
from bench.timing.session import CONTROL, Timed
from bench.train.accumulate import out_of_memory


def new_record(
    variant: variants.Variant,
    config: RunConfig,
    *,
    sweep: Mapping[str, Any],
    sources: Mapping[str, str],
    data: Mapping[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """A record of a run that has not done anything yet.

    Args:
        variant: what is run.
        config: with the run's own seed.
        sweep: id, command and preset.
        sources: where each option came from.
        data: the ``data`` of the record.
        device: where it trains.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": "running",
        "error": None,
        "sweep": dict(sweep),
        "started": now(),
        "finished": "",
        "variant": build.describe(variant, config),
        "config": config.as_record(),
        "config_sources": dict(sources),
        "data": dict(data),
        "environment": environment(device, keep_freed_memory(), command=sweep["command"]),
        "counts": None,
        "training": None,
        "metrics": None,
        "timing": [],
        "timing_error": None if config.timing else "timing was off (--no-timing)",
        "session": None,
        "validation": None,
        "test": None,
        "costs": {},
        "resumed": [],
        "tracker": None,
        "warnings": [],
    }


def go_on(old: Mapping[str, Any], new: Mapping[str, Any], *, continued: bool) -> dict[str, Any]:
    """The record of a run that was broken off, as it goes on: perhaps elsewhere, which it says.

    Args:
        old: the record as it was left.
        new: one that begins now.
        continued: whether its training goes on; else it begins anew, and is all of this machine.
    """
    keys = ["sweep", "started", "config_sources", "costs", "resumed"]
    keys += ["environment"] if continued else []
    places = [
        tuple(str(part["environment"].get(key)) for key in ("machine", "device_name"))
        for part in (old, *old["resumed"], new)
    ]
    warnings = [*old["warnings"], *(w for w in new["warnings"] if w not in old["warnings"])]
    if continued and len(set(places)) > 1:
        names = ", then ".join(" ".join(place) for place in dict.fromkeys(places))
        warnings.append(f"trained on more than one machine ({names}): its seconds are of all")
    again = {"at": new["started"], "environment": new["environment"], "error": old["error"]}
    return {
        **new,
        **{key: old[key] for key in keys},
        "tracker": old.get("tracker"),
        "resumed": [*old["resumed"], again],
        "warnings": warnings,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def count_into(
    record: dict[str, Any], variant: variants.Variant, num_classes: int, config: RunConfig
) -> None:
    """Count parameters and MACs at the run's image size and at 224; warn of what is off."""
    sizes = sorted({config.image_size, REFERENCE_SIZE})
    counts = build.count(variant, num_classes, config, sizes)
    record["counts"] = counts
    declared = counts["parameters_declared"]
    if declared is not None and declared != counts["parameters"]:
        record["warnings"].append(
            f"{counts['parameters']:,} parameters, but {declared:,} are declared: the model is "
            "not the one that its name promises"
        )
    for macs in counts["macs"]:
        if counters_disagree(macs):
            record["warnings"].append(
                f"the two MAC counters disagree at {macs['image_size']} pixels: "
                f"{macs['gmacs_matrix']:.6g} (fvcore) and {macs['gmacs_flop_counter']:.6g} GMACs"
            )


def time_into(record: dict[str, Any], name: str, timed: Timed | None) -> None:
    """Put a session and what it found of a variant into the variant's record."""
    if timed is None:
        return
    record["session"] = timed.record
    record["timing"] = timed.timing[name]
    record["timing_error"] = timed.errors[name]
    if timed.errors[name]:
        record["warnings"].append(f"timing: {timed.errors[name]}")
    for item in timed.record["lowered_batch"]:
        line = f"timing: batch {item['to']} instead of {item['from']} for all variants"
        # The reason is that of one variant: the others' records name it, and have it in `session`.
        own = item["variant"].removesuffix(CONTROL) == name
        record["warnings"].append(f"{line}: {item['reason'] if own else 'for ' + item['variant']}")


def keep_session(timed: Timed, results_dir: Path) -> Path:
    """Write a session whole to ``session-<id>.json`` in the results folder, at once."""
    results_dir.mkdir(parents=True, exist_ok=True)
    path = results_dir / f"session-{timed.record['id']}.json"
    write_sealed(path, {"session": timed.record, "timing": timed.timing, "errors": timed.errors})
    return path


def load_session(results_dir: Path, session: str) -> Timed | None:
    """What :func:`keep_session` wrote; none where it is not there, or damaged."""
    try:
        content = read_sealed(results_dir / f"session-{session}.json")
        return Timed(content["session"], content["timing"], content["errors"])
    except (OSError, ValueError, KeyError):
        return None


GO_ON = "then go on with --resume"


def explain(error: BaseException) -> str:
    """The error's message in one line, with the mend where one is known."""
    text = " ".join(str(error).split())
    mend = _mend(error, text)
    return f"{text}: {mend}" if text and mend else text or mend


def _mend(error: BaseException, text: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some, {GO_ON}"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"make it writable, {GO_ON}"
    if FileNotFoundError in (type(error), type(error.__cause__)):
        return f"bring it back, {GO_ON}"
    if out_of_memory(error):
        return "give a smaller --batch-size or --image-size"
    lost = "killed" in text or "exited unexpectedly" in text
    if isinstance(error, RuntimeError) and "DataLoader worker" in text and lost:
        return f"most likely for lack of memory: give a smaller --num-workers, {GO_ON}"
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return f"the images could not be read in time: see that --data-dir answers, {GO_ON}"
    return ""
