"""Find a sweep's completed runs, and train the others one after the other.

Runs of one frozen backbone share its features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import variants
from bench.errors import BenchError
from bench.records import load_records
from bench.runner.context import Run, Sweep
from bench.runner.run import run_variant


@attrs.frozen
class CompletedRuns:
    """Folder and record of each run, by variant, seed and fold."""

    runs: Mapping[tuple[str, int, int | None], Outcome]

    @property
    def most_parts(self) -> int:
        """Into how many parts a batch was divided, at most: later runs do alike."""
        trainings = (record["training"] or {} for _, record in self.runs.values())
        return max((one.get("accumulation_parts", 1) for one in trainings), default=1)

    def tuned(self, variant: str) -> Mapping[str, Any] | None:
        """How a variant was trained in its last run, as a sweep's ``tuned`` has it."""
        trainings = [
            record["training"] or {}
            for (name, *_), (_, record) in self.runs.items()
            if name == variant
        ]
        setups = [one["setup"] for one in trainings if one.get("setup")]
        keys = ("memory_format", "memory_format_reason", "forward")
        return {key: setups[-1][key] for key in keys} if setups else None

    def of(self, variant: str, run: Run) -> dict[str, Outcome | None]:
        """``begun`` or ``ended`` of a run; both none where it has yet to begin.

        What failed is begun again: the reason may be gone.
        """
        outcome = self.runs.get((variant, run.seed, run.fold))
        if outcome is None:
            return {"begun": None, "ended": None}
        complete = outcome[1]["status"] == "complete"
        return {"begun": None if complete else outcome, "ended": outcome if complete else None}


def completed_runs(results_dir: Path, sweep: str) -> CompletedRuns:
    """The runs of a sweep. What cannot be read counts as not begun: it is run again."""
    found: dict[tuple[str, int, int | None], Outcome] = {}
    if not results_dir.is_dir():
        return CompletedRuns(found)
    records, _ = load_records(results_dir)
    for record in records:
        if record["sweep"]["id"] != sweep:
            continue
        fold = record["data"]["fold"]
        number = None if fold is None else fold["number"] - 1
        key = record["variant"]["name"], record["config"]["seed"], number
        folder = results_dir / record.pop("folder")
        # Of two records of one run (one was unreadable for a time) the whole one counts.
        if key not in found or found[key][1]["status"] != "complete":
            found[key] = folder, record
    return CompletedRuns(found)


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
    fold = record["data"]["fold"]
    number = None if fold is None else fold["number"] - 1
    found = record["sweep"]["id"], record["variant"]["name"], record["config"]["seed"], number
    return (folder, record) if found == (sweep, variant, run.seed, run.fold) else None


def bytes_of(results_dir: Path, sweep: str) -> int:
    """What the runs of a sweep take on the disk already."""
    if not results_dir.is_dir():
        return 0
    folders = [
        results_dir / record["folder"]
        for record in load_records(results_dir)[0]
        if record["sweep"]["id"] == sweep
    ]
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


Outcome = tuple[Path, dict[str, Any]]


@attrs.frozen
class RunSpec:
    """A run that is to be trained.

    Attributes:
        sweep: what it shares with the others of its seed and fold.
        variant: what is trained.
        label: tells it apart from other runs of the variant, for people.
        epoch_s: how long its first epoch is expected to take.
        expected_s: how long all of it is.
        begun: folder and record of the run where it was broken off.
        ended: the same where it has ended already.
    """

    sweep: Sweep
    variant: variants.Variant
    label: str
    epoch_s: float = 0.0
    expected_s: float = 0.0
    begun: Outcome | None = None
    ended: Outcome | None = None

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Equal for variants whose frozen backbones can have the same features."""
        return self.variant.backbone, self.variant.weights_tag


def train_in_turn(
    planned: Sequence[RunSpec],
    *,
    begun: Callable[[int], object] = lambda number: None,
    done: Callable[[int, Outcome], object] = lambda number, outcome: None,
) -> list[Outcome]:
    """Train in order; folder and record of each.

    Args:
        planned: those of one seed and fold have the same ``sweep``, one after the other.
        begun: called with the position of a run that begins.
        done: called with the position of a run that has ended, and what it left.

    Raises:
        TrainingInterrupted: the sweep's stopper said so.
    """
    outcomes = []
    for number, one in enumerate(planned):
        if one.ended is not None:
            outcomes.append(one.ended)
            continue
        one.sweep.stopper.check(one.epoch_s)
        begun(number)
        rest = [
            later
            for later in planned[number + 1 :]
            if later.sweep is one.sweep and later.ended is None
        ]
        again = any(later.backbone == one.backbone for later in rest)
        needed = frozenset([one.variant.name]) if again else frozenset()
        left = sum(later.expected_s for later in planned[number + 1 :] if later.ended is None)
        here = attrs.evolve(one.sweep, needed_later=needed, expected_s=one.expected_s, later_s=left)
        outcome = run_variant(here, one.variant, one.begun)
        outcomes.append(outcome)
        done(number, outcome)
        _drop_features(one.sweep, outcome[1], last=not rest, again=again)
    return outcomes


def _drop_features(sweep: Sweep, record: dict[str, Any], *, last: bool, again: bool) -> None:
    """Free what no later run reads."""
    if sweep.features is None:
        return
    setup = (record["training"] or {}).get("setup", {})
    backbone = (setup.get("features") or {}).get("backbone")
    if last:
        sweep.features.drop()
    elif backbone and not again:
        sweep.features.drop(backbone)
