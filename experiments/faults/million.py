"""A data folder with a table of a million rows: index and split, their time and memory.

The files are empty (what is measured does not read them) and are all there, on a file system in
memory where there is one. Comparing a million hashes for near copies is measured too, on random
hashes with planted near pairs.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

from experiments.commands import run_python
from experiments.rows import Row
from experiments.suite import Json, Record, trace

SEED = 22
CLASSES = 10
PLANTED = 1000
PARAMETERS = {"images": 1_000_000, "classes": CLASSES, "planted": PLANTED}
QUICK = {"images": 20_000}
MOST_S, MOST_GB = 30.0, 1.5
# Kaggle's table and metadata.csv.
LAYOUTS = ("kaggle", "metadata-csv")
MEMORY = Path("/dev/shm")

# In a process of its own, so that its peak is its own. Not the one that resource.getrusage gives:
# that has the parent's at the time of the fork in it.
_PEAK = """
def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
"""
_INDEX = """
import json, sys, time
from pathlib import Path
from bench.data.index import find_data, load_index
begin = time.perf_counter()
index = load_index(find_data(Path(sys.argv[1]), cwd=Path(sys.argv[1])))
index_s = time.perf_counter() - begin
peak = peak_bytes()
from bench.data.splitting.splits import split
from bench.data.splitting.division import fold_splits
begin = time.perf_counter()
one = split(index, valid_fraction=0.1, test_fraction=0.1, seed=0)
split_s = time.perf_counter() - begin
begin = time.perf_counter()
groups = [position // 2 for position in range(len(index))]
grouped = split(index, valid_fraction=0.1, test_fraction=0.1, seed=0, groups=groups)
grouped_s = time.perf_counter() - begin
begin = time.perf_counter()
folds = fold_splits(index, 5, valid_fraction=0.1, seed=0)
folds_s = time.perf_counter() - begin
print(json.dumps({
    "layout": index.layout, "images": len(index), "index_s": index_s, "peak_bytes": peak,
    "split_s": split_s, "test_images": len(one.test), "grouped_s": grouped_s,
    "grouped_test_images": len(grouped.test), "folds_s": folds_s, "folds": len(folds),
}))
"""
_NEAR = """
import json, sys, time
import numpy as np
from bench.data.splitting.duplicates import near_pairs
count, planted, seed = map(int, sys.argv[1:])
rng = np.random.default_rng(seed)
hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
near = rng.permutation(count)[: 2 * planted].reshape(-1, 2)
hashes[near[:, 1]] = hashes[near[:, 0]]
for one in near[:, 1]:
    for bit in rng.permutation(64)[: rng.integers(0, 9)]:
        hashes[one] ^= np.uint64(1) << np.uint64(bit)
begin = time.perf_counter()
found = {tuple(pair) for piece in near_pairs(hashes, 8) for pair in piece.tolist()}
seconds = time.perf_counter() - begin
wanted = {tuple(sorted(pair)) for pair in near.tolist()}
peak = peak_bytes()
print(json.dumps({
    "seconds": seconds, "planted": planted, "planted_found": len(wanted & found),
    "pairs": len(found), "peak_bytes": peak,
}))
"""


def measure(chosen: Record) -> Json:
    """Make, read and split them."""
    images = chosen["images"]
    inside = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    outcomes = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory(prefix="paddy-bench-million-", dir=inside) as name:
            _make(Path(name), layout, images)
            trace(f"{layout}: made")
            outcomes.append(_python(_INDEX, name))
            trace(f"{layout}: {outcomes[-1]}")
    compared = []
    for count in (images // 4, images):
        compared.append({"hashes": count, **_python(_NEAR, count, PLANTED, SEED)})
        trace(f"comparing: {compared[-1]}")
    return {"outcome": outcomes, "compared": compared}


def _python(code: str, *arguments: object) -> Json:
    return json.loads(run_python("-W", "ignore", "-c", _PEAK + code, *map(str, arguments)))


def _make(root: Path, layout: str, images: int) -> None:
    chance = random.Random(SEED)
    below = "train_images" if layout == "kaggle" else "pictures"
    for label in range(CLASSES):
        (root / below / f"class_{label}").mkdir(parents=True)
    rows = []
    for number in range(images):
        label = f"class_{chance.randrange(CLASSES)}"
        name = f"{number:07}.jpg"
        os.close(os.open(f"{root}/{below}/{label}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
        kaggle = f"{name},{label},variety,45"
        rows.append(kaggle if layout == "kaggle" else f"{below}/{label}/{name},{label}")
    header = "image_id,label,variety,age" if layout == "kaggle" else "path,label"
    table = root / ("train.csv" if layout == "kaggle" else "metadata.csv")
    table.write_text("\n".join([header, *rows]) + "\n", "utf8")


def rows(record: Record) -> list[Row]:
    """Seconds and memory of each layout, and how comparing grows."""
    result = []
    for case in record["outcome"]:
        gigabytes = case["peak_bytes"] / 1e9
        result.append(
            Row(
                f"Index of {case['images']:,} images, {case['layout']}",
                f"under {MOST_S:g} s and {MOST_GB:g} GB",
                f"{case['index_s']:.1f} s, {gigabytes:.2f} GB; split {case['split_s']:.1f} s, of "
                f"pairs that stay together {case['grouped_s']:.1f} s, five folds "
                f"{case['folds_s']:.1f} s",
                case["index_s"] < MOST_S and gigabytes < MOST_GB,
                "one fresh process each; the peak is that of the whole process after indexing",
            )
        )
    few, many = record["compared"]
    grew = many["seconds"] / few["seconds"]
    more = many["hashes"] / few["hashes"]
    result.append(
        Row(
            f"Near copies among {many['hashes']:,} hashes: time against {few['hashes']:,}",
            f"less than {more**2:g} × (the square), every planted pair found",
            f"{grew:.1f} × ({many['seconds']:.1f} s and {few['seconds']:.1f} s, "
            f"{many['peak_bytes'] / 1e9:.2f} GB); {many['planted_found']:,} of "
            f"{many['planted']:,} planted pairs, {many['pairs']:,} pairs in all",
            grew < more**2 and many["planted_found"] == many["planted"],
            "random hashes, a near one planted for some",
        )
    )
    return result
