"""The arguments of the commands that put a trained run to use."""

from __future__ import annotations

from pathlib import Path

from bench.cli.parsing import Parser, add_json, add_options, add_plugin

# The options that these commands share with training mean something else to them.
DEVICE = "where to compute (default: auto, a GPU where there is one)"
FOLDER = "where the run's images are now (default: where they were when it was trained)"


def fill_predict(parser: Parser) -> None:
    """Give the parser of ``predict`` its arguments."""
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
    add_options(parser, ["device", "results_dir"], {"device": DEVICE})


def fill_evaluate(parser: Parser) -> None:
    """Give the parser of ``evaluate`` its arguments."""
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
        {"data_dir": "folder of labelled images to evaluate on (required)", "device": DEVICE},
    )
    add_json(parser)


def fill_explain(parser: Parser) -> None:
    """Give the parser of ``explain`` its arguments."""
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
        {"data_dir": FOLDER, "device": DEVICE},
    )


def fill_export(parser: Parser) -> None:
    """Give the parser of ``export`` its arguments."""
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
    add_options(parser, ["data_dir", "results_dir"], {"data_dir": f"for onnx-int8: {FOLDER}"})


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
