"""The square against its definition in floating point, and reduced decodes against full ones."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from bench.imaging.decode import UPRIGHT, decode
from bench.imaging.square import DETAIL, square, thumbnail
from tests.imaging.scenes import jpeg, scene, turned

SIZES = (32, 64, 128, 224, 384, 512)
SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


# --- the definition --------------------------------------------------------------------------


def weights(start: float, stop: float, side: float, size: int) -> np.ndarray:
    """(S, N): the share of each of N pixels in each of the result, the picture in the middle.

    A triangle as wide as two pixels of the result (of the picture, where it is enlarged), at the
    pixels' centres; a pixel counts with the part of it that lies in the square, and is black where
    the picture does not reach.
    """
    low, scale = (start + stop - side) / 2, side / size
    first, last = int(np.floor(low)) - 1, int(np.ceil(low + side)) + 1
    centres = np.arange(first, last) + 0.5

    def share(begin: float, end: float) -> np.ndarray:
        return np.clip(np.minimum(centres + 0.5, end) - np.maximum(centres - 0.5, begin), 0, 1)

    places = low + (np.arange(size)[:, None] + 0.5) * scale
    triangle = np.clip(1 - np.abs(centres - places) / max(scale, 1), 0, None)
    square_share, picture_share = share(low, low + side), share(start, stop)
    found = triangle * picture_share / (triangle * square_share).sum(1, keepdims=True)
    return found[:, -first : -first + int(np.ceil(stop))]


def defined(pixels: np.ndarray, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """(S, S, 3), rounded once."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    rows = weights(top, bottom, side, size)
    columns = weights(left, right, side, size)
    found = np.einsum("ir,rcb,jc->ijb", rows, pixels.astype(float), columns, optimize=True)
    return np.rint(found)


@pytest.mark.parametrize("size", [7, 32, 100])
@pytest.mark.parametrize(
    "shape",
    [(96, 128), (128, 96), (95, 128), (128, 127), (126, 129), (200, 200), (1, 1), (3, 2), (2, 3),
     (9, 400), (400, 11), (32, 31), (64, 61)],
)  # fmt: skip
def test_a_square_is_what_its_definition_says(shape: tuple[int, int], size: int) -> None:
    image = scene(*shape)
    expected = defined(np.asarray(image), size, (0, 0, *image.size))
    got = np.asarray(square(image, size))
    assert got.shape == (size, size, 3)
    # Where a picture is enlarged, a half pixel at the edge counts twice, and so does its rounding.
    assert np.abs(got - expected).max() <= (1 if size < max(shape) else 2)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 120.125, 90), (0.875, 0.5, 121, 91), (0, 0.25, 121, 121), (0.375, 0, 118.5, 118.75),
     (0, 0, 120.5, 120.125), (0.5, 0.5, 2, 121)],
)  # fmt: skip
def test_edges_between_pixels_are_kept(box: tuple[float, float, float, float]) -> None:
    image = scene(int(np.ceil(box[3])), int(np.ceil(box[2])))
    for size in (16, 40):
        got = np.asarray(square(image, size, box))
        assert np.abs(got - defined(np.asarray(image), size, box)).max() <= 1


def test_an_odd_difference_lies_in_the_middle() -> None:
    """A white picture: half a pixel of black on both sides, not one on one of them."""
    got = np.asarray(square(Image.new("RGB", (99, 100), (255, 255, 255)), 25)).astype(int)
    assert np.array_equal(got, got[:, ::-1])
    assert got[12, 0, 0] < 255 == got[12, 2, 0]


@pytest.mark.parametrize("shape", [(2, 400_000), (400_000, 2), (300, 30_000)])
def test_long_thin_pictures_need_no_gigabytes(monkeypatch, shape: tuple[int, int]) -> None:
    made: list[int] = []
    new = Image.new

    def count(mode, size, *colour):
        made.append(size[0] * size[1])
        return new(mode, size, *colour)

    image = new("RGB", shape[::-1], (255, 255, 255))
    monkeypatch.setattr(Image, "new", count)
    got = np.asarray(square(image, 64))
    assert max(made) < 1_000_000
    assert got[0, 0].max() == 0


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(3, 9_500, 32), (32, 9_500, 32), (9_500, 3, 32), (3, 9_400, 32), (7, 65_000, 224)],
)
def test_a_thin_picture_is_as_wide_as_it_was(width: int, height: int, size: int) -> None:
    """A white line brightens its share of the square, whether it is averaged first or not."""
    got = np.asarray(square(Image.new("RGB", (width, height), (255, 255, 255)), size))[..., 0]
    across = got[size // 2] if height > width else got[:, size // 2]
    true = 255 * size * min(width, height) / max(width, height)
    assert across.astype(float).sum() == pytest.approx(true, abs=1)


def test_a_picture_past_the_limit_of_a_square_is_averaged_first() -> None:
    image = scene(200, 9_600)
    expected = defined(np.asarray(image), 64, (0, 0, 9_600, 200))
    difference = np.abs(np.asarray(square(image, 64)) - expected)
    assert difference.mean() <= 1
    assert np.percentile(difference, 99.9) <= 12


# --- reduced decodes -------------------------------------------------------------------------


def full_and_reduced(data: bytes, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, S, 3) of the full and of the reduced decode."""
    full, reduced = decode(io.BytesIO(data)), decode(io.BytesIO(data), least=DETAIL * size)
    return (
        np.asarray(square(full.image, size, full.box)),
        np.asarray(square(reduced.image, size, reduced.box)),
    )


def see_alike(full: np.ndarray, reduced: np.ndarray, what: object) -> None:
    """The bars: 1 level of 255 in the mean, 12 for one pixel in a thousand, 16 for any."""
    difference = np.abs(full.astype(int) - reduced.astype(int))
    worst = difference.mean(), np.percentile(difference, 99.9), difference.max()
    assert worst[0] <= 1.0, (what, worst)
    assert worst[1] <= 12, (what, worst)
    assert worst[2] <= 16, (what, worst)


# Of 0.3, 1, 3 and 12 megapixels; landscape, portrait, odd, nearly square.
SHAPES = [
    (480, 640), (641, 479), (867, 1155), (1155, 867), (1003, 1001), (1537, 2049), (2047, 1536),
    (3024, 4032), (4031, 3023),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reduced_decode_shows_what_the_full_one_does(shape: tuple[int, int]) -> None:
    """Every size, subsampling and orientation: of most pictures in turn, of two in all pairs."""
    image = scene(*shape)
    turn = itertools.cycle(range(1, 9))
    for subsampling in SUBSAMPLINGS:
        data = jpeg(image, subsampling=subsampling)
        whole = decode(io.BytesIO(data)).image
        large = whole.width * whole.height > 10e6
        for size in SIZES[subsampling::3] if large else SIZES:
            if decode(io.BytesIO(data), least=DETAIL * size).image.size == whole.size:
                continue  # nothing is reduced
            full = square(whole, size)
            for orientation in range(1, 9) if shape in (SHAPES[1], SHAPES[3]) else [next(turn)]:
                found = decode(io.BytesIO(turned(data, orientation)), least=DETAIL * size)
                got = np.asarray(square(found.image, size, found.box))
                upright = UPRIGHT.get(orientation)
                expected = np.asarray(full if upright is None else full.transpose(upright))
                what = SUBSAMPLINGS[subsampling], size, orientation
                see_alike(expected, got, what)


@pytest.mark.ci
def test_a_reduced_decode_of_a_huge_photograph() -> None:
    """48, 108 and 200 megapixels."""
    each = itertools.product([(6048, 8064), (9001, 11999), (16320, 12240)], ((0, 6), (2, 3)))
    for shape, (subsampling, orientation) in each:
        data = jpeg(scene(*shape), orientation, subsampling=subsampling)
        whole = decode(io.BytesIO(data))
        for size in SIZES:
            found = decode(io.BytesIO(data), least=DETAIL * size)
            assert max(found.image.size) < max(whole.image.size) / 3
            full = square(whole.image, size, whole.box)
            see_alike(
                np.asarray(full),
                np.asarray(square(found.image, size, found.box)),
                (shape, SUBSAMPLINGS[subsampling], size),
            )


@pytest.mark.parametrize("shape", [(50, 4000), (4000, 50), (5, 4000), (4000, 3), (1999, 2000)])
def test_extreme_shapes_reduced(shape: tuple[int, int]) -> None:
    for size, orientation in ((32, 1), (64, 3), (224, 6)):
        see_alike(*full_and_reduced(jpeg(scene(*shape), orientation), size), size)


@pytest.mark.parametrize("kind", ["L", "CMYK", "progressive"])
def test_other_jpegs_reduced(kind: str) -> None:
    image = scene(901, 1202)
    data = jpeg(image, progressive=True) if kind == "progressive" else jpeg(image.convert(kind))
    assert decode(io.BytesIO(data), least=96).image.size == (151, 113)
    for size in (32, 64, 128):
        see_alike(*full_and_reduced(data, size), size)


def test_a_file_of_several_pictures_reduced() -> None:
    """A phone's MPO: the first one counts."""
    file = io.BytesIO()
    others = [Image.new("RGB", (1202, 901))]
    exif = Image.Exif()
    exif[274] = 8
    scene(901, 1202).save(file, "MPO", save_all=True, append_images=others, exif=exif)
    assert Image.open(file).format == "MPO"
    found = decode(io.BytesIO(file.getvalue()), least=96)
    assert (found.image.size, found.size) == ((113, 151), (901, 1202))
    see_alike(*full_and_reduced(file.getvalue(), 32), "MPO")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_partial_pixels_of_a_reduced_decode_are_where_orientation_puts_them(
    orientation: int,
) -> None:
    """A white picture of 1201 × 897 pixels, at an eighth: the black begins where it should."""
    data = jpeg(Image.new("RGB", (1201, 897), (255, 255, 255)), orientation)
    found = decode(io.BytesIO(data), least=100)
    left, top, right, bottom = found.box
    sides = Fraction(1201, 8), Fraction(897, 8)
    assert (right - left, bottom - top) == (sides if orientation < 5 else sides[::-1])
    assert (left > 0, top > 0) == (orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8))
    white = np.full((897, 1201, 3) if orientation < 5 else (1201, 897, 3), 255)
    expected = defined(white, 50, (0, 0, white.shape[1], white.shape[0]))
    assert np.abs(np.asarray(square(found.image, 50, found.box)) - expected).max() <= 4


# --- thumbnails ------------------------------------------------------------------------------


def test_a_thumbnail_keeps_the_picture_whole() -> None:
    image = Image.new("RGB", (900, 300), (10, 200, 30))
    assert thumbnail(image, 112).size == (112, 37)
    assert thumbnail(image, 2000).size == (900, 300)
    assert thumbnail(Image.new("RGB", (1, 5000)), 112).size == (1, 112)
