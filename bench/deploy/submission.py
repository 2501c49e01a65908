"""Predictions as the CSV file that Kaggle takes, checked against its sample."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from bench.data.index import is_text
from bench.data.sources.folders import images_below, is_image_name
from bench.data.sources.layouts import listed
from bench.data.sources.tables import rows
from bench.errors import BenchError
from bench.system.files import new_file

if TYPE_CHECKING:
    from bench.deploy.predict import Predicted

TEMPLATE = "sample_submission.csv"
COLUMNS = ("image_id", "label")
# Where Kaggle's layout keeps the images without labels.
TEST_FOLDER = "test_images"


@attrs.frozen
class Template:
    """What a submission must hold: the names of its two columns, and the ids in their order."""

    path: Path
    columns: tuple[str, str]
    ids: tuple[str, ...]


@attrs.frozen
class Asked:
    """The images to predict: what each is called in the file, and where it lies.

    Attributes:
        notes: for the user, one line each.
        odd: names that are not UTF-8, which no table can hold: left out.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    columns: tuple[str, str]
    notes: tuple[str, ...]
    odd: tuple[str, ...] = ()


def find_images(images: Path, template: Path | None) -> Asked:
    """The images of a file or folder, in the order of the template where there is one.

    A folder with ``test_images/`` is Kaggle's: these are meant. The template of a folder is looked
    for in it and in the one above.

    Args:
        images: an image, or a folder whose images at any depth are meant.
        template: a CSV file with the columns and ids that are wanted; none: look for it.

    Raises:
        BenchError: no such file or folder, no images, or a template that cannot be read or asks for
            images that are not there.
    """
    if not images.exists():
        raise BenchError(f"no such file or folder: {images}: name an image, or a folder of images")
    if images.is_dir():
        folder = images / TEST_FOLDER if (images / TEST_FOLDER).is_dir() else images
        listed_names = [name for name, _ in images_below(folder)]
    else:
        folder, listed_names = images.parent, [images.name] if is_image_name(images.name) else []
    names = [name for name in listed_names if is_text(name)]
    odd = tuple(repr(os.fsencode(name)) for name in listed_names if not is_text(name))
    if not names:
        raise BenchError(f"{images} holds no images: name an image, or a folder of images")
    found = _template(images, template)
    if found is None:
        return Asked(tuple(names), tuple(folder / name for name in names), COLUMNS, (), odd)
    place = _places(names, found, images)
    chosen = [folder / place[one] for one in found.ids]
    rest = len(set(names) - {place[one] for one in found.ids})
    notes = [f"ids and their order are those of {found.path}"]
    if rest:
        notes.append(f"{rest} image(s) in {images} are not in {found.path}: not predicted")
    return Asked(found.ids, tuple(chosen), found.columns, tuple(notes), odd)


def _template(images: Path, given: Path | None) -> Template | None:
    if given is not None:
        return read_template(given)
    # One image, or some in a folder further below, are no submission.
    here = images.absolute()
    for folder in (here, here.parent) if here.is_dir() else ():
        if (folder / TEMPLATE).is_file():
            return read_template(folder / TEMPLATE)
    return None


def read_template(path: Path) -> Template:
    """Columns and ids of a sample submission.

    Raises:
        BenchError: it cannot be read, has not two columns, no rows, or an id twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(
            f"{path} cannot be read ({error}): give --template a CSV file in UTF-8"
        ) from error
    if len(header) != 2 or not all(header) or header[0] == header[1]:
        raise BenchError(
            f"{path} must have two columns, such as {','.join(COLUMNS)}, not "
            f"{len(header)}: give --template a sample submission"
        )
    columns = (header[0], header[1])
    ids = [one for _, (one, _) in rows(path, columns)]
    twice = [one for one, count in Counter(ids).items() if count > 1]
    if twice or not ids or not all(ids):
        why = f"lists {listed(twice)} twice" if twice else "has a row without id, or no rows"
        raise BenchError(f"{path} {why}: give --template a sample submission with each id once")
    return Template(path, columns, tuple(ids))


# What an id may be of an image's path, in the order of trying.
FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.rpartition("/")[2],
    lambda name: name.rpartition("/")[2].rpartition(".")[0],
)


def _places(names: Sequence[str], template: Template, images: Path) -> dict[str, str]:
    """Id → relative path of its image."""
    missing: list[str] = []
    for number, form in enumerate(FORMS):
        by_id: dict[str, list[str]] = {}
        for name in names:
            by_id.setdefault(form(name), []).append(name)
        absent = [one for one in template.ids if len(by_id.get(one, ())) != 1]
        if not absent:
            return {one: by_id[one][0] for one in template.ids}
        if number == 0 or len(absent) < len(missing):
            missing = absent
    raise BenchError(
        f"{template.path} asks for {len(missing)} image(s) of which {images} has none or several "
        f"({listed(missing)}): give the images that belong to it, or another --template"
    )


def write_submission(path: Path, asked: Asked, predicted: Predicted) -> int:
    """Write a row for each image that could be read; how many.

    Raises:
        BenchError, OSError: as :func:`bench.system.files.new_file`.
    """
    labels = predicted.labels.tolist()
    known = [
        (one, predicted.classes[label])
        for one, label in zip(asked.ids, labels, strict=True)
        if label >= 0
    ]
    _write_new(path, [asked.columns, *known])
    return len(known)


def write_probabilities(path: Path, asked: Asked, predicted: Predicted) -> None:
    """Write each readable image's probability of every class.

    Raises:
        BenchError, OSError: as :func:`bench.system.files.new_file`.
    """
    pairs = zip(asked.ids, predicted.probabilities.tolist(), strict=True)
    known = [
        (one, *(f"{value:.6g}" for value in values))
        for number, (one, values) in enumerate(pairs)
        if number not in predicted.unreadable
    ]
    _write_new(path, [(asked.columns[0], *predicted.classes), *known])


def _write_new(path: Path, lines: Sequence[Sequence[str]]) -> None:
    with new_file(path) as part, part.open("w", encoding="utf8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
