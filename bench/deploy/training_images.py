"""The images that a run was trained on, found again."""

from __future__ import annotations

from pathlib import Path

from bench.data.index import ImageIndex, find_data, load_index
from bench.data.synthetic.dataset import cached_synthetic
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError
from bench.system.files import read_sealed
from bench.system.paths import cache_folder


def images_of(saved: SavedModel, given: Path | None) -> tuple[ImageIndex, list[str]]:
    """The index of a run's images; the built-in set is drawn anew where it is not cached.

    Args:
        saved: the run.
        given: where its images are now; none: where they were.

    Returns:
        The index, and a warning where the contents of some files have changed.

    Raises:
        BenchError: they are not there, or have other paths, sizes, labels, parts or groups.
    """
    data, config = saved.record["data"], saved.record["config"]
    # A synthetic set that was written to a folder is in no other place of the record.
    where = given or (config.get("data_dir") if data.get("synthetic") else data.get("root"))
    try:
        if where is None:
            images, seed = config["synthetic_images"], _first_seed(saved)
            folder = cached_synthetic(cache_folder(), images, seed)
        else:
            folder = Path(str(where))
        location = find_data(folder, cwd=saved.folder)
        assert location is not None
        index = load_index(location)
    except BenchError as error:
        raise BenchError(
            f"the images of {saved.name} are not where they were: {error} (--data-dir names "
            "their folder)"
        ) from error
    version, fingerprint = data.get("fingerprint_version", 1), data.get("fingerprint")
    if index.listing != (fingerprint if version == 1 else data.get("listing_fingerprint")):
        raise BenchError(
            f"the images in {index.root} are not those that {saved.name} was trained on: give "
            "--data-dir the folder as it was"
        )
    if index.known_as(version).fingerprint == fingerprint:
        return index, []
    return index, [
        f"the contents of some images in {index.root} have changed since {saved.name} was trained"
    ]


def _first_seed(saved: SavedModel) -> int:
    """The seed that the images of a run's sweep were drawn with: the one it was asked for."""
    own = saved.record["config"]["seed"]
    sweep = str(saved.record["sweep"].get("id"))
    try:
        asked = read_sealed(saved.folder.parent / f"sweep-{Path(sweep).name}.json")
        found = asked["config"]["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return int(own)
    return found if type(found) is int else int(own)
