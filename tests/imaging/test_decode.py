"""Which scale a file is decoded at, and which files are too large."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.images import UnreadableImage, load_rgb, load_square, read_size
from bench.data.index import Location, load_index
from bench.data.splitting.hashes import hash_images
from bench.imaging.decode import MAX_BASELINE_PIXELS, MAX_PIXELS, DecodeError, decode
from tests.imaging.scenes import jpeg, scene

LARGE = (9_500, 9_500)


# --- scales ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((800, 600), 801, (800, 600)),
        ((800, 600), 401, (800, 600)),
        ((800, 600), 400, (400, 300)),
        ((800, 600), 101, (200, 150)),
        ((600, 800), 100, (75, 100)),
        ((600, 800), 1, (75, 100)),
        ((801, 3), 100, (101, 1)),
        ((5, 4000), 500, (1, 500)),
        ((5, 4000), 501, (2, 1000)),
        ((7, 7), 1, (2, 2)),
        ((1, 1), 1, (1, 1)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_comes_at_the_smallest_scale_that_has_enough_pixels(
    size: tuple[int, int], least: int, expected: tuple[int, int], mode: str
) -> None:
    """The longer side decides, however short the other one is."""
    found = decode(io.BytesIO(jpeg(Image.new(mode, size))), least=least)
    assert found.image.size == expected
    assert found.size == size


def test_the_shorter_side_may_decide() -> None:
    data = jpeg(Image.new("RGB", (4000, 512)))
    assert decode(io.BytesIO(data), least=128, side=min).image.size == (1000, 128)
    assert decode(io.BytesIO(data), least=128, side=max).image.size == (500, 64)


def test_the_size_of_a_file_is_upright_and_whole(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(Image.new("RGB", (801, 602)), 6))
    assert read_size(tmp_path / "x.jpg") == (602, 801)
    Image.new("L", (30, 20)).save(tmp_path / "x.png")
    assert read_size(tmp_path / "x.png") == (30, 20)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_other_formats_are_padded_and_resized_as_jpegs_are(tmp_path: Path, suffix: str) -> None:
    image, path = scene(301, 400), tmp_path / f"x.{suffix}"
    image.save(path, lossless=True)
    (tmp_path / "x.jpg").write_bytes(jpeg(image, quality=100, subsampling=0))
    difference = load_square(path, 32).astype(int) - load_square(tmp_path / "x.jpg", 32)
    assert np.abs(difference).max() <= 3


# --- limits ----------------------------------------------------------------------------------


def claiming(width: int, height: int, **options: object) -> bytes:
    """A small JPEG that says it is larger."""
    data = jpeg(Image.new("RGB", (16, 24)), **options)
    small = struct.pack(">HH", 24, 16)
    assert data.count(small) == 1
    return data.replace(small, struct.pack(">HH", height, width))


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(io.BytesIO(data), least=100)
    return str(caught.value)


def test_what_is_too_large_is_refused_with_size_and_advice(monkeypatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("it was decoded")

    assert LARGE[0] * LARGE[1] > MAX_PIXELS
    assert MAX_BASELINE_PIXELS == 16_000 * 16_000
    progressive = claiming(*LARGE, progressive=True)
    baseline = claiming(16_001, 16_000)
    neither = claiming(16_001, 16_000, progressive=True)
    monkeypatch.setattr(Image.Image, "load", refuse)
    assert reason(progressive) == (
        "9500×9500 pixels are more than the 89 megapixels that are read of a progressive JPEG: "
        "shrink it, or save it as a baseline JPEG"
    )
    assert reason(baseline) == (
        "16001×16000 pixels are more than the 256 megapixels that are read of a baseline JPEG: "
        "shrink it"
    )
    assert reason(neither).endswith("of a progressive JPEG: shrink it")


@pytest.mark.parametrize("limit", [None, 100, 10**9])
def test_pillows_own_limit_neither_counts_nor_changes(monkeypatch, limit: int | None) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert decode(io.BytesIO(jpeg(scene(50, 60)))).image.size == (60, 50)
    # Its few pixels, and grey to its early end: Pillow would refuse it by its size.
    assert decode(io.BytesIO(claiming(16_000, 16_000)), least=100).image.size == (2000, 2000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_large_baseline_jpeg_is_read(tmp_path: Path) -> None:
    """90 megapixels, as pixels and as what finds copies; the same picture as PNG is refused."""
    image = Image.new("L", LARGE, 200)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / f"{name}.jpg")
    got = load_square(tmp_path / "a/a.jpg", 32)
    assert np.abs(got.astype(int) - 200).max() <= 1
    assert read_size(tmp_path / "a/a.jpg") == LARGE
    assert load_rgb(tmp_path / "a/a.jpg", long_side=1).size == (1188, 1188)
    index = load_index(Location(tmp_path, "class-folders"))
    assert hash_images(index).decoded.all()
    image.save(tmp_path / "x.png", compress_level=1)
    with pytest.raises(UnreadableImage, match="89 megapixels that are read of a PNG: shrink it"):
        load_rgb(tmp_path / "x.png")


# --- the layer -------------------------------------------------------------------------------


def test_thumbnails_of_the_report_need_no_torch(tmp_path: Path) -> None:
    image = Image.new("RGBA", (400, 300), (250, 250, 250, 0))
    image.save(tmp_path / "x.png")
    code = (
        "import sys, pathlib, bench.report.render.document, bench.report.render.thumbnails as t;"
        f"p = t.open_picture(pathlib.Path({str(tmp_path)!r}), 'x.png');"
        # Transparency lies on black, as models see it.
        "assert p.size == (400, 300) and p.getpixel((9, 9)) == (0, 0, 0);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
