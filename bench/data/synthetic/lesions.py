"""Draws on synthetic blades what each of the ten classes looks like."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL.ImageDraw import ImageDraw

from bench.data.synthetic.leaves import Blade, Colour, Ill, Points, line, polygon, ring, vary

STRAW: Colour = (232, 214, 140)
ORANGE: Colour = (240, 160, 30)
RUST: Colour = (190, 90, 20)
BROWN: Colour = (90, 45, 20)
ASH: Colour = (190, 186, 190)
WHITE: Colour = (250, 252, 245)
PALE: Colour = (205, 225, 120)
TAN: Colour = (205, 165, 105)


def _healthy(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Nothing."""


def _leaf_blight(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Straw-coloured wavy bands along the margins."""
    for side in (-1, 1):
        if rng.random() < 0.25:
            continue
        start = rng.uniform(0.0, 0.4)
        along = np.linspace(start, rng.uniform(0.75, 1), 30)
        depth = rng.uniform(0.35, 0.75) + 0.18 * np.sin(along * rng.uniform(25, 60))
        depth += rng.uniform(-0.06, 0.06, 30)
        inner = blade.at(along, side * (1 - depth))
        polygon(draw, ring(blade.at(along, side), inner), vary(rng, STRAW, 12, 235))
        line(draw, inner, vary(rng, ORANGE, 12, 170), 2)


def _leaf_streak(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Narrow rust-coloured streaks between the veins."""
    for _ in range(rng.integers(10, 20)):
        along = rng.uniform(0.02, 0.9) + np.linspace(0, rng.uniform(0.06, 0.2), 4)
        across = rng.uniform(-0.9, 0.9)
        width = int(rng.integers(7, 12))
        line(draw, blade.at(along, across), vary(rng, RUST, 20, 220), width)


def _panicle_blight(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """A panicle of bleached and brown grains in front of the blades."""
    along = np.linspace(0.05, 0.95, 24)
    line(draw, blade.at(along, 0), (*TAN, 255), 3)
    for place in rng.uniform(0.05, 0.95, 45):
        grain = blade.at(np.array([place]), rng.uniform(-1.1, 1.1))[0]
        colour = vary(rng, TAN if rng.random() < 0.6 else BROWN, 18)
        _oval(
            draw,
            grain,
            rng.uniform(12, 17),
            rng.uniform(6, 9),
            rng.uniform(0, np.pi),
            (*colour, 255),
        )


def _blast(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Spindles with an ashen centre and a brown rim."""
    for _ in range(rng.integers(4, 9)):
        place, side = rng.uniform(0.05, 0.85), rng.uniform(-0.6, 0.6)
        size = rng.uniform(0.07, 0.12)
        for scale, colour in ((1.0, BROWN), (0.6, ASH)):
            angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            along = place + size * scale * np.cos(angle)
            across = side + 0.55 * scale * np.sin(angle) * np.abs(np.sin(angle)) ** 0.5
            polygon(draw, blade.at(along, across), vary(rng, colour, 10, 255))


def _brown_spot(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Many round dark spots with a yellow halo."""
    for _ in range(rng.integers(10, 22)):
        spot = blade.at(rng.uniform(0, 0.95, 1), rng.uniform(-0.85, 0.85, 1))[0]
        radius = rng.uniform(7, 13)
        _oval(draw, spot, radius * 1.5, radius * 1.5, 0, vary(rng, ORANGE, 15, 150))
        _oval(draw, spot, radius, radius * 0.9, 0, vary(rng, BROWN, 12, 255))


def _dead_heart(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """The youngest blade dry and rolled, from base to tip."""
    along = np.linspace(0, 1, 24)
    edge = rng.uniform(0.4, 0.55)
    polygon(draw, ring(blade.at(along, -edge), blade.at(along, edge)), vary(rng, (135, 70, 40), 12))
    for across in (-0.6, 0, 0.6):
        line(draw, blade.at(along, edge * across), vary(rng, BROWN, 10, 150), 3)


def _downy_mildew(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Pale mottling in short blocks along the veins."""
    for _ in range(rng.integers(24, 40)):
        along = rng.uniform(0, 0.95) + np.array([0, 0.05, 0.05, 0])
        across = rng.uniform(-1, 0.68) + np.array([0, 0, 0.32, 0.32])
        polygon(draw, blade.at(along, across), vary(rng, PALE, 15, 200))


def _hispa(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """White scrapes parallel to the veins, in groups."""
    for _ in range(rng.integers(4, 8)):
        place, side = rng.uniform(0.0, 0.8), rng.uniform(-0.6, 0.6)
        for _ in range(rng.integers(4, 8)):
            along = place + rng.uniform(-0.05, 0.05) + np.linspace(0, rng.uniform(0.08, 0.2), 3)
            across = side + rng.uniform(-0.35, 0.35)
            line(draw, blade.at(along, across), (*WHITE, 235), int(rng.integers(5, 9)))


def _tungro(rng: Generator, draw: ImageDraw, blade: Blade) -> None:
    """Orange-yellow between the veins, from the tip downwards."""
    start = rng.uniform(0.0, 0.3)
    colour = vary(rng, ORANGE, 15)
    for across in (-0.72, -0.24, 0.24, 0.72):
        for low in (start, start + 0.1, start + 0.2):
            along = np.linspace(low + rng.uniform(0, 0.08), 1, 12)
            sides = blade.at(along, across - 0.14), blade.at(along, across + 0.14)
            polygon(draw, ring(*sides), (*colour, 130))


def _oval(
    draw: ImageDraw,
    centre: Points,
    long: float,
    short: float,
    angle: float,
    fill: Colour,
) -> None:
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    x, y = long * np.cos(turn), short * np.sin(turn)
    turned = np.column_stack(
        [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)]
    )
    polygon(draw, turned + centre, fill)


SIGNS: dict[str, Ill] = {
    "bacterial_leaf_blight": _leaf_blight,
    "bacterial_leaf_streak": _leaf_streak,
    "bacterial_panicle_blight": _panicle_blight,
    "blast": _blast,
    "brown_spot": _brown_spot,
    "dead_heart": _dead_heart,
    "downy_mildew": _downy_mildew,
    "hispa": _hispa,
    "normal": _healthy,
    "tungro": _tungro,
}
