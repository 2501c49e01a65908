"""The ``data`` command: summarise a folder, write it into tar files, or draw the synthetic set."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from bench.cli.parsing import Parser, add_json, add_options
from bench.cli.request import print_json, resolved_options
from bench.errors import BenchError
from bench.system.digits import counted


def add_data_arguments(parser: Parser) -> None:
    """Add the arguments of ``data``."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("audit", "shard"),
        default="audit",
        help="audit: summarise the folder; shard: write its images into tar files (--out), which "
        "--data-dir takes too (default: audit)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="of shard: a new folder for the tar files"
    )
    parser.add_argument(
        "--shard-size",
        default="256MB",
        metavar="SIZE",
        help="of shard: images in a tar file, about (default: 256MB)",
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write the synthetic set there instead"
    )
    add_options(
        parser,
        ["data_dir", "valid_fraction", "test_fraction", "folds", "dedup", "seed",
         "synthetic_images"],
    )  # fmt: skip
    add_json(parser)


def shard(parsed: Namespace, config: Any) -> int:
    """Write the images of ``--data-dir`` into ``--out`` and return the exit code.

    Raises:
        BenchError: no ``--out``, a size that is none, or as
            :func:`bench.data.sources.shard_writer.write_shards`.
    """
    from tqdm import tqdm

    from bench.config.fields import parse_size
    from bench.data.parts import find_index
    from bench.data.sources.shard_writer import write_shards

    if parsed.out is None:
        raise BenchError("shard needs a new folder for the tar files: give --out")
    try:
        size = parse_size(parsed.shard_size)
    except ValueError:
        raise BenchError(
            f"--shard-size must be an amount of storage such as 256MB, not {parsed.shard_size!r}"
        ) from None
    index = find_index(config)
    with tqdm(
        total=len(index), unit="image", file=sys.stderr, disable=not sys.stderr.isatty()
    ) as bar:
        names = write_shards(
            index,
            parsed.out,
            shard_bytes=size,
            seed=config.seed,
            on_progress=lambda done: bar.update(done - bar.n),
        )
    for line in index.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if parsed.json:
        print_json({"images": len(index), "classes": list(index.classes), "shards": names})
    else:
        shards = counted(len(names), "shard")
        print(f"{len(index)} images of {len(index.classes)} classes: written to {shards}")
        print(f"next: python -m bench data --data-dir wds/{parsed.out}")
    return 0


def data_command(parsed: Namespace, command_line: str) -> int:
    """Audit a data folder, or write the synthetic set."""
    config = resolved_options(parsed).config
    from bench.data.audit import audit
    from bench.data.parts import find_data_set
    from bench.data.splitting.division import find_splits, split_warnings
    from bench.data.synthetic.dataset import write_synthetic
    from bench.system.environment import usable_cores

    if parsed.write is not None:
        write_synthetic(parsed.write, config.synthetic_images, config.seed)
        print(f"{config.synthetic_images} synthetic images are in {parsed.write}")
        return 0
    if parsed.action == "shard":
        return shard(parsed, config)
    if parsed.out is not None:
        raise BenchError("--out is of shard: python -m bench data shard --data-dir … --out …")
    data_set = find_data_set(config)
    index, copies = data_set.index, data_set.copies
    splits = find_splits(config, index, copies)
    folds = {f"fold {number}": split.test for number, split in enumerate(splits, 1)}
    result = audit(
        index,
        folds if config.folds else splits[0].as_dict(),
        usable_cores(),
        copies=copies,
        warnings=split_warnings(config, index, copies, splits[0]),
    )
    if parsed.json:
        print_json({**result.as_dict(), "dedup": config.dedup, "folds": config.folds})
    else:
        print(result.render_text())
    return 0
