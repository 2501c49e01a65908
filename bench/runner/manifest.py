"""What a sweep was asked for, kept beside its records: a killed sweep goes on from it.

``sweep-<id>.json`` is written before anything is measured, and once more when the sweep has ended;
``sweep-<id>.npz``, after it, has the path and the content hash of every image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from bench.config.options import REMOVED, RunConfig, build, flag_of, options
from bench.config.presets import Resolved
from bench.data.index import ImageIndex
from bench.data.sources.fingerprint import SAMPLE
from bench.data.sources.layouts import listed
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.system.files import Damaged, read_sealed, replacing, write_sealed
from bench.system.locks import held

SCHEMA, VERSION = "paddy-bench/sweep", 1
# Keys of the file whose values are attributes of a manifest as they are.
PLAIN = ("id", "command", "variants", "fingerprint", "session", "ended")


@attrs.frozen(kw_only=True)
class Manifest:
    """A sweep as it was begun.

    Attributes:
        id: of the sweep.
        command: the command line that began it.
        resolved: options, their sources and the preset.
        variants: name → version, in order.
        plugins: files that registered some of them.
        fingerprint: of the images.
        fingerprint_version: which fingerprint that is (:mod:`bench.data.sources.fingerprint`).
        loader: what makes pixels of them (:data:`bench.imaging.LOADER`).
        session: id of its timing session, once that has ended.
        tuned: how each variant is trained, where a measurement has chosen it: it is not
            measured again (see :class:`bench.timing.tuning.Choice`).
        ended: when all runs had ended; none: not yet.
    """

    id: str
    command: str
    resolved: Resolved
    variants: Mapping[str, int]
    plugins: tuple[Path, ...]
    fingerprint: str
    fingerprint_version: int = 1
    loader: int = LOADER
    session: str | None = None
    tuned: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    ended: str | None = None

    def write(self, results_dir: Path) -> None:
        """Write it whole or not at all."""
        results_dir.mkdir(parents=True, exist_ok=True)
        values = attrs.asdict(self, recurse=False)
        resolved = values.pop("resolved")
        content = {
            "schema": SCHEMA,
            "schema_version": VERSION,
            "id": values.pop("id"),
            "command": values.pop("command"),
            "preset": resolved.preset,
            "config": resolved.config.as_record(),
            "config_sources": resolved.sources,
            **values,
            "plugins": [str(path) for path in self.plugins],
        }
        write_sealed(_file(results_dir, self.id), content)


def find(results_dir: Path, sweep: str | None, variants: Sequence[str] | None = None) -> Manifest:
    """The sweep of that id, or the latest that has not ended.

    Args:
        results_dir: where sweeps leave their records.
        sweep: its id; none: the latest.
        variants: the latest with exactly these; none: with any.

    Raises:
        BenchError: there is none, it has ended, or its file is damaged.
    """
    if sweep is not None:
        path = _file(results_dir, sweep)
        if Path(sweep).name != sweep or not path.is_file():
            unfinished = ", ".join(_unfinished(results_dir)) or "none"
            raise BenchError(
                f"no sweep {sweep!r} in {results_dir}: those that can be gone on with are "
                f"{unfinished}"
            )
        journal = _read(path)
        if journal.ended is not None:
            raise BenchError(f"sweep {sweep} has ended: begin a new one without --resume")
        if held(lock_of(results_dir, sweep)):
            raise BenchError(f"sweep {sweep} is still running in another process: wait for its end")
        return journal
    running = None
    # Ids sort by time. A damaged file must not hide an older sweep silently.
    for path in sorted(results_dir.glob("sweep-*.json"), reverse=True):
        journal = _read(path)
        if journal.ended is not None or variants not in (None, list(journal.variants)):
            continue
        if not held(lock_of(results_dir, journal.id)):
            return journal
        running = running or journal.id
    if running is not None:
        raise BenchError(f"sweep {running} is still running in another process: wait for its end")
    of = f" of {', '.join(variants)}" if variants else ""
    raise BenchError(
        f"no unfinished sweep{of} in {results_dir}: begin one without --resume, or name the folder "
        "with --results-dir"
    )


def lock_of(results_dir: Path, sweep: str) -> Path:
    """The file that whoever runs a sweep holds."""
    return results_dir / f".sweep-{sweep}.lock"


def moved(
    journal: Manifest, given: Resolved, results_dir: Path, *, variants: Sequence[str] | None
) -> Resolved:
    """The journal's options, with the movable ones as they are given now.

    Args:
        journal: of the sweep.
        given: what is asked for now.
        results_dir: where its records are.
        variants: names that are asked for now; none: whatever the sweep has.

    Raises:
        BenchError: something is asked for that the sweep was not begun with.
    """
    before = journal.resolved
    if variants is not None and list(variants) != list(journal.variants):
        raise BenchError(
            f"--resume: sweep {journal.id} was begun with other variants "
            f"({', '.join(journal.variants)}): leave --variants out"
        )
    if given.preset is not None and given.preset != before.preset:
        raise BenchError(
            f"--resume: sweep {journal.id} was begun with "
            f"{'no preset' if before.preset is None else f'--preset {before.preset}'}: "
            "leave --preset out"
        )
    # A limit of time holds for the command that it was given to.
    changes: dict[str, Any] = {"results_dir": results_dir, "hours": given.config.hours}
    sources = dict(before.sources)
    for field in options():
        name, source = field.name, given.sources[field.name]
        new, old = getattr(given.config, name), getattr(before.config, name)
        if source not in ("flag", "environment") or new == old:
            continue
        if not field.metadata["movable"]:
            raise BenchError(
                f"--resume: {flag_of(name)} is {new}, and sweep {journal.id} was begun with {old}: "
                "leave it out, or begin a new sweep"
            )
        changes[name], sources[name] = new, source
    executor = changes.get("executor", before.config.executor)
    if executor != "ray":
        changes["address"] = changes["timing_on"] = None
    if not executor.startswith("slurm"):
        changes["slurm"] = None
    return Resolved(attrs.evolve(before.config, **changes), sources, before.preset)


# --- the images ------------------------------------------------------------------------------


def check_loader(journal: Manifest) -> None:
    """See that the images are made into pixels as they were when the sweep was begun.

    Raises:
        BenchError: another loader makes them now.
    """
    if journal.loader != LOADER:
        raise BenchError(
            f"--resume: sweep {journal.id} was begun with image loader {journal.loader}, and this "
            f"version has loader {LOADER}, which makes other pixels of the images: begin a new "
            "sweep without --resume"
        )


def keep_images(results_dir: Path, sweep: str, index: ImageIndex, contents: np.ndarray) -> None:
    """Keep path and content hash of every image, for :func:`same_images`.

    Raises:
        OSError: it cannot be written.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    with replacing(_images_file(results_dir, sweep)) as file:
        names = np.frombuffer("\0".join(index.paths).encode(), np.uint8)
        np.savez_compressed(file, names=names, contents=contents)


def same_images(
    journal: Manifest, results_dir: Path, index: ImageIndex, contents: np.ndarray
) -> str | None:
    """See that a sweep goes on with the images that it was begun with.

    Every content hash is compared, not times: a touched or copied file is the same one. What was
    read before is not read again where its stamp (size, times, inode) has not changed.

    Args:
        journal: of the sweep.
        results_dir: where its files are.
        index: the images as they are now.
        contents: (N, 16) uint8, hash of each.

    Returns:
        What could not be compared, for the user; none: everything was.

    Raises:
        BenchError: an image was changed, added or removed, or has another label, part or group.
    """
    path = _images_file(results_dir, journal.id)
    before = _read_images(path)
    after = {name: row.tobytes() for name, row in zip(index.paths, contents, strict=True)}
    differing = [] if before is None else _differing(before, after)
    if differing or index.fingerprint != journal.fingerprint:
        reason = "; ".join(differing) or "other paths, sizes, labels, parts, groups or contents"
        raise BenchError(
            f"--resume: the images are not those that sweep {journal.id} was begun with "
            f"({reason}): give --data-dir the data as they were, or begin a new sweep without "
            "--resume"
        )
    if before is None:
        return (
            f"{path} is missing or damaged: the contents of "
            f"{min(SAMPLE, len(index)):,} of {len(index):,} images were compared"
        )
    return None


def _read_images(path: Path) -> dict[str, bytes] | None:
    """Return the content hash of each image, or none where the file cannot be read."""
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = arrays["names"].tobytes().decode().split("\0")
            contents = arrays["contents"]
            if contents.shape != (len(names), 16):
                return None
            return {name: row.tobytes() for name, row in zip(names, contents, strict=True)}
    # Missing, cut short or of another program.
    except Exception:
        return None


def _differing(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """What was changed, added and removed, with the first names."""
    differences = {
        "changed": [name for name, row in after.items() if before.get(name, row) != row],
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
    }
    return [
        f"{what}: {listed(names)}" + (f", {len(names):,} in all" if len(names) > 3 else "")
        for what, names in differences.items()
        if names
    ]


def _images_file(results_dir: Path, sweep: str) -> Path:
    return results_dir / f"sweep-{sweep}.npz"


# --- files -----------------------------------------------------------------------------------


def _file(results_dir: Path, sweep: str) -> Path:
    return results_dir / f"sweep-{sweep}.json"


def _unfinished(results_dir: Path) -> list[str]:
    """Ids of the sweeps that can go on."""
    ids = []
    for path in sorted(results_dir.glob("sweep-*.json")):
        with contextlib.suppress(BenchError):
            if _read(path).ended is None:
                ids.append(path.stem.removeprefix("sweep-"))
    return ids


def _read(path: Path) -> Manifest:
    try:
        content = read_sealed(path)
        if content.get("schema") != SCHEMA or content.get("schema_version") != VERSION:
            raise Damaged("it was written by another version")
        return Manifest(
            resolved=Resolved(
                _config(content["config"]), content["config_sources"], content["preset"]
            ),
            plugins=tuple(Path(text) for text in content["plugins"]),
            fingerprint_version=content.get("fingerprint_version", 1),
            loader=content.get("loader", 1),
            # Sweeps from before it was kept have it in their runs alone.
            tuned=content.get("tuned") or {},
            **{name: content[name] for name in PLAIN},
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path} cannot be gone on with ({error}): begin a new sweep without --resume"
        ) from error


def _config(values: Mapping[str, Any]) -> RunConfig:
    """A config from its record."""
    kinds = {field.name: field.metadata["kind"] for field in options()}
    return build(
        {
            name: Path(value) if kinds.get(name) is Path and value is not None else value
            for name, value in values.items()
            if name not in REMOVED
        }
    )
