"""Find a sweep's completed runs, and train the others one after the other.

Runs of one frozen backbone share its features.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from bench.records import load_records
from bench.runner.context import Outcome, ProcessContext, Run, RunSpec
from bench.runner.run import run_variant
from bench.train.feature_store import FeatureStore

logger = logging.getLogger(__name__)


@attrs.frozen
class CompletedRuns:
    """Folder and record of each run, by variant, seed and fold."""

    runs: Mapping[tuple[str, int, int | None], Outcome]

    @property
    def most_parts(self) -> int:
        """Into how many parts a batch was divided, at most: later runs do alike."""
        trainings = (record["training"] or {} for _, record in self.runs.values())
        return max((item.get("accumulation_parts", 1) for item in trainings), default=1)

    def tuned(self, variant: str) -> Mapping[str, Any] | None:
        """How a variant was trained in its last run, as a sweep's ``tuned`` has it."""
        trainings = [
            record["training"] or {}
            for (name, *_), (_, record) in self.runs.items()
            if name == variant
        ]
        setups = [item["setup"] for item in trainings if item.get("setup")]
        keys = ("memory_format", "memory_format_reason", "forward")
        return {key: setups[-1][key] for key in keys} if setups else None

    def lookup(self, variant: str, run: Run) -> tuple[Outcome | None, Outcome | None]:
        """``begun`` and ``ended`` of a run; both none where it has yet to begin."""
        return begun_or_ended(self.runs.get((variant, run.seed, run.fold)))


def begun_or_ended(outcome: Outcome | None) -> tuple[Outcome | None, Outcome | None]:
    """``begun`` and ``ended`` of a run by its record; what failed is begun again.

    The reason may be gone.
    """
    complete = outcome is not None and outcome[1]["status"] == "complete"
    return (None, outcome) if complete else (outcome, None)


def completed_runs(results_dir: Path, sweep: str) -> CompletedRuns:
    """The runs of a sweep. What cannot be read counts as not begun: it is run again."""
    runs: dict[tuple[str, int, int | None], Outcome] = {}
    for record in _records(results_dir, sweep):
        key, folder = _key(record), results_dir / record.pop("folder")
        # Of two records of one run (one was unreadable for a time) the whole one counts.
        if key not in runs or runs[key][1]["status"] != "complete":
            runs[key] = folder, record
    return CompletedRuns(runs)


def _records(results_dir: Path, sweep: str) -> list[dict[str, Any]]:
    records = load_records(results_dir)[0] if results_dir.is_dir() else []
    return [record for record in records if record["sweep"]["id"] == sweep]


def _key(record: Mapping[str, Any]) -> tuple[str, int, int | None]:
    """Return variant, seed and fold of a record's run."""
    fold = record["data"]["fold"]
    number = None if fold is None else fold["number"] - 1
    return record["variant"]["name"], record["config"]["seed"], number


def note_folder(results_dir: Path, task: str, variant: str, folder: Path) -> None:
    """Leave a note of a run's folder for whoever does its task again.

    Args:
        results_dir: where the folder is.
        task: tells the task from all others; a file name.
        variant: of the run.
        folder: of the run.
    """
    (results_dir / note_of(task, variant)).write_text(folder.name, encoding="utf8")


def note_of(task: str, variant: str) -> str:
    """The name of that note."""
    return f".{task}-{variant}"


def noted(results_dir: Path, task: str, variant: str, sweep: str, run: Run) -> Outcome | None:
    """Folder and record of a run by the note of its task: no other record is looked at.

    Args:
        results_dir: where the note is.
        task: whose note it is.
        variant: of the run.
        sweep: id of the run's sweep.
        run: its seed and fold.
    """
    try:
        name = (results_dir / note_of(task, variant)).read_text(encoding="utf8")
        (record,), _ = load_records(results_dir, [name])
    except (OSError, ValueError, BenchError):
        return None
    folder = results_dir / record.pop("folder")
    same = record["sweep"]["id"] == sweep and _key(record) == (variant, run.seed, run.fold)
    return (folder, record) if same else None


def bytes_of(results_dir: Path, sweep: str) -> int:
    """What the runs of a sweep take on the disk already."""
    folders = [results_dir / record["folder"] for record in _records(results_dir, sweep)]
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


def train_in_turn(
    planned: Sequence[RunSpec], process: ProcessContext, *, announce: bool = False
) -> Iterator[tuple[int, Outcome]]:
    """Train the runs that have not ended in order; position, folder and record of each.

    Args:
        planned: those of one seed and fold have the same ``run``, one after the other.
        process: what they share.
        announce: whether each is named when it begins.

    Raises:
        TrainingInterrupted: the process's stopper said so.
    """
    for number, spec in enumerate(planned):
        if spec.ended is not None:
            continue
        process.stopper.check(spec.epoch_s)
        if announce:
            logger.info(f"[{number + 1}/{len(planned)}] {spec.variant.name}{spec.label}")
        later = [other for other in planned[number + 1 :] if other.ended is None]
        rest = [other for other in later if other.run is spec.run]
        again = any(other.backbone == spec.backbone for other in rest)
        left = sum(other.expected_s for other in later)
        outcome = run_variant(attrs.evolve(spec, keep_features=again, later_s=left), process)
        yield number, outcome
        if process.features is not None:
            _drop_features(process.features, outcome[1], last=not rest, again=again)


def _drop_features(store: FeatureStore, record: dict[str, Any], *, last: bool, again: bool) -> None:
    """Free what no later run reads."""
    setup = (record["training"] or {}).get("setup", {})
    backbone = (setup.get("features") or {}).get("backbone")
    if last:
        store.drop()
    elif backbone and not again:
        store.drop(backbone)
