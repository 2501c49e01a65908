"""Draws what every synthetic photograph has, ill or not: background, blades, light, camera."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

# Red, green and blue, perhaps with an opacity: 0..255.
Colour = tuple[int, ...]
Points = np.ndarray

# Drawn at half size and enlarged: edges come out soft, and it costs a quarter.
WIDTH, HEIGHT = 240, 320
ENLARGED = (480, 640)
SPINE_POINTS = 24
# Share of the blades behind the front one that show the signs too.
ILL_BLADES = 1.0


@attrs.frozen
class Blade:
    """A leaf blade as a bent spine with a width.

    Attributes:
        spine: (n, 4) pixels, from the base to the tip: points x and y, and from each of them the
            way to a margin.
        colour: of the healthy blade.
    """

    spine: Points
    colour: Colour

    def at(self, along: np.ndarray, across: np.ndarray | float) -> Points:
        """Pixels (k, 2) of points on the blade.

        Args:
            along: (k,) 0 at the base, 1 at the tip.
            across: (k,) or one for all: -1 and 1 at the margins, 0 on the midrib.
        """
        index = np.minimum(along, 0.9999) * (SPINE_POINTS - 1)
        low = index.astype(int)
        weight = (index - low)[:, None]
        mixed = self.spine[low] * (1 - weight) + self.spine[low + 1] * weight
        return mixed[:, :2] + mixed[:, 2:] * np.reshape(across, (-1, 1))

    def outline(self) -> Points:
        """Pixels (2n, 2) of the margins."""
        spine, sides = np.hsplit(self.spine, 2)
        return ring(spine - sides, spine + sides)


Ill = Callable[[Generator, ImageDraw.ImageDraw, Blade], None]


def photograph(rng: Generator, ill: Ill) -> Image.Image:
    """Return 480 × 640 pixels of a few blades, on which ``ill`` draws the signs of a class."""
    canvas = _background(rng)
    draw = ImageDraw.Draw(canvas, "RGBA")
    blades = [_blade(rng, rng.uniform(38, 60)) for _ in range(rng.integers(4, 6))]
    for blade in blades:
        _draw_blade(rng, draw, blade)
        if blade is blades[-1] or rng.random() < ILL_BLADES:
            ill(rng, draw, blade)
    return _expose(rng, canvas)


def ring(side: Points, other: Points) -> Points:
    """Return the polygon between two lines of points."""
    return np.concatenate([side, other[::-1]])


def polygon(draw: ImageDraw.ImageDraw, points: Points, fill: Colour) -> None:
    """Fill the polygon through points (k, 2)."""
    draw.polygon(points.ravel().tolist(), fill=fill)


def line(draw: ImageDraw.ImageDraw, points: Points, fill: Colour, width: int) -> None:
    """Draw the line through points (k, 2)."""
    draw.line(points.ravel().tolist(), fill=fill, width=width, joint="curve")


def vary(rng: Generator, colour: Colour, spread: int, *opacity: int) -> Colour:
    """Return a colour near the given one, up to ``spread`` off in each channel."""
    varied = np.clip(colour + rng.integers(-spread, spread + 1, 3), 0, 255)
    return (*varied.tolist(), *opacity)


def smooth_noise(rng: Generator, cells: tuple[int, int]) -> np.ndarray:
    """Return a smooth random field (HEIGHT, WIDTH) between 0 and 1 with (columns, rows) bumps."""
    coarse = Image.fromarray(rng.integers(0, 256, cells[::-1], np.uint8))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) / 255


# --- field -----------------------------------------------------------------------------------


GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((30, 45, 20), (95, 120, 60)),
    ((45, 45, 35), (120, 115, 85)),
)


def _background(rng: Generator) -> Image.Image:
    dark, pale = np.array(GROUNDS[rng.integers(len(GROUNDS))], np.float32)
    mixed = rng.random((6, 5, 1), np.float32)
    coarse = Image.fromarray((dark + (pale - dark) * mixed).astype(np.uint8))
    canvas = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(3):
        blade = _blade(rng, rng.uniform(4, 12))
        polygon(draw, blade.outline(), (*blade.colour, 120))
    return canvas


# --- blades ----------------------------------------------------------------------------------


def _blade(rng: Generator, half_width: float) -> Blade:
    along = np.linspace(0, 1, SPINE_POINTS)
    angle = rng.uniform(0, 2 * np.pi)
    centre = np.array([WIDTH, HEIGHT]) * rng.uniform(0.1, 0.9, 2)
    length = rng.uniform(340, 460)
    bend = rng.uniform(-0.8, 0.8)
    direction = angle + bend * (along - 0.5)
    steps = np.column_stack([np.cos(direction), np.sin(direction)]) * length / SPINE_POINTS
    spine = np.cumsum(steps, axis=0)
    spine += centre - spine[SPINE_POINTS // 2]
    normal = np.column_stack([-np.sin(direction), np.cos(direction)])
    taper = np.clip(np.minimum(0.55 + 2 * along, 3.2 * (1 - along)), 0, 1)
    sides = normal * (half_width * taper)[:, None]
    return Blade(np.hstack([spine, sides]), vary(rng, (88, 138, 52), 16))


def _draw_blade(rng: Generator, draw: ImageDraw.ImageDraw, blade: Blade) -> None:
    along = np.linspace(0, 1, SPINE_POINTS)
    outline = blade.outline()
    polygon(draw, outline + 3, (0, 0, 0, 90))
    polygon(draw, outline, blade.colour)
    half = ring(blade.at(along, 0), blade.at(along, 1))
    polygon(draw, half, (0, 0, 0, int(rng.integers(10, 50))))
    for across in np.linspace(-0.85, 0.85, 7):
        line(draw, blade.at(along, across), (230, 240, 190, 28), 1)
    line(draw, blade.at(along, 0), (215, 230, 170, 170), 2)


# --- light and camera ------------------------------------------------------------------------


def _expose(rng: Generator, canvas: Image.Image) -> Image.Image:
    """Uneven light, grain, and a camera that sets its own exposure and white balance.

    The mean colour is drawn without regard to what is in the picture: it must not give the class
    away, as no photographer's light would.
    """
    pixels = np.asarray(canvas, np.float32)
    light: np.ndarray = 0.8 + 0.4 * smooth_noise(rng, (3, 4))
    light += rng.standard_normal((HEIGHT, WIDTH), np.float32) * 0.03
    pixels = pixels * light[..., None]
    brightness = rng.uniform(92, 118)
    cast = np.array([0.9, 1.1, 0.65]) * rng.uniform(0.94, 1.06, 3)
    gain = brightness * cast / pixels.mean(axis=(0, 1))
    exposed = Image.fromarray(np.clip(pixels * gain.astype(np.float32), 0, 255).astype(np.uint8))
    return exposed.resize(ENLARGED, Image.Resampling.BILINEAR)
