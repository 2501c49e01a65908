"""The ``explain`` command: Grad-CAM and attention maps of a trained run."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.parsing import DEVICE_HELP, IMAGES_HELP, Parser, add_options, add_plugin
from bench.cli.request import load_plugins, resolved_options, text_table
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.deploy.explain import Explained
    from bench.deploy.saved_model import SavedModel

FILE = "explained.png"
MOST_IMAGES = 100
# Of a panel and of a row, in letters: what the sheet has room for.
PANEL, LINE = 28, 66


def add_explain_arguments(parser: Parser) -> None:
    """Add the arguments of ``explain``."""
    parser.add_argument(
        "names",
        nargs=1,
        metavar="RUN",
        help="a run's folder (its name in --results-dir, or a path)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=12,
        metavar="N",
        help="validation images to show, 2 to 100, half of them wrong where there are so many "
        "(default: 12)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the PNG file to write (default: explained.png in the run's folder)",
    )
    add_plugin(parser)
    add_options(
        parser,
        ["data_dir", "device", "results_dir"],
        {"data_dir": IMAGES_HELP, "device": DEVICE_HELP},
    )


def explain_command(parsed: Namespace, command_line: str) -> int:
    """Draw Grad-CAM and attention of right and wrong images; return 1 when some are unreadable."""
    (run,) = parsed.names
    config = resolved_options(parsed).config
    if not 2 <= parsed.images <= MOST_IMAGES:
        raise BenchError(f"--images must be from 2 to {MOST_IMAGES}: {parsed.images}")
    from bench.system.files import new_file, refuse_existing

    refuse_existing(parsed.out, "--out")
    load_plugins(parsed)
    from bench.cli.deploy import print_warnings, progress
    from bench.deploy.explain import choose, require_grad_cam
    from bench.deploy.explain import explain as explain_all
    from bench.deploy.saved_model import load_saved
    from bench.deploy.training_images import images_of
    from bench.report.render.sheet import contact_sheet
    from bench.system.devices import choose_device, probe

    require_grad_cam()
    device = choose_device(config.device)
    probe(device)
    saved = load_saved(config.results_dir, run, device)
    print_warnings(saved.warnings)
    path = parsed.out or saved.folder / FILE
    refuse_existing(path, "--out")
    chosen = choose(saved.record, parsed.images)
    index, notes = images_of(saved, config.data_dir)
    print_warnings(notes)
    with progress(len(chosen)) as advance:
        explained, unreadable = explain_all(
            saved, chosen, index, device=device, on_progress=advance
        )
    if not explained:
        raise BenchError(
            f"none of the {len(chosen)} images in {index.root} can be read: see the folder"
        )
    with new_file(path) as file:
        # matplotlib tells the format by the name.
        drawn = file.with_name(f"{file.name}.png")
        try:
            contact_sheet(_title(saved), _sections(saved, explained), drawn)
            drawn.replace(file)
        finally:
            drawn.unlink(missing_ok=True)
    print(text_table([_line(saved, item) for item in explained]))
    print(f"\ncontact sheet: {path}")
    for name, reason in unreadable.items():
        print(f"unreadable image, not shown: {name!r} ({reason})", file=sys.stderr)
    changed = sum(item.guess != item.chosen.guess for item in explained)
    if changed:
        print(
            f"warning: {changed} of {len(explained)} images are predicted otherwise than in the "
            "run's record: another device rounds otherwise, or the images or their loader have "
            "changed",
            file=sys.stderr,
        )
    return 1 if unreadable else 0


# --- what is shown ---------------------------------------------------------------------------


def _title(saved: SavedModel) -> list[str]:
    synthetic = " (SYNTHETIC data)" if saved.record["data"].get("synthetic") else ""
    return [
        f"{saved.name}: validation images{synthetic}",
        "Grad-CAM of the last feature map; every map is scaled to its own maximum",
    ]


def _sections(saved: SavedModel, explained: list[Explained]) -> list[tuple[str, list[Any]]]:
    from bench.report.render.sheet import Panel, Row

    def row(item: Explained) -> Row:
        classes = saved.classes
        guess, truth = (_short(classes[n], PANEL - 10) for n in (item.guess, item.chosen.truth))
        panels = [
            Panel(item.pixels, "the image"),
            Panel(item.pixels, f"Grad-CAM: {guess}", item.of_guess),
        ]
        if item.of_truth is not None:
            panels.append(Panel(item.pixels, f"Grad-CAM: {truth}", item.of_truth))
        panels += [Panel(item.pixels, title, heat) for title, heat in item.attention.items()]
        line = _line(saved, item)
        note = (
            f"{_short(line['class'], PANEL)}, predicted {_short(line['predicted'], PANEL)} "
            f"({line['confidence']})"
        )
        return Row(f"{note}  {_short(line['image'], max(12, LINE - len(note)))}", tuple(panels))

    return [
        (
            f"Wrong, the surest first ({sum(not item.chosen.right for item in explained)})",
            [row(item) for item in explained if not item.chosen.right],
        ),
        (
            f"Right, of each class the surest ({sum(item.chosen.right for item in explained)})",
            [row(item) for item in explained if item.chosen.right],
        ),
    ]


def _line(saved: SavedModel, item: Explained) -> dict[str, str]:
    from bench.report.render.markdown import one_line

    return {
        "": "right" if item.chosen.right else "wrong",
        "class": one_line(saved.classes[item.chosen.truth]),
        "predicted": one_line(saved.classes[item.chosen.guess]),
        "confidence": f"{item.chosen.confidence:.2f}",
        "image": one_line(item.chosen.id),
    }


def _short(text: str, most: int) -> str:
    """Cut a text at its beginning: the end of a path says more."""
    return text if len(text) <= most else "…" + text[1 - most :]
