"""The worst mistakes as small pictures: images that most variants were wrong about, and sure."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.imaging.decode import decode
from bench.imaging.square import DETAIL
from bench.imaging.square import thumbnail as shrink
from bench.records.schema import lookup
from bench.report.analysis.selection import variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.chapters.mistakes import predictions_of

MOST = 24
SIDE = 112

# A run and the id of one of its images → a Pillow image, or none where it cannot be had.
Pictures = Callable[[Record, str], Any]


@attrs.frozen
class Mistake:
    """An image, its class, and who took it for what with which confidence (0..1)."""

    id: str
    truth: str
    guesses: tuple[tuple[str, str, float], ...]
    runs: tuple[Record, ...] = attrs.field(eq=False, repr=False)

    @property
    def badness(self) -> tuple[int, float]:
        """How many were wrong, and how sure they were in all."""
        return len(self.guesses), sum(share for _, _, share in self.guesses)


def worst_mistakes(runs: Sequence[Record], most: int = MOST) -> list[Mistake]:
    """Images of the judged part that most runs were wrong about; of equals where they were surer.

    Args:
        runs: one for each variant; those without whole predictions or ids are passed over.
        most: how many images.
    """
    by_image: dict[tuple[str, str], list[tuple[Record, tuple[str, str, float]]]] = {}
    for run in runs:
        found, ids = predictions_of(run), lookup(run, judged_part(run), "ids") or []
        if found is None or len(ids) != len(found.labels):
            continue
        classes = [str(name) for name in run["data"]["classes"]]
        rows = zip(ids, found.labels, found.predictions, found.confidences, strict=True)
        for name, label, guess, share in rows:
            if label != guess:
                wrong = by_image.setdefault((str(name), classes[label]), [])
                wrong.append((run, (variant_of(run), classes[guess], share)))
    mistakes = [
        Mistake(name, truth, tuple(guess for _, guess in wrong), tuple(run for run, _ in wrong))
        for (name, truth), wrong in by_image.items()
    ]
    mistakes.sort(key=lambda mistake: (*(-number for number in mistake.badness), mistake.id))
    return mistakes[:most]


def thumbnail(mistake: Mistake, pictures: Pictures) -> str | None:
    """A small JPEG as a data address; none where the image cannot be had."""
    image = pictures(mistake.runs[0], mistake.id)
    if image is None:
        return None
    buffer = io.BytesIO()
    shrink(image, SIDE).save(buffer, "JPEG", quality=72)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def open_picture(root: Path, name: str, row: Callable[[Path, str], bytes] | None = None) -> Any:
    """An image of a data folder, or in an archive there, as models see it; none: it is gone.

    Args:
        root: the folder.
        name: of the image, as records have it.
        row: gives the bytes of a row of an Arrow file; none: there are no such files.
    """
    try:
        folder = root.resolve(strict=True)
        ends = [name.find(f"{end}/") + len(end) for end in (".tar", ".arrow") if f"{end}/" in name]
        archive, member = (name[: min(ends)], name[min(ends) + 1 :]) if ends else (name, "")
        path = (folder / archive).resolve(strict=True)
        if ends and path.is_dir():
            path, member = (folder / name).resolve(strict=True), ""
        if not path.is_relative_to(folder) or not path.is_file():
            return None
        source: Any = path
        if member and archive.endswith(".arrow"):
            source = None if row is None else io.BytesIO(row(path, member))
        elif member:
            with tarfile.open(path) as tar:
                file = tar.extractfile(member)
                source = io.BytesIO(file.read()) if file is not None else None
        return decode(source, least=DETAIL * SIDE).image
    # Damaged files raise almost anything; a report has no need to say what.
    except Exception:
        return None
