"""A sweep of ten variants by Ray on this machine, one after the other, against the same without.

In turn, the plain one first and last.
"""

from __future__ import annotations

import statistics

from experiments.commands import train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, trace

SEED = 0
PARAMETERS = {
    "variants": "all,baselines",
    "images": 600,
    "image_size": 64,
    "batch_size": 32,
    "epochs": 2,
    "order": ["plain", "ray", "ray", "plain"],
}
QUICK = {
    "variants": "MobileNetV3_Small",
    "images": 60,
    "batch_size": 8,
    "epochs": 1,
    "order": ["plain", "ray"],
}
MOST_SHARE, MOST_S = 0.10, 20.0


def measure(chosen: Record) -> Json:
    """Run both."""
    outcome = []
    for what in chosen["order"]:
        more = {"executor": "ray", "devices": 1} if what == "ray" else {}
        ended = train(training_flags(chosen, tune="off", **more))
        complete = sum(record["status"] == "complete" for record in ended.records)
        outcome.append(
            {"what": what, "wall_s": ended.seconds, "complete": complete, "costs": ended.costs}
        )
        trace(f"{what}: {ended.seconds:.0f} s, {complete} complete")
    return {"outcome": outcome}


def rows(record: Record) -> list[Row]:
    """What Ray adds."""
    walls: dict[str, list[float]] = {"plain": [], "ray": []}
    for sweep in record["outcome"]:
        walls[sweep["what"]].append(sweep["wall_s"])
    plain, ray = map(statistics.mean, walls.values())
    most = max(MOST_SHARE * plain, MOST_S)
    parameters = record["parameters"]
    each = "; ".join(
        f"{what} {', '.join(f'{wall:.1f} s' for wall in seconds)}"
        for what, seconds in walls.items()
    )
    return [
        Row(
            "What Ray adds to a sweep",
            f"at most {MOST_SHARE:.0%} or {MOST_S:g} s, whichever is more: {most:.1f} s",
            f"{ray - plain:+.1f} s ({ray:.1f} s against {plain:.1f} s)",
            ray - plain <= most,
            f"{parameters['variants']}, {parameters['images']} images at "
            f"{parameters['image_size']} pixels, {parameters['epochs']} epochs, one run at a time; "
            f"{each}",
        )
    ]
