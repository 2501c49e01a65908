"""The images that a run was trained on, found again."""

from __future__ import annotations

from pathlib import Path

from bench.config import build
from bench.data.index import ImageIndex
from bench.data.parts import find_index
from bench.errors import BenchError
from bench.inference.saved import SavedModel
from bench.results import load_records


def images_of(saved: SavedModel, given: Path | None) -> ImageIndex:
    """The index of a run's images; the built-in set is drawn anew where it is not cached.

    Args:
        saved: the run.
        given: where its images are now; none: where they were.

    Raises:
        BenchError: they are not there, or are others.
    """
    data, config = saved.record["data"], saved.record["config"]
    # A synthetic set that was written to a folder is in no other place of the record.
    where = given or (config.get("data_dir") if data.get("synthetic") else data.get("root"))
    if where is not None:
        wanted = build({"data_dir": Path(str(where))})
    else:
        images = config["synthetic_images"]
        wanted = build({"synthetic_images": images, "seed": _first_seed(saved)})
    try:
        # No data/ of the folder that the command runs in is meant.
        index = find_index(wanted, cwd=saved.folder)
    except BenchError as error:
        raise BenchError(
            f"the images of {saved.name} are not where they were: {error} (--data-dir names "
            "their folder)"
        ) from error
    if index.fingerprint != data.get("fingerprint"):
        raise BenchError(
            f"the images in {index.root} are not those that {saved.name} was trained on: give "
            "--data-dir the folder as it was"
        )
    return index


def _first_seed(saved: SavedModel) -> int:
    """The seed that the images of a run's sweep were drawn with: the first of its runs."""
    own = saved.record
    records, _ = load_records(saved.folder.parent)
    seeds = [
        record["config"]["seed"]
        for record in records
        if record["sweep"].get("id") == own["sweep"].get("id")
    ]
    return min([*seeds, own["config"]["seed"]])
