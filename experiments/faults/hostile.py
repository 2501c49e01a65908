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
import io
import itertools
import os
import random
import re
import shutil
import signal
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from experiments.faults.common import head
from experiments.record import Record, Row, trace

NAME = "hostile"
SEED = 23
FILES = NAMES = 200
MOST_S = 5.0
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
    "run", "--variants", "Hostile_Small", "--no-timing", "--tune", "off", "--epochs", "1",
    "--batch-size", "2", "--image-size", "32", "--num-workers", "0", "--threads", "1",
    "--test-fraction", "0", "--data-dir",
)  # fmt: skip
GOOD = 4
# What the harness may write to; Python itself keeps the plugin's bytecode beside it.
WRITTEN = ("results", "reports", "cache", "__pycache__")


def run(quick: bool) -> dict[str, Any]:
    """All of both; ``quick``: one of each kind of file, 20 names."""
    record = head(NAME, quick, SEED, {"files": FILES, "names": NAMES, "limit_s": MOST_S})
    before = Path.cwd()
    kept = {name: os.environ.get(name) for name in ("PADDY_BENCH_CACHE_DIR",)}
    with tempfile.TemporaryDirectory(prefix="paddy-bench-hostile-") as name:
        folder = Path(name)
        os.environ["PADDY_BENCH_CACHE_DIR"] = str(folder / "cache")
        (folder / "small.py").write_text(PLUGIN, "utf8")
        threads = torch.get_num_threads()
        try:
            # The first one waits for the imports.
            _clean(folder / "clean")
            _through(folder / "clean", folder / "small.py")
            files = list(_files(folder, len(KINDS) if quick else FILES))
            trace(f"{len(files)} files")
            names = list(_names(folder, 20 if quick else NAMES))
            trace(f"{len(names)} names")
        finally:
            os.chdir(before)
            torch.set_num_threads(threads)
            for variable, value in kept.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value
    return {**record, "outcome": {"files": files, "names": names}}


# --- what is hostile -------------------------------------------------------------------------


def _picture(chance: random.Random, size: tuple[int, int] = (40, 40)) -> Image.Image:
    rng = np.random.default_rng(chance.randrange(2**32))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def _bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _bomb(side: int) -> bytes:
    """A PNG that says it is side × side pixels, in a few bytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100_000, 9)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _cut(path: Path, chance: random.Random) -> None:
    whole = _bytes(_picture(chance), "JPEG")
    path.write_bytes(whole[: chance.randrange(1, len(whole))])


def _turned(path: Path, chance: random.Random) -> None:
    whole = bytearray(_bytes(_picture(chance), chance.choice(["JPEG", "PNG", "BMP", "WEBP"])))
    for _ in range(chance.randrange(1, 60)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    path.write_bytes(bytes(whole))


def _animated(path: Path, chance: random.Random) -> None:
    frames = [_picture(chance) for _ in range(5)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def _loop(path: Path, chance: random.Random) -> None:
    other = path.with_name("other.jpg")
    other.symlink_to(path.name)
    path.symlink_to(other.name)


def _folder_loop(path: Path, chance: random.Random) -> None:
    (path.parent / "around").symlink_to("..", target_is_directory=True)
    path.write_bytes(b"")


def _sixteen_bit(path: Path, chance: random.Random) -> None:
    pixels = np.random.default_rng(chance.randrange(99)).integers(0, 65536, (40, 40), np.uint16)
    Image.fromarray(pixels).save(path, "PNG")


def _mode(path: Path, chance: random.Random, mode: str, kind: str) -> None:
    _picture(chance).convert(mode).save(path, kind)


def _odd_metadata(path: Path, chance: random.Random) -> None:
    _picture(chance).save(path, "JPEG", exif=b"Exif\0\0" + chance.randbytes(300))


KINDS: dict[str, tuple[str, Callable[[Path, random.Random], Any]]] = {
    "empty": ("x.jpg", lambda path, chance: path.write_bytes(b"")),
    "cut short": ("x.jpg", _cut),
    "bytes turned": ("x.png", _turned),
    "random bytes": ("x.jpg", lambda p, chance: p.write_bytes(chance.randbytes(5000))),
    "wrong suffix": ("x.jpg", lambda path, chance: _picture(chance).save(path, "PNG")),
    "text": ("x.png", lambda path, chance: path.write_text("<script>alert(1)</script>")),
    "animated": ("x.gif", _animated),
    "animated, wrong suffix": ("x.jpg", _animated),
    "16 bits": ("x.png", _sixteen_bit),
    "CMYK": ("x.jpg", lambda p, chance: _mode(p, chance, "CMYK", "JPEG")),
    "palette": ("x.png", lambda p, chance: _mode(p, chance, "P", "PNG")),
    "transparent": ("x.png", lambda p, chance: _mode(p, chance, "LA", "PNG")),
    "one bit": ("x.png", lambda p, chance: _mode(p, chance, "1", "PNG")),
    "bomb of 100,000 × 100,000": ("x.png", lambda p, chance: p.write_bytes(_bomb(100_000))),
    "bomb of 20,000 × 20,000": ("x.png", lambda p, chance: p.write_bytes(_bomb(20_000))),
    "1 × 1": ("x.png", lambda p, chance: _picture(chance, (1, 1)).save(p, "PNG")),
    "1 × 3,000": ("x.png", lambda p, chance: _picture(chance, (1, 3000)).save(p, "PNG")),
    "link to itself": ("x.jpg", _loop),
    "link to nothing": ("x.jpg", lambda path, chance: path.symlink_to("nowhere.jpg")),
    "link to a device": ("x.jpg", lambda path, chance: path.symlink_to("/dev/zero")),
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


def _names(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(SEED + 1)
    made_so_far = 0
    for number in itertools.count():
        if made_so_far == count:
            return
        role = ROLES[number % len(ROLES)]
        text = TEXTS[number // len(ROLES) % len(TEXTS)]
        if number // len(ROLES) >= len(TEXTS):
            text = "".join(chance.sample(text, len(text))) + chance.choice(TEXTS)[:20]
        place = folder / f"name-{number}"
        made = _named(place / "data", role, text, chance)
        made_so_far += made
        if made:
            yield {"text": text, "role": role, "made": True, **_through(place, folder / "small.py")}
        else:
            yield {"text": text, "role": role, "made": False}


def _clean(place: Path) -> None:
    """Two classes of good pictures."""
    chance = random.Random(0)
    for label in ("a", "b"):
        (place / "data" / label).mkdir(parents=True)
        for number in range(GOOD):
            _picture(chance).save(place / "data" / label / f"{number}.png")


def _named(data: Path, role: str, text: str, chance: random.Random) -> bool:
    """A data set with that text in that role; false where the system has no such name."""
    for label in ("a", "b"):
        (data / "pictures" / label).mkdir(parents=True)
        for number in range(GOOD):
            _picture(chance).save(data / "pictures" / label / f"{number}.png")
    if role in ("class", "file"):
        try:
            if "/" in text or text in (".", ".."):
                raise ValueError
            if role == "class":
                (data / "pictures/b").rename(data / "pictures" / text)
            else:
                (data / "pictures/b/0.png").rename(data / "pictures/b" / f"{text}.png")
        except (OSError, ValueError):
            return False
        for child in (data / "pictures").iterdir():
            child.rename(data / child.name)
        (data / "pictures").rmdir()
        return True
    lines = [["path", "label", "split", "group"]]
    for label in ("a", "b"):
        for number in range(GOOD):
            shown = text if role == "cell" and label == "b" else label
            group = f"{text}{number % 3}" if role == "group" else ""
            lines.append([f"pictures/{label}/{number}.png", shown, "", group])
    with (data / "metadata.csv").open("w", newline="", encoding="utf8") as file:
        csv.writer(file).writerows(lines)
    return True


def _files(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(SEED)
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        name, make = KINDS[kind]
        place = folder / f"file-{number}"
        _clean(place)
        make(place / "data" / "b" / name, chance)
        yield {"kind": kind, "made": True, **_through(place, folder / "small.py")}


# --- what became of it -----------------------------------------------------------------------


class _Hangs(BaseException):
    """It took too long; nobody may take it for an error of a run."""


def _through(place: Path, plugin: Path) -> dict[str, Any]:
    """Audit, train and report in that folder."""
    from bench.cli.main import main

    os.chdir(place)
    listed = _tree(place.parent)
    steps: dict[str, Any] = {}
    for step, arguments in (
        ("data", ["data", "--data-dir", "data"]),
        ("run", [*RUN, "data", "--plugin", str(plugin)]),
        ("report", ["report"]),
    ):
        out, err = io.StringIO(), io.StringIO()
        begin = time.perf_counter()
        with _at_most(4 * MOST_S), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: int | str = main(arguments)
            except SystemExit as error:
                code = f"exit {error.code}"
            except _Hangs:
                code = "hangs"
            except BaseException as error:  # it is what is looked for
                code = f"{type(error).__name__}: {error}"[:200]
        steps[step] = {
            "code": code,
            "seconds": time.perf_counter() - begin,
            "traceback": "Traceback (most recent" in err.getvalue() + out.getvalue(),
            "last_line": (err.getvalue().strip().splitlines() or [""])[-1][:160],
        }
        if step == "run" and code == 2:
            break
    new = sorted(_tree(place.parent) - listed)
    reports = len(list(place.glob("reports/*/report.md")))
    broken = _broken(place)
    os.chdir(place.parent)
    shutil.rmtree(place)
    return {"steps": steps, "outside": new[:5], "broken": broken, "reports": reports}


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
    found = set()
    for root, folders, names in os.walk(folder):
        relative = os.path.relpath(root, folder)
        if relative.count(os.sep) == 0:
            folders[:] = [name for name in folders if name not in WRITTEN]
        found.update(os.path.join(relative, name) for name in [*folders, *names])
    return found


_BAD = re.compile(
    r"<(script|img|b>)|(?<!\\)\]\(javascript|[\u202a-\u202e\u2066-\u2069\u2028\x00-\x08\x1b]",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\s*[=+\-@](?!\d[\d.]*(e[+-]?\d+)?%?$)")


def _broken(place: Path) -> list[str]:
    """What in the report is no table, no text or a formula any more."""
    found = []
    for path in sorted(place.rglob("reports/**/*")):
        if path.suffix == ".md":
            text = path.read_text("utf8")
            if _BAD.search(text):
                found.append(f"{path.name}: {_BAD.search(text)}"[:200])
            found += _uneven(text)
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf8") as file:
                lines = list(csv.reader(file))
            if len({len(line) for line in lines}) > 1:
                found.append(f"{path.name}: lines of different length")
            cells = [cell for line in lines for cell in line if _FORMULA.match(cell)]
            found += [f"{path.name}: formula {cell[:40]!r}" for cell in cells[:1]]
    return found[:5]


def _uneven(text: str) -> list[str]:
    """Tables with rows of another number of cells than their head has."""
    found, columns, fence = [], 0, ""
    for line in text.split("\n"):
        ticks = re.match("`{3,}", line)
        if fence and line.strip() == fence:
            fence = ""
        elif ticks and not fence:
            fence = ticks[0]
        if fence or not line.startswith("|"):
            columns = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line.replace("\\\\", "")))
        if columns and cells != columns:
            found.append(f"table row of {cells - 1} cells instead of {columns - 1}: {line[:80]}")
        columns = columns or cells
    return found


def rows(record: Record) -> list[Row]:
    """Files and names: tracebacks, hangs, files outside, broken tables."""
    found = []
    limit = record["parameters"]["limit_s"]
    for what, each in record["outcome"].items():
        made = [one for one in each if one["made"]]
        steps = [step for one in made for step in one["steps"].values()]
        wrong = [s for s in steps if s["traceback"] or s["code"] not in (0, 1, 2)]
        slow = [step for step in steps if step["seconds"] > limit]
        outside = [one for one in made if one["outside"]]
        broken = [one for one in made if one["broken"]]
        reports = sum(one["reports"] for one in made)
        longest = max(step["seconds"] for step in steps)
        found.append(
            Row(
                f"{len(made)} hostile {what}",
                f"no traceback, nothing over {limit:g} s, no file outside, tables stay tables",
                f"{len(wrong)} tracebacks, {len(slow)} over {limit:g} s (longest {longest:.1f} s), "
                f"{len(outside)} with files outside, {len(broken)} broken of {reports} reports",
                not (wrong or slow or outside or broken) and reports > len(made) / 2,
                f"{len(steps)} commands (data, run, report) in one process, with "
                f"{2 * GOOD} good pictures each",
            )
        )
        absent = len(each) - len(made)
        if absent:
            found.append(
                Row(
                    f"Hostile {what} that the file system refuses",
                    "informs",
                    f"{absent}",
                    None,
                    "a path, or more bytes than a name may have; the same text stands in tables",
                )
            )
    return found


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): what became of each kind of file, and of refused names."""
    kinds: dict[str, list[str]] = {}
    for one in record["outcome"]["files"]:
        step = one["steps"].get("run", one["steps"]["data"])
        kinds.setdefault(one["kind"], []).append(f"{step['code']}: {step['last_line'][:100]}")
    cells = [[kind, str(len(each)), each[0]] for kind, each in kinds.items()]
    header = ["kind", "files", "exit code of run, last line (the first one's)"]
    return [("Hostile files.", header, cells)]
