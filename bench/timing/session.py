"""A timing session: rounds in which each variant is timed in one fresh process, in rotated order.

Within a round the processes take turns block by block, as many together as memory holds.
The baseline runs twice, under two names (A/A): the gap between them is the session's noise floor.
"""

from __future__ import annotations

import logging
import math
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from bench.config.options import RunConfig
from bench.system.environment import others_load
from bench.timing.cases import Case, is_eager_of
from bench.timing.planner import Plan, most_together, written_duration
from bench.timing.process import TimingProcess, measure_together
from bench.timing.timer import assemble, failed_entry

logger = logging.getLogger(__name__)

CONTROL = " (A/A)"
SMALLEST_BATCH = 2


@attrs.frozen
class Timed:
    """What a session found.

    Attributes:
        record: the ``session`` of every record.
        timing: entries of each variant.
        errors: why a variant was not timed, or none.
    """

    record: dict[str, Any]
    timing: dict[str, list[dict[str, Any]]]
    errors: dict[str, str | None]


@attrs.frozen
class _Measured:
    """What the processes of an entry measured, by case.

    Attributes:
        samples: one of each round.
        settings: what its processes say of themselves and of the case.
        failed: why a backend is not timed; it is not tried again.
    """

    samples: dict[Case, list[dict[str, Any]]] = attrs.field(factory=dict)
    settings: dict[Case, dict[str, Any]] = attrs.field(factory=dict)
    failed: dict[Case, str] = attrs.field(factory=dict)


class Session:
    """Run a plan.

    Args:
        plan: what to do.
        config: what the models are built from, and the seed of the order.
        num_classes: outputs of the models.
        plugins: files that register variants.
        images: files for the pipeline scope.
    """

    def __init__(
        self,
        plan: Plan,
        config: RunConfig,
        *,
        num_classes: int,
        plugins: Sequence[Path],
        images: Sequence[Path],
    ) -> None:
        self.plan = plan
        self.config = config
        self.job = {
            "num_classes": num_classes,
            "config": config.as_record(),
            "plugins": [str(path) for path in plugins],
            "images": [str(path) for path in images],
        }
        self.cases = list(plan.cases)
        self.order = [*plan.names, plan.baseline + CONTROL]
        self.measured = defaultdict[str, _Measured](_Measured)
        self.errors: dict[str, str | None] = dict.fromkeys(self.order)
        random.Random(config.seed).shuffle(self.order)
        self.lowered: list[dict[str, Any]] = []
        self.superseded: list[dict[str, Any]] = []
        self.orders: list[list[str]] = []
        self.notes = list(plan.notes)
        self.together = 1

    def run(self) -> Timed:
        """Time round after round; a round that would pass the budget is not begun."""
        with tempfile.TemporaryDirectory(prefix="paddy-bench-exports-") as folder:
            self.job["exports"] = folder
            begin, load_before = time.monotonic(), others_load()
            rounds = self._rounds(begin)
            return self._result(rounds, time.monotonic() - begin, load_before)

    def _rounds(self, begin: float) -> int:
        """Time until all rounds are done, the budget is spent or all fail; how many were done."""
        number, budget = 0, self.plan.budget_s
        while number < self.plan.rounds and not all(self.errors.values()):
            started = time.monotonic()
            try:
                whole = self._round(number)
            except KeyboardInterrupt:
                if number == 0:
                    raise
                self._interrupted(number)
                break
            if not whole:
                number = 0
                continue
            number += 1
            now = time.monotonic()
            taken = now - started
            left = self.plan.rounds - number
            logger.info(
                f"timing round {number}/{self.plan.rounds} done in {written_duration(taken)}, "
                f"about {written_duration(left * taken)} to go"
            )
            if left and budget is not None and now - begin + taken > budget:
                self.notes.append(
                    f"{number} of {self.plan.rounds} planned rounds were done: the next would "
                    f"have passed the time budget of {written_duration(budget)}"
                )
                break
        return number

    def _round(self, number: int) -> bool:
        """Time one process of each entry, as many together as memory holds.

        Returns:
            Whether the round counts: no batch had to be lowered.
        """
        shift = number % len(self.order)
        rotated = [*self.order[shift:], *self.order[:shift]]
        order = [name for name in rotated if self.errors[name] is None]
        self.orders.append(order)
        self.together = most_together(self.cases)
        groups = np.array_split(order, math.ceil(len(order) / self.together))
        return all(self._group(number, list(group), order) for group in groups)

    def _group(self, number: int, group: Sequence[str], order: Sequence[str]) -> bool:
        """Start processes, time them, store their samples; as :meth:`_round`."""
        processes: dict[str, TimingProcess] = {}
        try:
            for name in group:
                processes[name] = TimingProcess(self._job(name))
            for process in processes.values():
                process.wait_until_ready()
            # A GPU holds one process at a time: what waits there would take memory and clocks.
            alone = any(case.device == "cuda" for case in self.cases)
            outcomes: dict[str, dict[str, Any]] = {}
            for turn in [[name] for name in group] if alone else [group]:
                outcomes |= measure_together({name: processes[name] for name in turn})
                if alone:
                    processes[turn[0]].close()
            return all(
                self._store(name, number, order.index(name), outcomes[name]) for name in group
            )
        finally:
            for process in processes.values():
                process.close()

    def _job(self, entry: str) -> dict[str, Any]:
        failed = self.measured[entry].failed
        return {
            **self.job,
            "variant": self.plan.key_of(entry.removesuffix(CONTROL)),
            "cases": [attrs.asdict(case) for case in self.cases],
            "failed": {str(self.cases.index(case)): reason for case, reason in failed.items()},
        }

    def _store(self, entry: str, number: int, place: int, outcome: dict[str, Any]) -> bool:
        """Store the samples of a process; False where the batch had to be lowered for all."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        cases, error = outcome["cases"], outcome["error"]
        too_large = [values["case"] for values in cases if values.get("out_of_memory")]
        if too_large or outcome.get("killed"):
            reason = error or "out of memory ({clock} at {image_size} pixels, {device})".format(
                **too_large[0]
            )
            batch = max(case.batch_size for case in self.cases)
            if batch >= 2 * SMALLEST_BATCH:
                self._lower(batch, batch // 2, entry, reason)
                return False
            error = f"{reason} at batch {batch}"
        if error:
            self.errors[entry] = " ".join(error.split())
            logger.info(f"timing of {entry} failed: {self.errors[entry]}")
            return True
        measured = self.measured[entry]
        for values in cases:
            case = Case(**values["case"])
            if "failed" not in values:
                sample = {"round": number, "place": place, "measured_at": now, **values["sample"]}
                measured.samples.setdefault(case, []).append(sample)
                measured.settings[case] = values["about"]
            elif case not in measured.failed:
                reason = measured.failed[case] = " ".join(values["failed"].split())
                logger.info(f"timing of {entry}, {case.mode}, {case.regime} failed: {reason}")
        return True

    def _interrupted(self, rounds: int) -> None:
        """Keep the rounds that are whole."""
        for measured in self.measured.values():
            for samples in measured.samples.values():
                samples[:] = [sample for sample in samples if sample["round"] < rounds]
        self.orders = self.orders[:rounds]
        self.notes.append(f"interrupted after {rounds} of {self.plan.rounds} rounds")
        logger.info(f"timing: {self.notes[-1]}: they are kept")

    def _lower(self, old: int, new: int, entry: str, reason: str) -> None:
        """Start again with a smaller batch, the same for every variant."""
        text = " ".join(reason.split())
        logger.info(f"{entry}: {text}: batch {new} instead of {old} for all, timing starts again")
        self.lowered.append({"from": old, "to": new, "variant": entry, "reason": text})
        self.superseded += [
            {"entry": name, "case": attrs.asdict(case), "rounds": samples}
            for name, measured in self.measured.items()
            for case, samples in measured.samples.items()
        ]
        self.orders = []
        self.measured.clear()
        self.cases = [
            attrs.evolve(case, batch_size=min(case.batch_size, new)) for case in self.cases
        ]

    # --- the outcome ---

    def _result(self, rounds: int, seconds: float, load_before: float | None) -> Timed:
        control = self.plan.baseline + CONTROL
        record = {
            "id": f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{random.SystemRandom().getrandbits(16):04x}",
            "seed": self.config.seed,
            "rounds": rounds,
            "rounds_planned": self.plan.rounds,
            "variants": list(self.plan.names),
            "baseline": self.plan.baseline,
            # Beside the control: the noise floor must not hang on the baseline's own record.
            "reference": self._entries(self.plan.baseline),
            "control": {
                "name": control,
                "timing": self._entries(control),
                "error": self.errors[control],
            },
            "order": self.orders,
            "together": self.together,
            "time_budget_s": self.plan.budget_s,
            "estimated_s": self.plan.seconds,
            "seconds": seconds,
            "lowered_batch": self.lowered,
            "superseded": self.superseded,
            "load_before": load_before,
            "load_after": others_load(),
            "notes": self.notes,
        }
        return Timed(
            record,
            {name: self._entries(name) for name in self.plan.names},
            {name: self.errors[name] for name in self.plan.names},
        )

    def _entries(self, entry: str) -> list[dict[str, Any]]:
        measured = self.measured[entry]
        lowered = [f"batch lowered to {step['to']} for all" for step in self.lowered[-1:]]
        entries = []
        for case, samples in measured.samples.items():
            if samples and case not in measured.failed:
                values = assemble(measured.settings[case], samples, samples[0]["measured_at"])
                entries.append({**values, "marks": values["marks"] + lowered})
        for case, reason in measured.failed.items():
            eager = next(
                (
                    measured.settings[other]
                    for other in measured.settings
                    if is_eager_of(other, case)
                ),
                {},
            )
            entries.append(failed_entry(case, reason, eager, measured.samples.get(case, [])))
        return entries
