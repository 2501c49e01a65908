from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.images import MAX_PIXELS, UnreadableImage, load_rgb, load_square, square
from tests.data.pictures import leaf, save_leaf

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def pixels(path: Path) -> np.ndarray:
    image = load_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def flat(mode: str, value: object, size: tuple[int, int] = (4, 3)) -> Image.Image:
    return Image.new(mode, size, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_every_format_reads_as_rgb(tmp_path: Path, suffix: str) -> None:
    flat("RGB", RED, (16, 8)).save(tmp_path / f"x.{suffix}")
    got = pixels(tmp_path / f"x.{suffix}")
    assert got.shape == (8, 16, 3)
    assert np.abs(got.astype(int) - RED).max() <= 12


def test_suffix_does_not_decide_the_format(tmp_path: Path) -> None:
    flat("RGB", RED).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert tuple(pixels(tmp_path / "x.jpg")[0, 0]) == RED


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (200, 128), (100, 100, 100)),
        ("RGBA", (200, 100, 40, 0), (0, 0, 0)),
        ("RGBA", (200, 100, 40, 128), (100, 50, 20)),
        ("RGBA", (200, 100, 40, 255), (200, 100, 40)),
    ],
)
def test_modes(tmp_path: Path, mode: str, value: object, expected: tuple[int, ...]) -> None:
    flat(mode, value).save(tmp_path / "x.png")
    assert np.abs(pixels(tmp_path / "x.png")[0, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("transparent", [0, b"\x00\xff"])
def test_palette_with_transparency_lies_on_black(tmp_path: Path, transparent: object) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "x.png", transparency=transparent)
    got = pixels(tmp_path / "x.png")
    assert tuple(got[0, 0]) == (0, 0, 0)
    assert tuple(got[0, 1]) == GREEN


def test_transparent_colour_of_rgb_png_lies_on_black(tmp_path: Path) -> None:
    image = flat("RGB", RED)
    image.putpixel((0, 0), GREEN)
    image.save(tmp_path / "x.png", transparency=GREEN)
    got = pixels(tmp_path / "x.png")
    assert tuple(got[0, 0]) == (0, 0, 0)
    assert tuple(got[0, 1]) == RED


def test_cmyk_jpeg(tmp_path: Path) -> None:
    flat("CMYK", (0, 255, 255, 0), (16, 16)).save(tmp_path / "x.jpg", quality=95)
    red, green, blue = pixels(tmp_path / "x.jpg")[8, 8]
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_brightness(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    assert pixels(tmp_path / f"x.{suffix}")[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 25700, 65535, 99999]], np.int32), [0, 100, 255, 255]),
        (np.array([[-5, 0, 100, 255]], np.int32), [0, 0, 100, 255]),
        (np.array([[0, 0.2, 1, np.nan]], np.float32), [0, 51, 255, 0]),
        (np.array([[0, 51, 200.4]], np.float32), [0, 51, 200]),
    ],
)
def test_32_bit_grey(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert pixels(tmp_path / "x.tif")[0, :, 1].tolist() == expected


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    array = np.asarray(image).astype(int)
    names = (RED, GREEN, BLUE, (0, 0, 0))
    return [
        min(names, key=lambda name: int(np.abs(array[y, x] - name).sum()))
        for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (32, 16))
    for box, colour in (((0, 0), RED), ((16, 0), GREEN), ((0, 8), BLUE)):
        upright.paste(colour, (*box, box[0] + 16, box[1] + 8))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / f"x.{suffix}", exif=exif)
    got = load_rgb(tmp_path / f"x.{suffix}")
    assert got.size == (32, 16)
    assert corners(got) == corners(upright)


@pytest.mark.parametrize("orientation", [0, 9, "up"])
def test_unknown_orientation_is_upright(
    tmp_path: Path, orientation: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat("RGB", RED, (16, 8)).save(tmp_path / "x.jpg")
    monkeypatch.setattr(Image.Image, "getexif", lambda _: {274: orientation})
    assert load_rgb(tmp_path / "x.jpg").size == (16, 8)


def jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not an image"),
        (jpeg()[: len(jpeg()) // 2], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_damaged_files_are_unreadable(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        load_rgb(path)
    assert caught.value.path == path
    assert "\n" not in caught.value.reason
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="no such file"):
        load_rgb(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImage, match="directory"):
        load_rgb(tmp_path)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("side", [9_500, 50_000])
def test_decompression_bombs_are_refused_unread(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert side * side > MAX_PIXELS
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("the bomb was decoded"))
    (tmp_path / "x.png").write_bytes(png_header(side, side))
    with pytest.raises(UnreadableImage, match="pixels"):
        load_rgb(tmp_path / "x.png")


def test_bombs_are_refused_though_pillow_has_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "x.png").write_bytes(png_header(50_000, 50_000))
    with pytest.raises(UnreadableImage, match="50000×50000"):
        load_rgb(tmp_path / "x.png")


def test_warnings_do_not_leak_and_filters_come_back(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_header(9_500, 9_500))
    before = list(warnings.filters)

    def read(_: int) -> str:
        with pytest.raises(UnreadableImage) as caught:
            load_rgb(tmp_path / "x.png")
        return caught.value.reason

    with ThreadPoolExecutor(4) as pool:
        reasons = set(pool.map(read, range(40)))
    assert reasons == {
        "9500×9500 pixels are more than the 89 megapixels that are read of a PNG: shrink it, or "
        "save it as a baseline JPEG"
    }
    assert warnings.filters == before
    with pytest.raises(UserWarning):
        warnings.warn("still an error", stacklevel=1)


# --- square ----------------------------------------------------------------------------------


def test_square_pads_with_black_and_centres() -> None:
    got = np.asarray(square(Image.new("RGB", (20, 40), (255, 255, 255)), 40))
    assert got.shape == (40, 40, 3)
    assert (got[:, :10] == 0).all()
    assert (got[:, 10:30] == 255).all()
    assert (got[:, 30:] == 0).all()
    wide = np.asarray(square(Image.new("RGB", (40, 20), (255, 255, 255)), 40))
    assert (wide == got.transpose(1, 0, 2)).all()


def test_square_averages_when_it_shrinks() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    got = np.asarray(square(Image.fromarray(stripes), 8))
    assert np.abs(got.astype(int) - 100).max() <= 8


def test_square_enlarges_and_leaves_a_square_of_that_size_alone() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    assert (np.asarray(square(image, 8)) == np.asarray(image)).all()
    assert square(image, 32).size == (32, 32)


def test_square_of_a_long_thin_image_needs_no_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    new = Image.new
    monkeypatch.setattr(Image, "new", lambda mode, size: (made.append(size), new(mode, size))[1])
    got = np.asarray(square(new("RGB", (1000, 60_000), (255, 255, 255)), 32))
    assert max(max(size) for size in made) <= 128
    assert got.shape == (32, 32, 3)
    # 32 × 1000 ÷ 60000 of a column is white: spread by the filter over four, none of it lost.
    assert got[:, :14].max() == got[:, 18:].max() == 0
    assert got[1:-1].sum(axis=1) == pytest.approx(255 * 32 / 60, abs=1)


# --- coarse decoding -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "bound"), [((640, 480), 2), ((480, 640), 2), ((641, 479), 2), ((1281, 1279), 2)]
)
def test_a_jpeg_is_decoded_no_finer_than_needed(tmp_path: Path, shape, bound: float) -> None:
    """Levels of 255 from the full decode in the mean, odd sizes too."""
    path = save_leaf(tmp_path / "leaf.jpg", *shape)
    assert max(load_rgb(path, long_side=224).size) == -(
        -max(shape) // (2 if max(shape) < 896 else 4)
    )
    got = load_square(path, 224)
    assert got.shape == (224, 224, 3)
    assert got.dtype == np.uint8
    full = np.asarray(square(load_rgb(path), 224))
    assert np.abs(got.astype(int) - full.astype(int)).mean() < bound


@pytest.mark.parametrize(
    ("size", "long_side"), [(321, 640), (320, 320), (161, 320), (160, 160), (80, 80), (32, 80)]
)
def test_the_longer_side_keeps_the_pixels_that_are_needed(
    tmp_path: Path, size: int, long_side: int
) -> None:
    path = save_leaf(tmp_path / "leaf.jpg")
    assert max(load_rgb(path, long_side=size).size) == long_side


def test_a_coarse_jpeg_is_upright_too(tmp_path: Path) -> None:
    pixels = np.zeros((640, 480, 3), np.uint8)
    pixels[:320] = 250
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    got = load_square(tmp_path / "x.jpg", 64)
    assert got[32, 50].min() > 240
    assert got[32, 14].max() < 10


def test_other_formats_are_decoded_in_full(tmp_path: Path) -> None:
    image = Image.fromarray(leaf(128, 96))
    for suffix in ("png", "bmp", "webp", "tiff"):
        path = tmp_path / f"x.{suffix}"
        image.save(path)
        assert load_rgb(path, long_side=16).size == (96, 128)
        assert np.array_equal(load_square(path, 16), np.asarray(square(load_rgb(path), 16)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_coarse_jpegs_of_other_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(leaf(256, 200)).convert(mode).save(path)
    full = np.asarray(square(load_rgb(path), 64))
    assert np.abs(load_square(path, 64).astype(int) - full.astype(int)).mean() < 3


def test_a_damaged_jpeg_has_the_same_reason_however_coarse(tmp_path: Path) -> None:
    path = save_leaf(tmp_path / "leaf.jpg")
    path.write_bytes(path.read_bytes()[:-20_000])
    reasons = set()
    for long_side in (None, 224, 1):
        with pytest.raises(UnreadableImage) as caught:
            load_rgb(path, long_side=long_side)
        reasons.add(caught.value.reason.partition("(")[0])
    assert len(reasons) == 1


def test_real_photographs_are_the_same_coarse_and_full(rice3: Path) -> None:
    """A level of 255 apart in the mean, three for the one with the finest detail."""
    apart = []
    for path in sorted(rice3.rglob("*.jpg"))[::20]:
        for size in (64, 80, 120):
            full = np.asarray(square(load_rgb(path), size)).astype(int)
            difference = load_square(path, size).astype(int) - full
            apart.append(np.abs(difference).mean())
            assert abs(difference.mean()) < 0.2
    assert max(apart) < 3
    assert np.mean(apart) < 1


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make", [make_pipe, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()]
)
def test_what_never_comes_to_an_end_is_not_opened(tmp_path: Path, make) -> None:
    path = tmp_path / "x.jpg"
    make(path)
    for read in (load_rgb, lambda one: load_square(one, 32)):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read(path)
