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


class Session:
    """Runs a plan.

    Args:
        plan: what to do.
        config: what the models are built from, and the seed of the order.
        num_classes: outputs of the models.
        plugins: files that register variants.
        images: files for the pipeline clock.
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
        self.num_classes = num_classes
        self.plugins = [str(path) for path in plugins]
        self.images = [str(path) for path in images]
        self.cases = list(plan.cases)
        self.entries = [*plan.names, plan.baseline + CONTROL]
        self.order = list(self.entries)
        random.Random(config.seed).shuffle(self.order)
        self.samples: dict[str, dict[Case, list[dict[str, Any]]]] = {}
        self.about: dict[str, dict[Case, dict[str, Any]]] = {}
        self.failed: dict[str, dict[Case, str]] = {}
        self.errors: dict[str, str | None] = dict.fromkeys(self.entries)
        self.lowered: list[dict[str, Any]] = []
        self.superseded: list[dict[str, Any]] = []
        self.orders: list[list[str]] = []
        self.notes = list(plan.notes)
        self.together = 1
        self._exports = ""

    def run(self) -> Timed:
        """Time round after round; a round that would pass the budget is not begun."""
        with tempfile.TemporaryDirectory(prefix="paddy-bench-exports-") as folder:
            self._exports = folder
            return self._run()

    def _run(self) -> Timed:
        begin, load_before = time.monotonic(), others_load()
        number = 0
        while number < self.plan.rounds and not all(self.errors.values()):
            started = time.monotonic()
            try:
                counts = self._round(number)
            except KeyboardInterrupt:
                self._interrupted(number)
                break
            if not counts:
                number = 0
                continue
            number += 1
            taken = time.monotonic() - started
            left = self.plan.rounds - number
            logger.info(
                f"timing round {number}/{self.plan.rounds} done in {written_duration(taken)}, "
                f"about {written_duration(left * taken)} to go"
            )
            spent = time.monotonic() - begin
            budget = self.plan.budget_s
            if left and budget is not None and spent + taken > budget:
                self.notes.append(
                    f"{number} of {self.plan.rounds} planned rounds were done: the next would "
                    f"have passed the time budget of {written_duration(budget)}"
                )
                break
        return self._result(number, time.monotonic() - begin, load_before)

    def _round(self, number: int) -> bool:
        """One process of each entry; whether the round counts (no batch had to be lowered)."""
        shift = number % len(self.order)
        order = [*self.order[shift:], *self.order[:shift]]
        alive = [name for name in order if self.errors[name] is None]
        self.orders.append(alive)
        return all(self._group(number, group, alive) for group in self._groups(alive))

    def _groups(self, names: Sequence[str]) -> list[list[str]]:
        """Names in groups of about equal size, as many together as memory holds."""
        self.together = most_together(self.cases)
        number = math.ceil(len(names) / self.together)
        return [list(group) for group in np.array_split(names, number)] if number else []

    def _group(self, number: int, group: Sequence[str], alive: Sequence[str]) -> bool:
        """Start processes, time them, keep what they found; as :meth:`_round`."""
        processes: dict[str, TimingProcess] = {}
        try:
            for name in group:
                processes[name] = TimingProcess(self._job(name))
            for process in processes.values():
                process.wait_until_ready()
            # A GPU holds one process at a time: what waits there would take memory and clocks.
            alone = any(case.device == "cuda" for case in self.cases)
            found: dict[str, dict[str, Any]] = {}
            for turn in [[name] for name in group] if alone else [group]:
                found |= measure_together({name: processes[name] for name in turn})
                if alone:
                    processes[turn[0]].close()
            return all(self._keep(name, number, alive.index(name), found[name]) for name in group)
        finally:
            for process in processes.values():
                process.close()

    def _job(self, entry: str) -> dict[str, Any]:
        return {
            "variant": self.plan.key_of(entry.removesuffix(CONTROL)),
            "num_classes": self.num_classes,
            "config": self.config.as_record(),
            "cases": [attrs.asdict(case) for case in self.cases],
            "plugins": self.plugins,
            "images": self.images,
            "exports": self._exports,
            "failed": {
                str(self.cases.index(case)): reason
                for case, reason in self.failed.get(entry, {}).items()
            },
        }

    def _keep(self, entry: str, number: int, place: int, found: dict[str, Any]) -> bool:
        """Store what a process found; False where the batch had to be lowered for all."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        full = [f["case"] for f in found["cases"] if f.get("out_of_memory")]
        if full or found.get("killed"):
            reason = found["error"] or (
                f"out of memory ({full[0]['clock']} at {full[0]['image_size']} pixels, "
                f"{full[0]['device']})"
            )
            batch = max(case.batch_size for case in self.cases)
            if batch >= 2 * SMALLEST_BATCH:
                self._lower(batch, batch // 2, entry, reason)
                return False
            self._fail(entry, f"{reason} at batch {batch}")
            return True
        if found["error"]:
            self._fail(entry, found["error"])
            return True
        for one in found["cases"]:
            case = Case(**one["case"])
            if "failed" in one:
                self._fail_mode(entry, case, one["failed"])
                continue
            sample = {"round": number, "place": place, "measured_at": now, **one["sample"]}
            self.samples.setdefault(entry, {}).setdefault(case, []).append(sample)
            self.about.setdefault(entry, {})[case] = one["about"]
        return True

    def _interrupted(self, rounds: int) -> None:
        """End with the rounds that are whole; without one there is nothing to keep."""
        if rounds == 0:
            raise  # the interrupt that is being handled
        for cases in self.samples.values():
            for case, samples in cases.items():
                cases[case] = [one for one in samples if one["round"] < rounds]
        self.orders = self.orders[:rounds]
        self.notes.append(f"interrupted after {rounds} of {self.plan.rounds} rounds")
        logger.info(f"timing: {self.notes[-1]}: they are kept")

    def _fail(self, entry: str, reason: str) -> None:
        self.errors[entry] = " ".join(reason.split())
        logger.info(f"timing of {entry} failed: {self.errors[entry]}")

    def _fail_mode(self, entry: str, case: Case, reason: str) -> None:
        """Note why a mode is not timed, at its first failure; it is not tried again."""
        known = self.failed.setdefault(entry, {})
        if case not in known:
            known[case] = " ".join(reason.split())
            logger.info(f"timing of {entry}, {case.mode}, {case.regime} failed: {known[case]}")

    def _lower(self, old: int, new: int, entry: str, reason: str) -> None:
        """Start again with a smaller batch, the same for every variant."""
        text = " ".join(reason.split())
        logger.info(f"{entry}: {text}: batch {new} instead of {old} for all, timing starts again")
        self.lowered.append({"from": old, "to": new, "variant": entry, "reason": text})
        self.superseded += [
            {"entry": name, "case": attrs.asdict(case), "rounds": rounds}
            for name, cases in self.samples.items()
            for case, rounds in cases.items()
        ]
        self.samples, self.about, self.failed, self.orders = {}, {}, {}, []
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
        found = self.samples.get(entry, {})
        lowered = [f"batch lowered to {item['to']} for all" for item in self.lowered[-1:]]
        about, failed = self.about.get(entry, {}), self.failed.get(entry, {})
        entries = []
        for case, rounds in found.items():
            if rounds and case not in failed:
                made = assemble(about[case], rounds, rounds[0]["measured_at"])
                made["marks"] += lowered
                entries.append(made)
        for case, reason in failed.items():
            eager = next((about[one] for one in about if is_eager_of(one, case)), {})
            entries.append(failed_entry(case, reason, eager, found.get(case, [])))
        return entries
