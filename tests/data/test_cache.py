"""Decoded pixels on disk: found again, built together, made anew, and done without."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import cache as module
from bench.data import cache_folder, pixel_file
from bench.data.cache import DecodedImages, open_images
from bench.data.images import UnreadableImage
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.pixel_file import PixelFile
from bench.errors import BenchError

SIZE = 48
ROW = SIZE * SIZE * 3


def index_of(photos: Path) -> ImageIndex:
    location = find_data(photos, cwd=photos)
    assert location is not None
    return load_index(location)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def look(photos: Path, folder: Path, lines: list[str]) -> Callable[..., DecodedImages]:
    """Open the photographs' pixels anew, index included."""

    def open_(positions=None, *, cache: Path | None = folder, size: int = SIZE, **options):
        index = index_of(photos)
        chosen = range(len(index)) if positions is None else positions
        limit = options.pop("limit", 1e9)
        return open_images(
            index, chosen, image_size=size, cache=cache, limit=limit, workers=2,
            say=lines.append, **options,
        )  # fmt: skip

    return open_


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded for keeps or for use."""
    names: list[str] = []
    inner = module.load_square

    def count(path: Path, size: int) -> np.ndarray:
        names.append(path.name)
        return inner(path, size)

    monkeypatch.setattr(module, "load_square", count)
    return names


def only_folder(folder: Path) -> Path:
    (one,) = (folder / "decoded").iterdir()
    return one


# --- what is read ----------------------------------------------------------------------------


def test_pixels_are_padded_to_a_square_and_resized(look, photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    images = look([3, 5], on_progress=lambda done, total: seen.append((done, total)))
    assert images.rows == {3: 3, 5: 5}
    assert seen == [(0, 2), (1, 2), (2, 2)]
    row = images.read(3)
    assert row.shape == (SIZE, SIZE, 3)
    assert (row[:, :4] == 0).all()
    assert (row[:, 44:] == 0).all()
    index = index_of(photos)
    assert np.array_equal(row[:, 4:44], np.asarray(Image.open(index.path(3))))


def test_with_and_without_a_cache_the_pixels_are_the_same(look) -> None:
    kept, each = look(), look(cache=None)
    assert kept.rows == each.rows
    assert all(np.array_equal(kept.read(row), each.read(row)) for row in range(40))
    assert kept.describe()["kind"] == "cache"
    assert kept.describe()["bytes"] == 40 * ROW
    assert each.describe()["kind"] == "decoded at each access"
    assert each.describe()["bytes"] == 0


def test_what_is_there_is_not_decoded_again(look, decoded: list[str], lines: list[str]) -> None:
    first = look([0, 1, 2])
    assert (first.found, first.decoded, len(decoded)) == (0, 3, 3)
    second = look()
    assert (second.found, second.decoded, len(decoded)) == (3, 37, 40)
    seen: list[tuple[int, int]] = []
    third = look(on_progress=lambda done, total: seen.append((done, total)))
    assert (third.found, third.decoded, len(decoded)) == (40, 0, 40)
    assert seen == [(40, 40)]
    assert [line.partition(":")[0] for line in lines] == [
        "decoding 3 images at 48 pixels",
        "decoding 37 images at 48 pixels",
    ]
    assert "0.0207 MB" in lines[0]
    assert not third.read(0).flags.writeable
    assert third.seconds < 5


def test_no_cache_leaves_nothing_behind_and_says_nothing(look, folder, lines) -> None:
    images = look(cache=None)
    assert not folder.exists()
    assert lines == []
    assert images.describe()["why_not_cached"] is None


def test_a_record_names_no_folder_of_the_machine(look, folder: Path) -> None:
    folder.write_text("in the way")
    assert str(folder.parent) not in str(look().describe())


# --- unreadable images -----------------------------------------------------------------------


@pytest.mark.parametrize("cached", [True, False])
def test_an_unreadable_image_is_named_and_tried_again(
    look, photos: Path, folder: Path, cached: bool
) -> None:
    place = folder if cached else None
    broken = photos / "blast" / "zz.jpg"
    broken.write_bytes(b"no picture")
    for _ in range(2):
        images = look(cache=place)
        ((path, reason),) = images.unreadable
        assert path == "blast/zz.jpg"
        assert reason == "not an image of a known format"
        assert len(images.rows) == 40
        assert images.describe()["images"] == 40


def test_what_could_not_be_read_then_may_be_readable_now(look, monkeypatch) -> None:
    inner = module.load_square

    def refuse(path: Path, size: int) -> np.ndarray:
        if path.name == "003.png":
            raise UnreadableImage(path, "permission denied")
        return inner(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_square", refuse)
        assert {reason for _, reason in look().unreadable} == {"permission denied"}
    again = look()
    assert again.unreadable == ()
    assert again.decoded == 3


def test_a_cut_jpeg_is_found_without_a_cache(look, photos: Path, tmp_path: Path) -> None:
    """Looked at coarsely, as at each access in full."""
    whole = tmp_path / "whole.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    (photos / "blast" / "cut.jpg").write_bytes(whole.read_bytes()[:-4000])
    for place in (None, tmp_path / "own"):
        ((path, reason),) = look(cache=place).unreadable
        assert path == "blast/cut.jpg"
        assert "truncated" in reason


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_readable_is_an_error(tmp_path: Path, cached: bool) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.jpg").write_bytes(b"no picture")
    index = index_of(tmp_path / "set")
    with pytest.raises(BenchError, match="none of the 2 images"):
        open_images(
            index, [0, 1], image_size=SIZE, cache=tmp_path if cached else None, limit=1e9, workers=1
        )


# --- another key -----------------------------------------------------------------------------


def test_a_changed_file_is_decoded_anew(look, photos: Path) -> None:
    before = look().read(0).copy()
    path = photos / "blast" / "000.png"
    status = path.stat()
    Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    images = look()
    assert images.found == 0
    assert np.array_equal(images.read(0), before[::-1])


@pytest.mark.parametrize("what", ["pictures", "size", "Pillow", "loader", "version"])
def test_other_conditions_have_a_file_of_their_own(look, photos: Path, monkeypatch, what) -> None:
    look()
    options = {}
    if what == "pictures":
        (photos / "hispa" / "000.png").unlink()
    elif what == "size":
        options["size"] = 32
    elif what == "Pillow":
        monkeypatch.setattr(cache_folder.PIL, "__version__", "99.0")
    else:
        monkeypatch.setattr(cache_folder, {"loader": "LOADER", "version": "VERSION"}[what], 99)
    assert look(**options).found == 0
    assert look(**options).decoded == 0


# --- damaged, half-built, shared --------------------------------------------------------------


@pytest.mark.parametrize("name", ["pixels.npy", "done"])
@pytest.mark.parametrize("harm", ["short", "long", "missing", "head"])
def test_a_damaged_file_is_made_again(look, folder: Path, name: str, harm: str) -> None:
    expected = look().read(7).copy()
    path = only_folder(folder) / name
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "head" and name == "pixels.npy":
        path.write_bytes(b"\x00" * 16 + content[16:])
    else:
        path.write_bytes(content[:-1] if harm == "short" else content + b"\x01")
    images = look()
    assert images.found == 0
    assert images.describe()["kind"] == "cache"
    assert np.array_equal(images.read(7), expected)
    assert look().found == 40


def test_something_else_in_its_place_is_replaced(look, folder: Path) -> None:
    look()
    own = only_folder(folder)
    for name in ("pixels.npy", "done"):
        (own / name).unlink()
    own.rmdir()
    own.write_text("a file")
    assert look().describe()["kind"] == "cache"
    assert look().found == 40


def test_a_crash_costs_only_what_was_not_marked(look, monkeypatch, decoded: list[str]) -> None:
    """Rows are marked in steps, after they are on the disk."""
    monkeypatch.setattr(module, "STEP_BYTES", 10 * ROW)
    order: list[str] = []
    sync, write = os.fdatasync, os.pwrite

    def note_sync(handle: int) -> None:
        order.append("sync")
        sync(handle)

    def note_write(handle: int, data, offset: int) -> int:
        if len(data) == 1:
            order.append("mark")
        return write(handle, data, offset)

    monkeypatch.setattr(os, "fdatasync", note_sync)
    monkeypatch.setattr(os, "pwrite", note_write)

    def stop(done: int, total: int) -> None:
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(on_progress=stop)
    assert order == (["sync"] + ["mark"] * 10) * 2
    decoded.clear()
    images = look()
    assert images.found == 20
    assert len(decoded) == 20
    assert all(images.read(row).any() for row in range(40))


BUILD = """
import sys
from pathlib import Path
from bench.data.cache import open_images
from bench.data.index import find_data, load_index
photos, cache = Path(sys.argv[1]), Path(sys.argv[2])
index = load_index(find_data(photos, cwd=photos))
print("ready", flush=True)
sys.stdin.readline()
images = open_images(index, range(len(index)), image_size=48, cache=cache, limit=1e9, workers=1)
print(images.describe()["kind"], len(images.rows), flush=True)
"""


@pytest.mark.slow
def test_two_processes_build_one_cache(look, photos: Path, folder: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", BUILD, str(photos), str(folder)]
    builders = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for builder in builders:
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        builder.stdin.write("go\n")
        builder.stdin.flush()
    for builder in builders:
        out, _ = builder.communicate()
        assert builder.returncode == 0
        assert out == "cache 40\n"
    images, each = look(), look(cache=None)
    assert images.found == 40
    assert all(np.array_equal(images.read(row), each.read(row)) for row in range(40))
    assert len(list((folder / "decoded").iterdir())) == 1


def test_where_another_builder_was_first_its_file_is_used(look, folder, monkeypatch) -> None:
    def first(prefix: str, dir: Path) -> str:
        """Another process makes the file just before this one does."""
        monkeypatch.setattr(pixel_file.tempfile, "mkdtemp", mkdtemp)
        look([0, 1])
        return mkdtemp(prefix=prefix, dir=dir)

    mkdtemp = pixel_file.tempfile.mkdtemp
    monkeypatch.setattr(pixel_file.tempfile, "mkdtemp", first)
    images = look()
    assert images.found == 2
    only_folder(folder)


def test_rows_that_another_process_adds_meanwhile_are_used(look) -> None:
    first = look([0])
    second = look([1])
    assert first.file.done().sum() == second.file.done().sum() == 2


# --- in another process ----------------------------------------------------------------------


def test_pickling_takes_no_pixels_along(look) -> None:
    images = look()
    data = pickle.dumps(images)
    assert len(data) < 6000 < 40 * ROW
    there = pickle.loads(data)
    assert there.file.pixels is not None
    assert np.array_equal(there.read(5), images.read(5))


@pytest.mark.parametrize("harm", ["removed", "replaced"])
def test_where_the_file_is_gone_images_are_decoded(look, folder: Path, decoded, harm) -> None:
    images = look()
    data, expected = pickle.dumps(images), images.read(5).copy()
    pixel_file.remove(only_folder(folder))
    if harm == "replaced":
        look([0])  # another file of the same name, in which row 5 is black
    decoded.clear()
    there = pickle.loads(data)
    assert np.array_equal(there.read(5), expected)
    assert len(decoded) == 1
    # The process that has it open already reads on.
    assert np.array_equal(images.read(5), expected)
    assert len(decoded) == 1


# --- done without ----------------------------------------------------------------------------


def warned(lines: list[str], folder: Path) -> str:
    """The one warning; it names the folder and the mend."""
    (line,) = [line for line in lines if line.startswith("warning")]
    assert str(folder) in line
    assert "\n" not in line
    assert "--no-cache" in line
    return line


def test_a_disk_that_fills_up_while_writing(look, folder, lines, monkeypatch) -> None:
    write, room_left = os.pwrite, [30 * ROW]

    def full(handle: int, data, offset: int) -> int:
        if len(data) == 1:
            return write(handle, data, offset)
        if not room_left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data), 4000, room_left[0])
        room_left[0] -= taken
        return write(handle, data[:taken], offset)

    monkeypatch.setattr(os, "pwrite", full)
    images, each = look(), look(cache=None)
    assert len(images.rows) == 40
    assert 28 <= images.kept.sum() <= 30
    assert all(np.array_equal(images.read(row), each.read(row)) for row in range(40))
    assert "no space left on device" in warned(lines, folder)
    assert "PADDY_BENCH_CACHE_DIR" in warned(lines, folder)
    assert images.describe()["kind"] == "cache in part, the rest decoded at each access"
    assert images.describe()["why_not_cached"] == "no space left on device"


def test_a_disk_that_fails_to_keep_what_was_written(look, folder, lines, monkeypatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    images = look()
    assert not images.kept.any()
    assert "input/output error" in warned(lines, folder)
    monkeypatch.undo()
    assert look().found == 0


def test_a_folder_that_cannot_be_made(look, folder: Path, lines: list[str]) -> None:
    folder.write_text("in the way")
    images = look()
    assert images.file is None
    assert images.read(3).shape == (SIZE, SIZE, 3)
    assert "not a directory" in warned(lines, folder)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on nothing can be written (root may write where the mode forbids it)."""

    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    inner = os.open

    def only_read(path, flags, *args, **options):
        return refuse() if flags & os.O_WRONLY else inner(path, flags, *args, **options)

    def switch() -> None:
        monkeypatch.setattr(pixel_file.tempfile, "mkdtemp", refuse)
        monkeypatch.setattr(Path, "rename", refuse)
        monkeypatch.setattr(os, "utime", refuse)
        monkeypatch.setattr(os, "open", only_read)

    return switch


def test_a_read_only_folder_without_the_file(look, folder, lines, read_only) -> None:
    read_only()
    images = look()
    assert images.describe()["kind"] == "decoded at each access"
    assert images.read(3).any()
    assert "permission denied" in warned(lines, folder)


def test_a_read_only_folder_with_the_whole_file_is_read(look, lines, read_only, decoded) -> None:
    look()
    lines.clear()
    read_only()
    decoded.clear()
    images = look()
    assert images.read(3).any()
    assert (lines, decoded) == ([], [])


def test_a_read_only_folder_with_a_half_built_file(
    look, photos, folder, lines, read_only, decoded
) -> None:
    look(range(30))
    read_only()
    decoded.clear()
    images = look()
    assert "permission denied" in warned(lines, folder)
    assert images.found == 30
    assert images.read(29).any()
    assert decoded == []
    assert images.read(30).any()
    assert len(decoded) == 1


def test_only_unreadable_images_missing_is_no_reason_to_warn(
    look, photos, lines, read_only
) -> None:
    (photos / "blast" / "zz.jpg").write_bytes(b"no picture")
    look()
    lines.clear()
    read_only()
    look()
    assert not [line for line in lines if line.startswith("warning")]


def test_a_disk_that_is_too_small(look, folder: Path, lines, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda folder: usage)
    images = look()
    assert images.describe()["kind"] == "decoded at each access"
    assert "0.276 MB, and 0.001 MB are free" in warned(lines, folder)


def test_a_limit_below_what_is_needed(look, folder: Path, lines: list[str]) -> None:
    images = look(limit=39 * ROW)
    assert images.describe()["kind"] == "decoded at each access"
    line = warned(lines, folder)
    assert "take 0.276 MB, and --cache-limit is 0.27 MB: raise it" in line
    lines.clear()
    assert look(limit=40 * ROW).describe()["kind"] == "cache"
    # What is there needs no more room.
    assert look(limit=1).found == 40


def test_the_longest_unused_files_make_room(look, folder: Path) -> None:
    for size, age in ((64, 3000), (96, 2000), (80, 1000)):
        own = look(size=size).file.folder
        times = (own / "done").stat().st_mtime - age
        os.utime(own / "done", (times, times))
    look(size=64)  # used again: no longer the oldest
    kept = {path.name for path in (folder / "decoded").iterdir()}
    taken = 40 * 3 * (64**2 + 80**2) + 40 * ROW + 20_000
    images = look(limit=taken)
    left = {path.name for path in (folder / "decoded").iterdir()}
    assert images.describe()["kind"] == "cache"
    assert len(kept - left) == 1
    assert look(size=64).found == look(size=80).found == 40
    assert look(size=96).found == 0


def test_what_a_killed_builder_left_is_removed(look, folder: Path) -> None:
    look([0])
    for name, age in ((".dead-abc", 2 * cache_folder.STALE_S), (".alive-abc", 0.0)):
        own = folder / "decoded" / name
        own.mkdir()
        times = own.stat().st_mtime - age
        os.utime(own, (times, times))
    look()
    names = [path.name for path in (folder / "decoded").iterdir()]
    assert ".dead-abc" not in names
    assert ".alive-abc" in names


def test_rows_nobody_wrote_take_no_disk(tmp_path: Path) -> None:
    file = pixel_file.open_or_make(tmp_path / "one", 10_000, 224)
    assert isinstance(file, PixelFile)
    status = (tmp_path / "one" / "pixels.npy").stat()
    assert status.st_size > 1.5e9
    assert status.st_blocks * 512 < 1e6
    assert np.load(tmp_path / "one" / "pixels.npy", mmap_mode="r").shape == (10_000, 224, 224, 3)


def test_a_file_that_was_replaced_is_not_written_to(look, folder: Path) -> None:
    """Marks beside rows that another file lacks would be black pictures."""
    file = look([0]).file
    pixel_file.remove(only_folder(folder))
    look([1])
    writer = pixel_file.RowWriter(file)
    writer.write(2, np.ones((SIZE, SIZE, 3), np.uint8))
    writer.mark([2])
    writer.close()
    assert "replaced" in str(writer.error)
    assert look([1]).file.done().tolist() == [False, True] + [False] * 38


def test_a_damaged_file_that_cannot_be_replaced(look, folder, lines, monkeypatch) -> None:
    look()
    (only_folder(folder) / "done").write_bytes(b"")

    def refuse(self, target) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", refuse)
    assert look().describe()["kind"] == "decoded at each access"
    assert "a damaged file is in the way" in warned(lines, folder)
    assert len(list((folder / "decoded").iterdir())) == 1


def test_an_image_that_was_removed_meanwhile(photos: Path, folder: Path) -> None:
    index = index_of(photos)
    (photos / "blast" / "000.png").unlink()
    images = open_images(index, range(40), image_size=SIZE, cache=folder, limit=1e9, workers=1)
    assert images.unreadable == (("blast/000.png", "no such file or directory"),)
