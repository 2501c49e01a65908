"""Accuracy against inference speed, the picture of what a variant costs and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.cells import GUIDE_PIXELS, throughput
from bench.report.figures import titled
from bench.report.gates import Record, valid_accuracy
from bench.report.selection import variant_of
from bench.results.plot import new_figure, plain, save

MARKERS = "osD^vPX*<>"


def accuracy_vs_throughput(records: Sequence[Record], path: Path) -> Path | None:
    """Validation accuracy over inference images/s at 224 pixels, a panel for each kind of device.

    Bars are 95 % Wilson intervals; hollow markers are undertrained models.
    """
    styles = {
        variant_of(record): (f"C{index % 10}", MARKERS[(index + index // 10) % len(MARKERS)])
        for index, record in enumerate(records)
    }
    panels: list[tuple[str, list[dict[str, Any]]]] = []
    for device, name in (("cpu", "CPU"), ("cuda", "GPU")):
        found = [point for record in records if (point := _point(record, device)) is not None]
        if found:
            panels.append((name, found))
    if not panels:
        return None
    drawn = [record for record in records if any(_point(record, d) for d in ("cpu", "cuda"))]
    height = max(4.8, 0.24 * len(drawn) + 1.2)
    figure = new_figure(6.0 * len(panels) + 3.0, height)
    title = f"Accuracy over inference speed at {GUIDE_PIXELS} pixels"
    figure.suptitle(titled(title, drawn), fontsize=12)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (name, points) in zip(grid.flat, panels, strict=True):
        for point in points:
            _draw_point(axes, point, styles[point["variant"]])
        _log_axis(axes, [point["speed"] for point in points])
        axes.set_xlabel(f"{name} images/s (log scale) — {_devices(points)}", fontsize=9)
    grid[0, 0].set_ylabel("validation accuracy (%), 95 % interval")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        found_handles, labels = axes.get_legend_handles_labels()
        handles.update(zip(labels, found_handles, strict=True))
    figure.legend(handles.values(), handles, loc="outside right center", fontsize=9, frameon=False)
    return save(figure, path)


def _devices(points: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(point["device"] for point in points))
    return plain(names[0] if len(names) == 1 else f"{len(names)} devices")


def _point(record: Record, device: str) -> dict[str, Any] | None:
    speed, accuracy = throughput(record, device, GUIDE_PIXELS), valid_accuracy(record)
    if speed.number is None or accuracy is None:
        return None
    low = accuracy.share if accuracy.low is None else accuracy.low
    high = accuracy.share if accuracy.high is None else accuracy.high
    return {
        "variant": variant_of(record),
        "speed": speed.number,
        "device": speed.device,
        "accuracy": 100 * accuracy.share,
        "below": 100 * max(0.0, accuracy.share - low),
        "above": 100 * max(0.0, high - accuracy.share),
        "undertrained": bool(accuracy.undertrained),
    }


def _draw_point(axes: Any, point: Mapping[str, Any], style: tuple[str, str]) -> None:
    colour, marker = style
    hollow = point["undertrained"]
    axes.errorbar(
        point["speed"],
        point["accuracy"],
        yerr=[[point["below"]], [point["above"]]],
        color=colour,
        marker=marker,
        markersize=9,
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=1.5,
        elinewidth=1.0,
        alpha=0.9,
        linestyle="none",
        label=plain(point["variant"]) + (" (undertrained)" if hollow else ""),
    )


def _log_axis(axes: Any, speeds: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(min(speeds) / 1.25, max(speeds) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(True, color="#dddddd", linewidth=0.6)
