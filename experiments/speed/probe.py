"""Linear probes of the four V2-S attention variants: one sweep against four separate commands.

Both sides begin with an empty cache; the separate commands share theirs, as a user's would.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from experiments.commands import train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, Tables, trace

WAYS = ("together", "apart")
PARAMETERS = {
    "variants": [
        "EfficientNetV2_S_CA",
        "EfficientNetV2_S_ECA",
        "EfficientNetV2_S_BoTLinear",
        "EfficientNetV2_S_Hybrid",
    ],
    "images": 1000,
    "image_size": 224,
    "batch_size": 16,
    "epochs": 3,
    "repetitions": 2,
}
QUICK = {
    "variants": ["ResNet18", "ResNet18_Hybrid"],
    "images": 60,
    "image_size": 32,
    "batch_size": 8,
    "epochs": 1,
    "repetitions": 1,
}
LEAST = 3.0


def measure(chosen: Record) -> Json:
    """Probe both ways, in alternating order."""
    outcome = []
    for number in range(chosen["repetitions"]):
        repetition = {}
        for way in WAYS[:: -1 if number % 2 else 1]:
            repetition[way] = _probe(chosen, way)
            seconds = sum(repetition[way]["seconds"])
            trace(f"probe {number + 1} of {chosen['repetitions']}, {way}: {seconds:.0f} s")
        outcome.append(repetition)
    return {"outcome": outcome}


def _probe(chosen: Record, way: str) -> Json:
    names = chosen["variants"]
    with tempfile.TemporaryDirectory() as cache:
        commands = [
            train(training_flags(chosen, variants=group, freeze_backbone=True), cache=Path(cache))
            for group in ([",".join(names)] if way == "together" else names)
        ]
    validations = {
        record["variant"]["name"]: record["validation"]
        for command in commands
        for record in command.records
    }
    return {"seconds": [command.seconds for command in commands]} | {
        key: {name: validation[key] for name, validation in validations.items()}
        for key in ("predictions", "macro_f1")
    }


def rows(record: Record) -> list[Row]:
    """How many times faster, and whether every prediction is the same."""
    chosen, outcome = record["parameters"], record["outcome"]
    ratios = [
        sum(repetition["apart"]["seconds"]) / sum(repetition["together"]["seconds"])
        for repetition in outcome
    ]
    mean = statistics.geometric_mean(ratios)
    made = (
        f"{chosen['images']} images at {chosen['image_size']} pixels, "
        f"{chosen['epochs']} epochs, batch {chosen['batch_size']}, --freeze-backbone"
    )
    same = [
        repetition["apart"]["predictions"][name] == repetition["together"]["predictions"][name]
        for repetition in outcome
        for name in chosen["variants"]
    ]
    return [
        Row(
            f"Linear probes of {len(chosen['variants'])} variants: one sweep ÷ separate commands",
            f"at least {LEAST:g}",
            f"{mean:.2f} (repetitions {', '.join(f'{ratio:.2f}' for ratio in ratios)})",
            mean >= LEAST,
            made,
        ),
        Row(
            "Linear probes: predictions of the sweep and of the separate commands are the same",
            "all of them",
            f"{sum(same)} of {len(same)} runs",
            all(same),
            f"every validation image; {made}",
        ),
    ]


def details(record: Record) -> Tables:
    """Seconds of every command."""
    cells = [
        [str(number), way, ", ".join(f"{s:.1f}" for s in repetition[way]["seconds"])]
        for number, repetition in enumerate(record["outcome"], 1)
        for way in WAYS
    ]
    return [("Wall time of every command.", ["repetition", "way", "seconds"], cells)]
