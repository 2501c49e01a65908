"""``bench data shard``: a folder of images written into tar files."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from tqdm import tqdm

from bench.cli.request import print_json
from bench.config.fields import parse_size
from bench.data.parts import find_index
from bench.data.sources.shard_writer import write_shards
from bench.errors import BenchError
from bench.system.digits import counted


def shard(parsed: Namespace, config: Any) -> int:
    """Write the images of ``--data-dir`` into ``--out``; the exit code.

    Raises:
        BenchError: no ``--out``, a size that is none, or as
            :func:`bench.data.sources.shard_writer.write_shards`.
    """
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
