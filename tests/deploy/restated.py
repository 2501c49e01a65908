"""Pixels of an image file as an exported file's metadata alone tells, with Pillow and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


def pixels_of(path: Path, about: dict[str, Any]) -> np.ndarray:
    """(S, S, 3) uint8.

    Args:
        path: of a picture.
        about: the metadata's ``transform``.
    """
    with Image.open(path) as image:
        image.seek(about["decode"]["frame"])
        tag = image.getexif().get(about["upright"]["exif_tag"], 1)
        width, height = _draft(image, about["decode"])
        rgb = _rgb(image, about["rgb"])
    return _squared(*_upright(rgb, width, height, tag, about["upright"]), about)


def normalised(pixels: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """(3, S, S) float32 of (S, S, 3) uint8: the formula of the metadata."""
    mean, std, scale = (np.float32(transform[key]) for key in ("mean", "std", "scale"))
    return ((pixels.astype(np.float32) * scale - mean) / std).transpose(2, 0, 1)


def by_the_readme(file: Path, *, int8: bool = False) -> dict[str, Any]:
    """What the names of the README's lines are after they ran with another file."""
    found = []
    for name in ("README.md", "README.vi.md"):
        text = (Path(__file__).parents[2] / name).read_text(encoding="utf8")
        (lines,) = (part for part in text.split("```python\n")[1:] if "InferenceSession" in part)
        found.append(lines.partition("```")[0])
    assert found[0] == found[1]
    lines = found[0].replace('"ResNet18.onnx"', repr(str(file)))
    if int8:
        kept = lines.splitlines()
        (at,) = (place for place, line in enumerate(kept) if line.startswith("# An .int8.onnx"))
        said = kept[at].partition("itself: ")[2].partition(", without")[0]
        kept[at : at + 3] = []
        lines = "\n".join(kept).replace('{"images": images}', said)
    names: dict[str, Any] = {}
    exec(lines, names)
    return names


def _draft(image: Any, about: dict[str, Any]) -> tuple[float, float]:
    """Have a JPEG decoded at the scale that is told; the picture's width and height in it."""
    width, height = image.size
    if image.format != "JPEG":
        return width, height
    enough = (n for n in about["jpeg_scales"] if max(width, height) >= about["jpeg_least"] * n)
    times = next(enough, 1)
    if times > 1:
        image.draft(None, (width / (times + 0.5), height / (times + 0.5)))
    return width / times, height / times


def _rgb(image: Image.Image, about: dict[str, Any]) -> Image.Image:
    image.load()
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(int) + 128) // 257
        assert about["grey_16_bit"] == "(value + 128) // 257"
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        assert "(0, 0, 0, 255)" in about["transparency"]
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert("RGB")


def _upright(
    image: Image.Image, width: float, height: float, tag: int, about: dict[str, Any]
) -> tuple[Image.Image, Box]:
    if str(tag) in about["transpose"]:
        image = image.transpose(Image.Transpose[about["transpose"][str(tag)]])
    if tag in about["width_and_height_exchanged"]:
        width, height = height, width
    left = image.width - width if tag in about["box_at_right"] else 0
    top = image.height - height if tag in about["box_at_bottom"] else 0
    return image, (left, top, left + width, top + height)


def _squared(image: Image.Image, box: Box, about: dict[str, Any]) -> np.ndarray:
    left, top, right, bottom = box
    (size, _), side = about["resize"], max(right - left, bottom - top)
    times = int(side // about["decode"]["jpeg_least"])
    if side**2 > about["reduce"]["most_pixels"] and times > 1:
        image = image.reduce((times, 1)).reduce((1, times))
        left, top, right, bottom = (edge / times for edge in (left, top, right, bottom))
        side = max(right - left, bottom - top)
    # The square's edges; then a canvas that has whole pixels about it, and the picture in it.
    low = [(a + b - side) / 2 for a, b in ((left, right), (top, bottom))]
    moved = [max(0, int(np.ceil(-edge))) for edge in low]
    low = [edge + shift for edge, shift in zip(low, moved, strict=True)]
    extent = zip(image.size, moved, low, strict=True)
    length = [max(shift + n, int(np.ceil(edge + side))) for n, shift, edge in extent]
    canvas = Image.new("RGB", (length[0], length[1]), tuple(about["pad"]["colour"]))
    inside = [
        _part(n, *ends) for n, ends in zip(image.size, ((left, right), (top, bottom)), strict=True)
    ]
    mask = np.rint(255 * np.outer(inside[1], inside[0])).astype(np.uint8)
    canvas.paste(image, (moved[0], moved[1]), Image.fromarray(mask))
    filtering, edges = Image.Resampling[about["interpolation"]], [edge + side for edge in low]
    wide = ((size, length[1]), (low[0], 0, edges[0], length[1]))
    high = ((length[0], size), (0, low[1], length[0], edges[1]))
    if right - left >= bottom - top:
        assert about["order"].startswith("width then height where the box is at least as wide")
        order = (wide, ((size, size), (0, low[1], size, edges[1])))
    else:
        assert "else height then width" in about["order"]
        order = (high, ((size, size), (low[0], 0, edges[0], size)))
    for shape, place in order:
        canvas = canvas.resize(shape, filtering, place)
    found = np.asarray(canvas)
    weights = []
    for n, start, stop in zip(length, low, edges, strict=True):
        line = Image.fromarray(_part(n, start, stop).astype(np.float32)[None])
        weights.append(np.asarray(line.resize((size, 1), filtering, (start, 0, stop, 1)))[0])
    whole = np.outer(weights[1].astype(np.float64), weights[0].astype(np.float64))
    return np.clip(np.rint(found / whole[:, :, None]), 0, 255).astype(np.uint8)


def _part(count: int, start: float, stop: float) -> np.ndarray:
    """The share of each of ``count`` pixels in a row that lies between two places."""
    return np.diff(np.clip(np.arange(count + 1), start, stop))
