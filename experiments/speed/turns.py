"""Steady epochs of ours and of the fixed batch in turn, in one process and with one model.

For the variants whose interval in the other races has the bar in it: processes differ by 4 % and
more from each other, and here both sides are the same process. An epoch has all that an epoch has:
its order and draws, its first batch, its last one.
"""

from __future__ import annotations

import statistics

from experiments.contenders.race import Worker, entry, job_of
from experiments.contenders.worker import TURNS
from experiments.rows import Row, speed_row
from experiments.suite import Json, Record, trace

PARAMETERS = {
    "processes": 6,
    "rounds": 6,
    "image_size": 224,
    "entries": [
        entry("MobileNetV3_Small", 32, 384),
        entry("EfficientNet_Lite0_CA", 32, 128),
        entry("EfficientNetV2_S_ECA", 16, 64),
    ],
}
QUICK = {
    "processes": 1,
    "rounds": 2,
    "image_size": 32,
    "entries": [entry("MobileNetV3_Small", 16, 64)],
}
LEAST = 0.95
# What the other races say of these informs; it is judged here.
FINER = [model["variant"] for model in PARAMETERS["entries"]]


def measure(chosen: Record) -> Json:
    """Train each model in so many processes."""
    outcome = []
    for model in chosen["entries"]:
        job = job_of(model, chosen["image_size"], trial=chosen["quick"])
        seconds: dict[str, list[list[float]]] = {name: [] for name in TURNS}
        for number in range(chosen["processes"]):
            for name in TURNS:
                seconds[name].append([])
            with Worker("in turn", job | {"seed": number}) as worker:
                worker.ready()
                for _ in TURNS:
                    worker.epoch()  # warms up
                for _ in range(chosen["rounds"] * len(TURNS)):
                    answer = worker.epoch()
                    seconds[answer["turns"]][-1].append(answer["seconds"])
            trace(f"{model['variant']}: process {number + 1} of {chosen['processes']}")
        outcome.append({**model, "seconds": seconds})
    return {"outcome": outcome}


def rows(record: Record) -> list[Row]:
    """Two rows for each variant: ours, and the fixed batch against itself."""
    parameters, result = record["parameters"], []
    for model in record["outcome"]:
        made = (
            f"steady epochs of {model['images']} images, batch {model['batch_size']}, "
            f"{parameters['image_size']} pixels, in turn in one process; "
            f"{parameters['processes']} processes, medians of {parameters['rounds']} rounds"
        )
        # Of each process: the median of its rounds.
        ours, first, again = (
            [statistics.median(rounds) for rounds in model["seconds"][name]] for name in TURNS
        )
        both = [
            statistics.median(rounds + more)
            for rounds, more in zip(*(model["seconds"][name] for name in TURNS[1:]), strict=True)
        ]
        for what, one, other, least in (
            ("ours ÷ the fixed batch", ours, both, LEAST),
            ("the fixed batch ÷ itself (A/A)", first, again, None),
        ):
            bar = f"{model['variant']}: {what}, in turn in one process"
            result.append(speed_row(bar, one, other, least, made))
    return result
