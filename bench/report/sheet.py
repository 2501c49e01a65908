"""Contact sheets: images in rows, each beside itself under its maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.results.plot import new_figure, plain, save

SIDE = 1.75
GAP, NOTE, HEADING, TITLE = 0.08, 0.32, 0.42, 0.85


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
    title: str, sections: Sequence[tuple[str, Sequence[Row]]], path: Path
) -> Path | None:
    """Draw the sections below each other; none where there is nothing to draw.

    Args:
        title: of the sheet, a line or two.
        sections: heading and rows of each.
        path: of the PNG.
    """
    sections = [(heading, rows) for heading, rows in sections if rows]
    if not sections:
        return None
    columns = max(len(row.panels) for _, rows in sections for row in rows)
    # Narrow sheets have room for their titles too.
    width = max(columns * (SIDE + GAP) + GAP, 5.6)
    each = NOTE + 0.2 + SIDE + GAP
    height = TITLE + sum(HEADING + each * len(rows) for _, rows in sections)
    figure = new_figure(width, height, place_panels=True)
    figure.text(GAP / width, 1 - 0.12 / height, plain(title), fontsize=11, va="top")
    top = height - TITLE
    for heading, rows in sections:
        figure.text(
            GAP / width, (top - 0.1) / height, plain(heading), fontsize=10, va="top", weight="bold"
        )
        top -= HEADING
        for row in rows:
            figure.text(GAP / width, (top - 0.04) / height, plain(row.note), fontsize=8, va="top")
            bottom = top - NOTE - 0.2 - SIDE
            for place, panel in enumerate(row.panels):
                left = GAP + place * (SIDE + GAP)
                box = (left / width, bottom / height, SIDE / width, SIDE / height)
                _draw(figure.add_axes(box), panel)
            top -= each
    return save(figure, path)


def _draw(axes: Any, panel: Panel) -> None:
    axes.imshow(panel.pixels, interpolation="bilinear")
    if panel.heat is not None:
        # As opaque as it is strong: what the model leaves out of account stays a picture.
        axes.imshow(panel.heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.55 * panel.heat)
    axes.set_title(plain(panel.title), fontsize=7, pad=2)
    axes.set_axis_off()
