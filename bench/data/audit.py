"""Looks at every image of a data set before anything is trained on it, and says what is off."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import attrs

from bench.data.images import UnreadableImage, load_rgb
from bench.data.index import ImageIndex
from bench.data.splits import PARTS, Split

LISTED = 20


@attrs.frozen
class DuplicateGroup:
    """Files of identical content: their paths, and the classes and parts that they lie in."""

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Audit:
    """What was found in a data set.

    Attributes:
        index: the images.
        part_counts: images by part and class; empty where no split is known.
        image_sizes: images by ``width×height`` in pixels, most frequent first.
        unreadable: (path, reason) of files that do not decode.
        duplicates: groups of identical files, by their first path.
    """

    index: ImageIndex
    part_counts: dict[str, dict[str, int]]
    image_sizes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[DuplicateGroup, ...]

    @property
    def imbalance_ratio(self) -> float:
        """Images of the largest class divided by those of the smallest."""
        counts = self.index.counts().values()
        return max(counts) / min(counts)

    @property
    def across_parts(self) -> tuple[DuplicateGroup, ...]:
        """Groups that lie in more than one part: what is trained on is tested on."""
        return tuple(group for group in self.duplicates if len(group.parts) > 1)

    @property
    def across_classes(self) -> tuple[DuplicateGroup, ...]:
        """Groups that lie in more than one class: at most one of their labels is right."""
        return tuple(group for group in self.duplicates if len(group.classes) > 1)

    def as_dict(self) -> dict[str, Any]:
        """JSON types, for programs."""
        files = sum(len(group.paths) for group in self.duplicates)
        return {
            "root": str(self.index.root),
            "layout": self.index.layout,
            "synthetic": self.index.synthetic,
            "fingerprint": self.index.fingerprint,
            "images": len(self.index),
            "bytes": sum(self.index.file_sizes),
            "images_by_class": self.index.counts(),
            "images_by_part_and_class": self.part_counts,
            "imbalance_ratio": self.imbalance_ratio,
            "images_by_width_x_height_pixels": self.image_sizes,
            "unreadable": [{"path": path, "reason": why} for path, why in self.unreadable],
            "duplicates": {
                "groups": len(self.duplicates),
                "files": files,
                "redundant_files": files - len(self.duplicates),
                "groups_across_parts": len(self.across_parts),
                "groups_across_classes": len(self.across_classes),
                "list": [
                    {
                        "paths": list(group.paths),
                        "classes": list(group.classes),
                        "parts": list(group.parts),
                    }
                    for group in self.duplicates
                ],
            },
            "warnings": list(self.index.warnings),
        }

    def render_text(self) -> str:
        """The same as aligned lines for a terminal; long lists are cut, which is said."""
        return "\n".join([*_summary(self), "", *_class_table(self), "", *_findings(self)])


# --- looking ---------------------------------------------------------------------------------


def audit(
    index: ImageIndex,
    split: Split | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Decode every image and compare the content of files of equal size.

    Args:
        index: the images.
        split: which part each image is in; none: the data's own parts, if it has some.
        workers: threads (Pillow decodes without holding Python's lock).
        on_progress: called with (images done, images in all).
    """
    repeats = Counter(index.file_sizes)
    sizes: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    by_content: dict[bytes, list[int]] = {}

    def look(position: int) -> tuple[int, str | None, str, bytes | None]:
        path, file_size = index.path(position), index.file_sizes[position]
        digest = _digest(path) if file_size and repeats[file_size] > 1 else None
        try:
            width, height = load_rgb(path).size
        except UnreadableImage as error:
            return position, None, error.reason, digest
        return position, f"{width}×{height}", "", digest

    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        jobs = [pool.submit(look, position) for position in range(len(index))]
        for done, job in enumerate(as_completed(jobs), start=1):
            position, size, reason, digest = job.result()
            if size is None:
                unreadable.append((index.paths[position], reason))
            else:
                sizes[size] += 1
            if digest is not None:
                by_content.setdefault(digest, []).append(position)
            if on_progress is not None:
                on_progress(done, len(index))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    parts = _parts(index, split)
    groups = [_group(index, parts, sorted(same)) for same in by_content.values() if len(same) > 1]
    return Audit(
        index=index,
        part_counts={
            part: index.counts([i for i, own in enumerate(parts) if own == part])
            for part in PARTS
            if part in parts
        },
        image_sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        unreadable=tuple(sorted(unreadable)),
        duplicates=tuple(sorted(groups, key=lambda group: group.paths)),
    )


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, hashlib.blake2b).digest()
    except OSError:
        return None


def _parts(index: ImageIndex, split: Split | None) -> list[str | None]:
    if split is None:
        return list(index.parts)
    parts: list[str | None] = [None] * len(index)
    for part, positions in split.as_dict().items():
        for position in positions:
            parts[position] = part
    return parts


def _group(index: ImageIndex, parts: list[str | None], same: list[int]) -> DuplicateGroup:
    held = {parts[position] for position in same}
    return DuplicateGroup(
        paths=tuple(index.paths[position] for position in same),
        classes=tuple(sorted({index.classes[index.labels[position]] for position in same})),
        parts=tuple(part for part in PARTS if part in held),
    )


# --- text ------------------------------------------------------------------------------------


def _summary(found: Audit) -> list[str]:
    index = found.index
    kind = f"{index.layout}, SYNTHETIC" if index.synthetic else index.layout
    sizes = [f"{size} ({count})" for size, count in found.image_sizes.items()]
    more = f", … {len(sizes) - 5} more" if len(sizes) > 5 else ""
    return [
        f"{'data':<12} {_plain(str(index.root))} ({kind})",
        f"{'images':<12} {len(index)} in {len(index.classes)} classes, "
        f"{sum(index.file_sizes) / 1e6:.1f} MB",
        f"{'fingerprint':<12} {index.fingerprint}",
        f"{'pixels':<12} {', '.join(sizes[:5]) or 'none'}{more} (width×height)",
        f"{'imbalance':<12} {found.imbalance_ratio:.2f} (largest class / smallest)",
    ]


def _class_table(found: Audit) -> list[str]:
    columns = {"images": found.index.counts(), **found.part_counts}
    names = [_plain(name) for name in found.index.classes]
    width = max(len(name) for name in [*names, "class"])
    lines = [f"{'class':<{width}}" + "".join(f"{title:>8}" for title in columns)]
    for name, shown in zip(found.index.classes, names, strict=True):
        lines.append(
            f"{shown:<{width}}" + "".join(f"{column[name]:>8}" for column in columns.values())
        )
    totals = (sum(column.values()) for column in columns.values())
    return [*lines, f"{'total':<{width}}" + "".join(f"{total:>8}" for total in totals)]


def _findings(found: Audit) -> list[str]:
    unreadable = [f"  {_plain(path)}: {_plain(why)}" for path, why in found.unreadable]
    groups = [
        f"  {' = '.join(map(_plain, group.paths))}"
        + (f" [parts: {', '.join(group.parts)}]" if len(group.parts) > 1 else "")
        + (f" [classes: {_plain(', '.join(group.classes))}]" if len(group.classes) > 1 else "")
        for group in found.duplicates
    ]
    files = sum(len(group.paths) for group in found.duplicates)
    return [
        f"{'unreadable':<12} {len(unreadable)}",
        *_cut(unreadable),
        f"{'duplicates':<12} {len(groups)} groups of identical files: {files} files, "
        f"{files - len(groups)} redundant; {len(found.across_parts)} groups across parts, "
        f"{len(found.across_classes)} across classes",
        *_cut(groups),
        *(f"{'warning':<12} {_plain(warning)}" for warning in found.index.warnings),
    ]


def _cut(lines: list[str]) -> list[str]:
    left = len(lines) - LISTED
    return lines if left <= 0 else [*lines[:LISTED], f"  … and {left} more"]


def _plain(text: str) -> str:
    # File and class names may hold line breaks or terminal codes.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
