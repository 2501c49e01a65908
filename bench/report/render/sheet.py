"""Contact sheets: images in rows, each beside itself under its maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.records.plot import new_figure, plain, save

# Inches.
SIDE, GAP = 1.75, 0.08
NOTE, HEADING, LINE = 0.4, 0.42, 0.2
# Panels beside each other, at most.
ACROSS = 8


@attrs.frozen(eq=False)
class Panel:
    """A picture, and what lies over it.

    Attributes:
        pixels: (S, S, 3) uint8.
        title: what is seen.
        heat: (S, S) from 0 to 1, or none.
    """

    pixels: Any
    title: str
    heat: Any = None


@attrs.frozen(eq=False)
class Row:
    """Panels beside each other with a line above them."""

    note: str
    panels: tuple[Panel, ...]


def contact_sheet(
    title: Sequence[str], sections: Sequence[tuple[str, Sequence[Row]]], path: Path
) -> Path | None:
    """Draw the sections below each other; none where there is nothing to draw.

    Args:
        title: lines of the sheet's title.
        sections: heading and rows of each; short rows stand beside each other.
        path: of the PNG.
    """
    sections = [(heading, rows) for heading, rows in sections if rows]
    if not sections:
        return None
    panels = max(len(row.panels) for _, rows in sections for row in rows)
    beside = max(1, ACROSS // panels)
    each_width, each_height = panels * (SIDE + GAP) + 2 * GAP, NOTE + SIDE + GAP
    lines = [-(-len(rows) // beside) for _, rows in sections]
    head = LINE * len(title) + 2 * GAP
    width = beside * each_width + GAP
    height = head + sum(HEADING + each_height * count for count in lines)
    figure = new_figure(width, height, place_panels=True)

    def write(text: str, left: float, top: float, **how: Any) -> None:
        figure.text(left / width, top / height, plain(text), va="top", **how)

    for number, line in enumerate(title):
        write(line, GAP, height - GAP - number * LINE, fontsize=10)
    top = height - head
    for (heading, rows), count in zip(sections, lines, strict=True):
        write(heading, GAP, top - 0.1, fontsize=10, weight="bold")
        top -= HEADING
        for number, row in enumerate(rows):
            left = GAP + number % beside * each_width
            bottom = top - (number // beside) * each_height - NOTE - SIDE
            write(row.note, left, bottom + SIDE + NOTE - 0.04, fontsize=8)
            for place, panel in enumerate(row.panels):
                box = (left + place * (SIDE + GAP), bottom, SIDE, SIDE)
                scaled = [size / (width, height)[axis % 2] for axis, size in enumerate(box)]
                _draw(figure.add_axes(scaled), panel)
        top -= each_height * count
    return save(figure, path)


def _draw(axes: Any, panel: Panel) -> None:
    axes.imshow(panel.pixels, interpolation="bilinear")
    if panel.heat is not None:
        # As opaque as it is strong: what the model leaves out of account stays a picture.
        axes.imshow(panel.heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.55 * panel.heat)
    axes.set_title(plain(panel.title), fontsize=7, pad=2)
    axes.set_axis_off()
