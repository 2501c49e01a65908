"""The commands that put a trained run to use."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.parsing import DEVICE_HELP, Parser, add_json, add_options, add_plugin
from bench.cli.request import load_plugins, print_json, resolved_options, text_table
from bench.errors import BenchError
from bench.system.digits import significant

if TYPE_CHECKING:
    from bench.config.options import RunConfig
    from bench.deploy.saved_model import SavedModel

MOST_SHOWN = 10
# 2026-01-31T12:00:00+00:00 → 20260131T120000
PLAIN = str.maketrans("", "", "-:")


def add_predict_arguments(parser: Parser) -> None:
    """Add the arguments of ``predict``."""
    parser.usage = (
        "python -m bench predict RUN IMAGES --out FILE [options]\n"
        "       python -m bench predict IMAGES --out FILE --runs RUN RUN … [options]"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="RUN IMAGES",
        help="a run's folder (its name in --results-dir, or a path), and an image or a folder of "
        "images at any depth; of Kaggle's folder its test_images/",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the CSV file to write"
    )
    parser.add_argument(
        "--template",
        type=Path,
        metavar="FILE",
        help="a sample submission, whose columns, ids and order are taken (default: "
        "sample_submission.csv beside the images, where there is one)",
    )
    parser.add_argument(
        "--probabilities",
        type=Path,
        metavar="FILE",
        help="also write the probability of every class to this CSV file",
    )
    _add_inference(parser)
    add_options(parser, ["device", "results_dir"], {"device": DEVICE_HELP})


def add_evaluate_arguments(parser: Parser) -> None:
    """Add the arguments of ``evaluate``."""
    parser.usage = (
        "python -m bench evaluate RUN --data-dir PATH [options]\n"
        "       python -m bench evaluate --runs RUN RUN … --data-dir PATH [options]"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="RUN",
        help="a run's folder (its name in --results-dir, or a path)",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a class of the folder is that class of the run (THEIRS= leaves it out); may be "
        "repeated; names that differ in case, blanks, _ and - only need none",
    )
    _add_inference(parser)
    add_options(
        parser,
        ["data_dir", "device", "results_dir"],
        {"data_dir": "folder of labelled images to evaluate on (required)", "device": DEVICE_HELP},
    )
    add_json(parser)


def _add_inference(parser: Parser) -> None:
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="average the probabilities of these runs (an ensemble)",
    )
    parser.add_argument(
        "--tta",
        choices=("none", "flip", "d4"),
        default="none",
        help="test-time augmentation: average over the image and its mirror image (flip), or over "
        "all 8 of its flips and quarter turns (d4) (default: none)",
    )
    parser.add_argument(
        "--batch-size",
        dest="images_at_once",
        type=int,
        default=32,
        metavar="N",
        help="images at once (default: 32)",
    )
    add_plugin(parser)


def predict_command(parsed: Namespace, command_line: str) -> int:
    """Predict unlabelled images into a CSV file; return 1 when some could not be read."""
    from bench.deploy.submission import find_images, write_probabilities, write_submission
    from bench.system.files import refuse_existing

    runs, (images,) = _asked_runs(parsed, 1, "IMAGES")
    config = resolved_options(parsed).config
    _check_batch(parsed)
    refuse_existing(parsed.out, "--out")
    refuse_existing(parsed.probabilities, "--probabilities")
    if parsed.probabilities is not None and parsed.probabilities.resolve() == parsed.out.resolve():
        raise BenchError("--out and --probabilities name one file: give two")
    request = find_images(Path(images), parsed.template)
    load_plugins(parsed)
    from bench.deploy.predict import predict as predict_all
    from bench.report.render.markdown import one_line

    models, inference = _ready(runs, parsed, config)
    for model in models:
        print_warnings(model.warnings)
    begin = time.perf_counter()
    with progress(len(request.paths)) as advance:
        predicted = predict_all(models, request.paths, **inference, on_progress=advance)
    seconds = time.perf_counter() - begin
    written = write_submission(parsed.out, request, predicted)
    if parsed.probabilities is not None:
        write_probabilities(parsed.probabilities, request, predicted)
    for note in request.notes:
        print(note, file=sys.stderr)
    _tell_unreadable(dict.fromkeys(request.odd, "its name is not UTF-8"))
    _tell_unreadable({request.ids[n]: why for n, why in predicted.unreadable.items()})
    names = [predicted.classes[label] for label in predicted.labels.tolist() if label >= 0]
    counts = Counter(names)
    rows = [
        {"class": one_line(name), "images": counts[name]}
        for name in predicted.classes
        if name in counts
    ]
    print(text_table(rows))
    print(
        f"\n{written:,} images in {seconds:.1f} s "
        f"({significant(len(request.paths) / seconds)} images/s) by "
        f"{', '.join(model.name for model in models)}"
    )
    print(f"predictions: {parsed.out}")
    if parsed.probabilities is not None:
        print(f"probabilities: {parsed.probabilities}")
    return 1 if predicted.unreadable or request.odd else 0


def evaluate_command(parsed: Namespace, command_line: str) -> int:
    """Evaluate runs on labelled images from elsewhere; return 1 when some could not be read."""
    runs, _ = _asked_runs(parsed, 0, "")
    config = resolved_options(parsed).config
    _check_batch(parsed)
    if config.data_dir is None:
        raise BenchError("--data-dir is missing: name the folder of images to evaluate on")
    from bench.data.index import find_data, load_index

    location = find_data(config.data_dir, cwd=Path.cwd())
    assert location is not None
    index = load_index(location)
    load_plugins(parsed)
    from bench.deploy.external import describe, evaluate_external, match_classes
    from bench.runner.preflight import check_folder
    from bench.runner.record import now
    from bench.system.environment import environment, others_load
    from bench.system.files import write_sealed
    from bench.system.memory import keep_freed_memory

    check_folder(config.results_dir, "--results-dir")
    models, inference = _ready(runs, parsed, config)
    mapping = match_classes(index.classes, models[0].classes, parsed.map)
    warnings = [*index.warnings, *_seen_before(models, index)]
    for model in models:
        warnings += model.warnings
    mapped = sum(bool(mapping[index.classes[label]]) for label in index.labels)
    with progress(mapped) as advance:
        result = evaluate_external(models, index, mapping, **inference, on_progress=advance)
    when = now()
    record = {
        "schema": "paddy-bench/external",
        "schema_version": 1,
        "finished": when,
        "environment": environment(inference["device"], keep_freed_memory(), command=command_line),
        "warnings": warnings,
        **result,
    }
    record["environment"]["load_after"] = others_load()
    path = config.results_dir / f"external-{when.translate(PLAIN)[:15]}-{os.getpid()}.json"
    config.results_dir.mkdir(parents=True, exist_ok=True)
    write_sealed(path, record)
    print_warnings(warnings)
    _tell_unreadable(result["unreadable"])
    if parsed.json:
        print_json(record)
    else:
        print("\n".join(describe(record)) + "\n")
        print(text_table([_row(row) for row in record["by_class"]]))
        print(f"\nrecord: {path}")
    return 1 if result["unreadable"] else 0


def _row(row: dict[str, Any]) -> dict[str, Any]:
    from bench.report.render.markdown import one_line

    shares = {name: _share(row[name]) for name in ("precision", "recall", "f1")}
    return {"class": one_line(row["class"]), "images": row["images"], **shares}


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


# --- what they share -------------------------------------------------------------------------


def _asked_runs(parsed: Namespace, others: int, what: str) -> tuple[list[str], list[str]]:
    """Return the names of the runs, and the arguments after them.

    Args:
        others: how many these are.
        what: what they are called.

    Raises:
        BenchError: too few or too many.
    """
    names, runs = list(parsed.names), list(getattr(parsed, "runs", ()))
    usage = f"RUN {what}".strip()
    if len(names) != others + (not runs):
        beside = f"{what} before --runs" if what else "no RUN beside --runs"
        wanted = beside if runs else usage
        raise BenchError(f"give {wanted}: see python -m bench {parsed.command} --help")
    runs = runs or [names.pop(0)]
    return runs, names


def _check_batch(parsed: Namespace) -> None:
    if not 1 <= parsed.images_at_once <= 4096:
        raise BenchError(f"--batch-size must be from 1 to 4096: {parsed.images_at_once}")


def _ready(
    runs: list[str], parsed: Namespace, config: RunConfig
) -> tuple[list[SavedModel], dict[str, Any]]:
    """Load the models of runs onto the device, and return the options of their prediction."""
    from bench.deploy.saved_model import load_saved, same_classes
    from bench.system.devices import choose_device, probe
    from bench.system.environment import usable_cores
    from bench.system.memory import keep_freed_memory

    device = choose_device(config.device)
    probe(device)
    keep_freed_memory()
    models = [load_saved(config.results_dir, run, device) for run in runs]
    same_classes(models)
    return models, {
        "device": device,
        "batch_size": parsed.images_at_once,
        "views": parsed.tta,
        "threads": usable_cores(),
    }


@contextmanager
def progress(images: int) -> Iterator[Any]:
    """Show a progress bar on a terminal, nothing elsewhere; yield the function that advances it."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(total=images, unit="image", leave=False, file=sys.stderr, disable=hidden) as bar:
        yield bar.update


def _tell_unreadable(reasons: dict[str, str]) -> None:
    for number, (name, reason) in enumerate(reasons.items()):
        if number == MOST_SHOWN:
            print(f"… and {len(reasons) - MOST_SHOWN} more", file=sys.stderr)
            return
        print(f"unreadable image, not predicted: {name!r} ({reason})", file=sys.stderr)


def print_warnings(lines: Iterable[str]) -> None:
    """Print each line to standard error."""
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _seen_before(models: list[SavedModel], index: Any) -> list[str]:
    return [
        f"{model.name} was trained on images of this very folder: the accuracy says nothing of "
        "others; the report has that of its test part"
        for model in models
        if (data := model.record["data"]).get("fingerprint")
        == index.known_as(data.get("fingerprint_version", 1)).fingerprint
    ]
