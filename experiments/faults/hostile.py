"""Hostile files and hostile names: 200 of each, one by one, through `data`, `run` and `report`.

Files: damaged, empty, cut short, of a wrong suffix, animated, 16-bit, CMYK, image bombs, loops of
links, pipes. Names: of classes, files and table cells, with paths, line breaks, pipes, markup,
scripts, formulas, bidirectional marks, look-alikes, and 300 characters. Each meets eight good
pictures. Tables of the report must keep their columns; nothing may be written outside the results,
reports and cache folders (the whole tree is listed before and after).
"""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import itertools
import os
import random
import re
import runpy
import shutil
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from bench.config.presets import ENVIRONMENT_PREFIX
from experiments.rows import Row
from experiments.suite import Json, Record, Tables

SEED = 23
MOST_S = 5.0
PARAMETERS = {"files": 200, "names": 200, "limit_s": MOST_S}
QUICK: Json = {}
PLUGIN = """\
from torch import nn

from variants import Variant, register


class Small(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, num_classes)

    def get_classifier(self):
        return self.head

    def forward(self, images):
        return self.head(self.layers(images))


def build(num_classes, dropout=0.0, reduction=None):
    return Small(num_classes)


register(Variant(name="Hostile_Small", backbone="small", build=build))
"""
RUN = (
    "run --variants Hostile_Small --no-timing --tune off --epochs 1 --batch-size 2 --image-size 32 "
    "--num-workers 0 --threads 1 --test-fraction 0 --data-dir data --plugin ../small.py"
)
GOOD = 4
# What the harness may write to; Python itself keeps the plugin's bytecode beside it.
WRITTEN = ("results", "reports", "cache", "__pycache__")


def measure(chosen: Record) -> Json:
    """All of both; a quick run one of each kind of file, 20 names."""
    files, names = (len(KINDS), 20) if chosen["quick"] else (chosen["files"], chosen["names"])
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="paddy-bench-hostile-") as name:
        folder = Path(name)
        (folder / "small.py").write_text(PLUGIN, "utf8")
        variables = {ENVIRONMENT_PREFIX + "CACHE_DIR": str(folder / "cache")}
        try:
            with mock.patch.dict(os.environ, variables):
                # The first one waits for the imports.
                _good_pictures(folder / "clean" / "data")
                _through(folder / "clean")
                outcome = {
                    "files": list(_files(folder, files)),
                    "names": list(_names(folder, names)),
                }
        finally:
            torch.set_num_threads(threads)
    return {"outcome": outcome}


# --- what is hostile -------------------------------------------------------------------------

Maker = Callable[[Path, random.Random], Any]


def _picture(chance: random.Random, size: tuple[int, int] = (40, 40)) -> Image.Image:
    rng = np.random.default_rng(chance.randrange(2**32))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def _bytes(chance: random.Random, kind: str) -> bytes:
    stream = io.BytesIO()
    _picture(chance).save(stream, kind)
    return stream.getvalue()


def _saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> Maker:
    """A picture in that format, mode and size."""
    return lambda path, chance: _picture(chance, size).convert(mode).save(path, kind)


def _link(target: str) -> Maker:
    return lambda path, chance: path.symlink_to(target)


def _bomb(side: int) -> Maker:
    """A PNG that says it is side × side pixels, in a few bytes."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100_000, 9)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    return lambda path, chance: path.write_bytes(content)


def _cut(path: Path, chance: random.Random) -> None:
    whole = _bytes(chance, "JPEG")
    path.write_bytes(whole[: chance.randrange(1, len(whole))])


def _turned(path: Path, chance: random.Random) -> None:
    picture = _picture(chance)
    stream = io.BytesIO()
    picture.save(stream, chance.choice(["JPEG", "PNG", "BMP", "WEBP"]))
    whole = bytearray(stream.getvalue())
    for _ in range(chance.randrange(1, 60)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    path.write_bytes(whole)


def _animated(path: Path, chance: random.Random) -> None:
    first, *others = (_picture(chance) for _ in range(5))
    first.save(path, "GIF", save_all=True, append_images=others)


def _loop(path: Path, chance: random.Random) -> None:
    path.with_name("other.jpg").symlink_to(path.name)
    path.symlink_to("other.jpg")


def _folder_loop(path: Path, chance: random.Random) -> None:
    (path.parent / "around").symlink_to("..", target_is_directory=True)
    path.write_bytes(b"")


def _sixteen_bit(path: Path, chance: random.Random) -> None:
    pixels = np.random.default_rng(chance.randrange(99)).integers(0, 65536, (40, 40), np.uint16)
    Image.fromarray(pixels).save(path, "PNG")


def _odd_metadata(path: Path, chance: random.Random) -> None:
    _picture(chance).save(path, "JPEG", exif=b"Exif\0\0" + chance.randbytes(300))


# By kind the name of the file, and what makes it.
KINDS: dict[str, tuple[str, Maker]] = {
    "empty": ("x.jpg", lambda path, chance: path.write_bytes(b"")),
    "cut short": ("x.jpg", _cut),
    "bytes turned": ("x.png", _turned),
    "random bytes": ("x.jpg", lambda path, chance: path.write_bytes(chance.randbytes(5000))),
    "wrong suffix": ("x.jpg", _saved("PNG")),
    "text": ("x.png", lambda path, chance: path.write_text("<script>alert(1)</script>")),
    "animated": ("x.gif", _animated),
    "animated, wrong suffix": ("x.jpg", _animated),
    "16 bits": ("x.png", _sixteen_bit),
    "CMYK": ("x.jpg", _saved("JPEG", "CMYK")),
    "palette": ("x.png", _saved("PNG", "P")),
    "transparent": ("x.png", _saved("PNG", "LA")),
    "one bit": ("x.png", _saved("PNG", "1")),
    "bomb of 100,000 × 100,000": ("x.png", _bomb(100_000)),
    "bomb of 20,000 × 20,000": ("x.png", _bomb(20_000)),
    "1 × 1": ("x.png", _saved("PNG", size=(1, 1))),
    "1 × 3,000": ("x.png", _saved("PNG", size=(1, 3000))),
    "link to itself": ("x.jpg", _loop),
    "link to nothing": ("x.jpg", _link("nowhere.jpg")),
    "link to a device": ("x.jpg", _link("/dev/zero")),
    "folder in a circle": ("x.jpg", _folder_loop),
    "folder with an image's name": ("x.jpg", lambda path, chance: path.mkdir()),
    "pipe": ("x.jpg", lambda path, chance: os.mkfifo(path)),
    "unreadable metadata": ("x.jpg", _odd_metadata),
}
TEXTS = (
    "../../outside", "..", "a\nb", "a\r\nb", "| a | b |", "```sh", "`x`",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1",
    "x" * 300, "\u202egpj.tsalb", "bl\u0430st", "\u200bblast", "\u2066abc\u2069",
    "[x](javascript:1)",
    "![x](http://x/y.png)", "&lt;b&gt;", "# title", "--variants", "$(touch outside)",
    "`touch outside`",
    "%s%n", "{0}", "\\", "a\\|b", "*bold*", "~~x~~", "con", "nul.jpg", "\x1b[31mred", "\x07",
    "https://example.org", "'; DROP TABLE x; --", "\ud7ff", "é", "e\u0301", "😀", "\u2028line",
    "\ufeffbom",
)  # fmt: skip
ROLES = ("class", "file", "cell", "group")


def _good_pictures(data: Path, chance: random.Random | None = None) -> list[str]:
    """Two classes of good pictures; their names."""
    chance = chance or random.Random(0)
    names = [f"{label}/{number}.png" for label in "ab" for number in range(GOOD)]
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(chance).save(data / name)
    return names


def _files(folder: Path, count: int) -> Iterator[Json]:
    chance = random.Random(SEED)
    for number, kind in zip(range(count), itertools.cycle(KINDS), strict=False):
        name, make = KINDS[kind]
        place = folder / f"file-{number}"
        _good_pictures(place / "data")
        make(place / "data" / "b" / name, chance)
        yield {"kind": kind, "made": True, **_through(place)}


def _names(folder: Path, count: int) -> Iterator[Json]:
    chance = random.Random(SEED + 1)
    number = 0
    while count:
        cycle, role = number // len(ROLES), ROLES[number % len(ROLES)]
        text = TEXTS[cycle % len(TEXTS)]
        if cycle >= len(TEXTS):
            text = "".join(chance.sample(text, len(text))) + chance.choice(TEXTS)[:20]
        place = folder / f"name-{number}"
        made = _named(place / "data", role, text, chance)
        count -= made
        number += 1
        yield {"text": text, "role": role, "made": made, **(_through(place) if made else {})}


def _named(data: Path, role: str, text: str, chance: random.Random) -> bool:
    """A data set with that text in that role; false where the system has no such name."""
    if role in ("class", "file"):
        _good_pictures(data, chance)
        old, new = ("b", text) if role == "class" else ("b/0.png", f"b/{text}.png")
        if "/" in text or text in (".", ".."):
            return False
        try:
            (data / old).rename(data / new)
        except (OSError, ValueError):
            return False
        return True
    lines = [("path", "label", "split", "group")]
    for number, name in enumerate(_good_pictures(data / "pictures", chance)):
        label = text if role == "cell" and name[0] == "b" else name[0]
        group = f"{text}{number % GOOD % 3}" if role == "group" else ""
        lines.append((f"pictures/{name}", label, "", group))
    with (data / "metadata.csv").open("w", newline="", encoding="utf8") as file:
        csv.writer(file).writerows(lines)
    return True


# --- what became of it -----------------------------------------------------------------------


class _Hangs(BaseException):
    """It took too long; nobody may take it for an error of a run."""


def _through(place: Path) -> Json:
    """Audit, train and report in that folder."""
    listed = _tree(place.parent)
    steps: Json = {}
    with contextlib.chdir(place):
        for arguments in ("data --data-dir data", RUN, "report"):
            name = arguments.partition(" ")[0]
            steps[name] = _command(arguments.split())
            if name == "run" and steps[name]["code"] == 2:
                break
    outcome = {
        "steps": steps,
        "outside": sorted(_tree(place.parent) - listed)[:5],
        "broken": _broken(place),
        "reports": len(list(place.glob("reports/*/report.md"))),
    }
    shutil.rmtree(place)
    return outcome


def _command(arguments: list[str]) -> Json:
    """``python -m bench ARGUMENTS``, in this process: a new one would take seconds to import."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    begin = time.perf_counter()
    with (
        mock.patch.object(sys, "argv", ["bench", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _at_most(4 * MOST_S),
    ):
        try:
            runpy.run_module("bench", run_name="__main__", alter_sys=True)
        except SystemExit as error:
            code = error.code
        except _Hangs:
            code = "hangs"
        except BaseException as error:  # it is what is looked for
            code = f"{type(error).__name__}: {error}"[:200]
    seconds = time.perf_counter() - begin
    # At its end the command takes all objects out of the collector's sight.
    gc.unfreeze()
    return {
        "code": code,
        "seconds": seconds,
        "traceback": "Traceback (most recent" in err.getvalue() + out.getvalue(),
        "last_line": (err.getvalue().strip().splitlines() or [""])[-1][:160],
    }


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _tree(folder: Path) -> set[str]:
    """Every path below, without those folders that the harness may write to."""
    paths = set()
    for root, folders, names in os.walk(folder):
        relative = os.path.relpath(root, folder)
        if os.sep not in relative:
            folders[:] = set(folders).difference(WRITTEN)
        paths.update(os.path.join(relative, name) for name in folders + names)
    return paths


_BAD = re.compile(
    r"<(script|img|b>)|(?<!\\)\]\(javascript|[\u202a-\u202e\u2066-\u2069\u2028\x00-\x08\x1b]",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\s*[=+\-@](?!\d[\d.]*(e[+-]?\d+)?%?$)")


def _broken(place: Path) -> list[str]:
    """What in the report is no table, no text or a formula any more."""
    problems = []
    for path in sorted(place.rglob("reports/**/*.md")):
        text = path.read_text("utf8")
        if match := _BAD.search(text):
            problems.append(f"{path.name}: {match}"[:200])
        problems += _uneven(text)
    for path in sorted(place.rglob("reports/**/*.csv")):
        with path.open(newline="", encoding="utf8") as file:
            lines = list(csv.reader(file))
        if len(set(map(len, lines))) > 1:
            problems.append(f"{path.name}: lines of different length")
        formulas = [cell for line in lines for cell in line if _FORMULA.match(cell)]
        problems += [f"{path.name}: formula {cell[:40]!r}" for cell in formulas[:1]]
    return problems[:5]


def _uneven(text: str) -> list[str]:
    """Tables with rows of another number of cells than their head has."""
    # Code blocks end with a fence of as many ticks as they begin with.
    text = re.sub(r"^(`{3,}).*?^\1 *$", "", text, flags=re.DOTALL | re.MULTILINE)
    problems, columns = [], 0
    for line in text.split("\n"):
        cells = 0
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line.replace("\\\\", "")))
        if columns and cells and cells != columns:
            problems.append(f"table row of {cells - 1} cells instead of {columns - 1}: {line[:80]}")
        columns = cells and (columns or cells)
    return problems


def rows(record: Record) -> list[Row]:
    """Files and names: tracebacks, hangs, files outside, broken tables."""
    result = []
    limit = record["parameters"]["limit_s"]
    for what, cases in record["outcome"].items():
        made = [case for case in cases if case["made"]]
        steps = [step for case in made for step in case["steps"].values()]
        wrong = sum(step["traceback"] or step["code"] not in (0, 1, 2) for step in steps)
        seconds = [step["seconds"] for step in steps]
        slow = sum(each > limit for each in seconds)
        outside, broken = (sum(bool(case[key]) for case in made) for key in ("outside", "broken"))
        reports = sum(case["reports"] for case in made)
        result.append(
            Row(
                f"{len(made)} hostile {what}",
                f"no traceback, nothing over {limit:g} s, no file outside, tables stay tables",
                f"{wrong} tracebacks, {slow} over {limit:g} s (longest {max(seconds):.1f} s), "
                f"{outside} with files outside, {broken} broken of {reports} reports",
                not (wrong or slow or outside or broken) and reports > len(made) / 2,
                f"{len(steps)} commands (data, run, report) in one process, with "
                f"{2 * GOOD} good pictures each",
            )
        )
        absent = len(cases) - len(made)
        if absent:
            result.append(
                Row(
                    f"Hostile {what} that the file system refuses",
                    "informs",
                    f"{absent}",
                    None,
                    "a path, or more bytes than a name may have; the same text stands in tables",
                )
            )
    return result


def details(record: Record) -> Tables:
    """What became of each kind of file."""
    kinds: dict[str, list[str]] = {}
    for case in record["outcome"]["files"]:
        step = case["steps"].get("run", case["steps"]["data"])
        kinds.setdefault(case["kind"], []).append(f"{step['code']}: {step['last_line'][:100]}")
    cells = [[kind, str(len(lines)), lines[0]] for kind, lines in kinds.items()]
    header = ["kind", "files", "exit code of run, last line (the first one's)"]
    return [("Hostile files.", header, cells)]
