"""The ``export`` command: write the models of trained runs to files for other programs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.parsing import IMAGES_HELP, Parser, add_options, add_plugin
from bench.cli.request import load_plugins, resolved_options
from bench.errors import BenchError
from bench.system.digits import fixed

if TYPE_CHECKING:
    from bench.config.options import RunConfig
    from bench.deploy.saved_model import SavedModel

INT8 = "onnx-int8"


def add_export_arguments(parser: Parser) -> None:
    """Add the arguments of ``export``."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="RUN",
        help="folders of runs (their names in --results-dir, or paths)",
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "onnx-int8", "torchscript", "exported"),
        default="onnx",
        help="ONNX; ONNX quantised to 8-bit integers on training images, its accuracy told beside "
        "the float32 one's; TorchScript (traced); or torch.export's .pt2 (default: onnx)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the file to write (default: named after the variant, in the run's folder)",
    )
    add_plugin(parser)
    add_options(parser, ["data_dir", "results_dir"], {"data_dir": f"for onnx-int8: {IMAGES_HELP}"})


def export_command(parsed: Namespace, command_line: str) -> int:
    """Write the models of runs to files, one after the other."""
    config = resolved_options(parsed).config
    if parsed.out is not None and len(parsed.names) > 1:
        raise BenchError("--out names one file: give one RUN, or leave it out")
    twice = [run for run in parsed.names if parsed.names.count(run) > 1]
    if twice:
        raise BenchError(f"{twice[0]} is named twice: name each run once")
    from bench.system.files import refuse_existing

    refuse_existing(parsed.out, "--out")
    load_plugins(parsed)
    import torch

    from bench.cli.deploy import print_warnings
    from bench.deploy.export import SUFFIXES, describe_transform, input_line, require_format
    from bench.deploy.saved_model import load_saved

    require_format(parsed.format)
    if parsed.out is None:
        _refuse_any(config, parsed.names, SUFFIXES[parsed.format], int8=parsed.format == INT8)
    for run in parsed.names:
        saved = load_saved(config.results_dir, run, torch.device("cpu"))
        print_warnings(saved.warnings)
        path = parsed.out or saved.folder / f"{saved.variant.name}{SUFFIXES[parsed.format]}"
        refuse_existing(path, "--out")
        if parsed.format == INT8:
            _quantised(saved, path, config, command_line)
        else:
            _exported(saved, path, parsed.format)
        print(f"input     {input_line(saved, pixels=parsed.format == INT8)}")
        print(f"output    {describe_transform(saved)['output']}")
        print("inside    classes and transform: see the README on how to read them")
    return 0


def _refuse_any(config: RunConfig, runs: Sequence[str], suffix: str, *, int8: bool) -> None:
    """Check that no file of any run exists yet, before the first is written.

    Raises:
        BenchError: one is, or there is no such run.
    """
    from bench.records.quantised import FILE
    from bench.records.store import UnreadableRecord, read_record, run_folder
    from bench.system.files import refuse_existing

    for run in runs:
        folder = run_folder(config.results_dir, run).resolve()
        try:
            name = Path(str(read_record(folder)["variant"].get("name"))).name
        except UnreadableRecord as error:
            raise BenchError(f"{error} (or name another run)") from error
        refuse_existing(folder / f"{name}{suffix}", "--out")
        if int8:
            refuse_existing(folder / FILE, "the record of an earlier int8 export,")


def _exported(saved: SavedModel, path: Path, form: str) -> None:
    from bench.deploy.export import export as export_model

    written = export_model(saved, form, path)
    print(f"file      {written.path} ({fixed(written.size_mb, 1)} MB, {form})")
    print(f"checked   largest difference to PyTorch's logits {written.max_difference:.1e} "
          f"(largest logit {written.largest:.3g})")  # fmt: skip


def _quantised(saved: SavedModel, path: Path, config: RunConfig, command_line: str) -> None:
    """Quantise a model, and record for the report what that costs in accuracy."""
    import torch

    from bench.cli.deploy import print_warnings, progress
    from bench.deploy.int8 import accuracies, export_int8
    from bench.deploy.training_images import images_of
    from bench.records.quantised import FILE, SCHEMA, VERSION
    from bench.runner.record import now
    from bench.system.environment import environment, others_load
    from bench.system.files import refuse_existing, write_sealed
    from bench.system.memory import keep_freed_memory

    record_path = saved.folder / FILE
    refuse_existing(record_path, "the record of an earlier int8 export,")
    index, notes = images_of(saved, config.data_dir)
    print_warnings(notes)
    size = len((saved.record.get("test") or saved.record.get("validation") or {}).get("ids") or ())
    with progress(size) as advance:
        result = export_int8(saved, path, index, on_progress=advance)
    environment_record: dict[str, Any] = environment(
        torch.device("cpu"), keep_freed_memory(), command=command_line
    )
    environment_record["load_after"] = others_load()
    heading = {"schema": SCHEMA, "schema_version": VERSION, "finished": now()}
    try:
        write_sealed(record_path, {**heading, "environment": environment_record, **result})
    except OSError:
        # A file without its record would stand in the way of the next attempt.
        path.unlink(missing_ok=True)
        raise
    exact, small = accuracies(result)
    images = len(result["labels"])
    print(f"file      {path} ({fixed(result['size_mb'], 1)} MB, {INT8}; "
          f"{fixed(result['size_float32_mb'], 1)} MB as float32)")  # fmt: skip
    print(f"checked   accuracy {small:.3f} as int8, {exact:.3f} as float32 "
          f"({result['part']} part, {images} images)")  # fmt: skip
    print(
        f"made      {result['method']}; calibrated on {result['calibration_images']} images of no "
        "held-out part"
    )
    shown = (
        "python -m bench report shows it beside the speeds"
        if result["fingerprint"] == saved.record["data"].get("fingerprint")
        else "no report shows it: its images are not those that the run was trained on"
    )
    print(f"record    {record_path} ({shown})")
