"""Accuracy against inference speed, the picture of what a variant costs and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.records.plot import new_figure, plain, save
from bench.report.analysis.seeds import accuracy_of
from bench.report.analysis.selection import Selection, caption, distinct
from bench.report.analysis.timings import GUIDE_PIXELS, throughput
from bench.report.analysis.validity import Record
from bench.report.render.figures import titled

MARKERS = "osD^vPX*<>"
DEVICES = (("cpu", "CPU"), ("cuda", "GPU"))


def accuracy_vs_throughput(runs: Selection | Sequence[Record], path: Path) -> Path | None:
    """Accuracy over inference images/s at 224 pixels, a panel for each kind of device.

    Accuracy is that of the part models are judged on, of several seeds their mean. The bar is its
    95 % interval, or the range over the seeds where there is none (:func:`bars_note` says which);
    hollow markers are undertrained models.
    """
    selection = runs if isinstance(runs, Selection) else Selection(runs)
    variants = [name for name in selection.variants() if accuracy_of(selection, name) is not None]
    styles = {
        name: (f"C{index % 10}", MARKERS[(index + index // 10) % len(MARKERS)])
        for index, name in enumerate(variants)
    }
    panels: list[tuple[str, list[dict[str, Any]]]] = []
    for device, title in DEVICES:
        found = [p for name in variants if (p := _point(selection, name, device)) is not None]
        if found:
            panels.append((title, found))
    if not panels:
        return None
    drawn = distinct(point["variant"] for _, points in panels for point in points)
    height = max(4.8, 0.24 * len(drawn) + 1.2)
    figure = new_figure(6.0 * len(panels) + 3.0, height)
    title = f"Accuracy over inference speed at {GUIDE_PIXELS} pixels"
    behind = [record for name in drawn for record in selection.complete(name)]
    figure.suptitle(titled(title, behind), fontsize=12)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (name, points) in zip(grid.flat, panels, strict=True):
        for point in points:
            _draw_point(axes, point, styles[point["variant"]])
        _log_axis(axes, [point["speed"] for point in points])
        axes.set_xlabel(f"{name} images/s (log scale) — {_devices(points)}", fontsize=9)
    parts = " or ".join(distinct(p["part"] for _, points in panels for p in points))
    ranges = any(p["range"] for _, points in panels for p in points)
    bars = "95 % interval or range" if ranges else "95 % interval"
    grid[0, 0].set_ylabel(f"{parts} accuracy (%), {bars}")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        found_handles, labels = axes.get_legend_handles_labels()
        handles.update(zip(labels, found_handles, strict=True))
    figure.legend(handles.values(), handles, loc="outside right center", fontsize=9, frameon=False)
    return save(figure, path)


def bars_note(selection: Selection) -> str:
    """What the picture's points and bars are, for its caption."""
    accuracies = [
        accuracy
        for name in selection.variants()
        if (accuracy := accuracy_of(selection, name)) is not None
    ]
    if not accuracies:
        return ""
    several = [accuracy for accuracy in accuracies if len(accuracy.shares.values) > 1]
    seeds = sorted({len(accuracy.shares.values) for accuracy in several})
    ranges = sum(accuracy.low is None for accuracy in several)
    bars = "their 95 % interval"
    if ranges == len(several):
        bars = "the range over the seeds"
    elif ranges:
        bars += ", or the range over the seeds where single images are not known"
    folds = distinct(accuracy.folds or None for accuracy in accuracies)
    counts = " or ".join(map(str, seeds))
    parts = " or ".join(distinct(accuracy.part for accuracy in accuracies))
    return caption(
        f"Accuracy: {parts} part.",
        "Bars: 95 % Wilson interval of one run's accuracy"
        f"{' (' + ', '.join(folds) + ')' if folds else ''}." * (len(several) < len(accuracies)),
        f"Points are the mean of {counts} seeds, their bars {bars}." * bool(seeds),
        "Hollow: undertrained.",
    )


def _devices(points: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(point["device"] for point in points))
    return plain(names[0] if len(names) == 1 else f"{len(names)} devices")


def _point(selection: Selection, variant: str, device: str) -> dict[str, Any] | None:
    timed, accuracy = selection.timed(variant), accuracy_of(selection, variant)
    if timed is None or accuracy is None or selection.invalid(timed):
        return None
    speed = throughput(timed, device, GUIDE_PIXELS)
    if speed.number is None:
        return None
    low, high = accuracy.bar
    mean = accuracy.shares.mean
    return {
        "variant": variant,
        "speed": speed.number,
        "device": speed.place(),
        "accuracy": 100 * mean,
        "below": 100 * max(0.0, mean - low),
        "above": 100 * max(0.0, high - mean),
        "undertrained": bool(accuracy.undertrained),
        "part": accuracy.part,
        "range": len(accuracy.shares.values) > 1 and accuracy.low is None,
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
