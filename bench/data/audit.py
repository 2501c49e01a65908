"""Looks at every image of a data set before anything is trained on it, and says what is off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

from bench.data.images import UnreadableImage, read_size
from bench.data.index import ImageIndex
from bench.data.sources.tables import SPLITS
from bench.data.splitting.duplicates import Duplicates, Groups, count_groups, find_duplicates
from bench.system.digits import fixed

LISTED = 20


@attrs.frozen
class DuplicateGroup:
    """Copies of one image: their paths, and the classes and splits that they lie in."""

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
        near: groups of images that look the same; ``duplicates`` has the identical files in them.
        copies: how they were found.
        leaked: images of a split that have a copy in an earlier one, by the names of both splits.
        warnings: what was passed over, one line each.
    """

    index: ImageIndex
    part_counts: dict[str, dict[str, int]]
    image_sizes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[DuplicateGroup, ...]
    near: tuple[DuplicateGroup, ...]
    copies: Duplicates
    leaked: dict[tuple[str, str], tuple[int, ...]]
    warnings: tuple[str, ...]

    @property
    def imbalance_ratio(self) -> float:
        """Return the images of the largest class divided by those of the smallest."""
        counts = self.index.counts().values()
        return max(counts) / min(counts)

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as JSON types, for programs."""
        return {
            "root": str(self.index.root),
            "layout": self.index.layout,
            "synthetic": self.index.synthetic,
            **self.index.identity(),
            "images": len(self.index),
            "bytes": sum(self.index.file_sizes),
            "images_by_class": self.index.counts(),
            "images_by_part_and_class": self.part_counts,
            "imbalance_ratio": self.imbalance_ratio,
            "images_by_width_x_height_pixels": self.image_sizes,
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
            "duplicates": _groups_dict(self.duplicates),
            "near_duplicates": {
                **_groups_dict(self.near),
                "method": self.copies.method,
                "threshold_bits": self.copies.threshold_bits,
            },
            "copies": count_groups(self.copies.groups),
            "images_with_copy_in_another_part": [
                {"part": split, "copy_in": other, "images": [self.index.paths[i] for i in leaked]}
                for (split, other), leaked in self.leaked.items()
            ],
            "warnings": list(self.warnings),
        }

    def render_text(self) -> str:
        """Return the same as aligned lines for a terminal; long lists are cut, which is said."""
        return "\n".join([*_summary(self), "", *_class_table(self), "", *_findings(self)])


def across_parts(groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return the groups in more than one split: what is trained on, or chosen by, is tested on."""
    return [group for group in groups if len(group.parts) > 1]


def across_classes(groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return the groups that lie in more than one class: at most one of their labels is right."""
    return [group for group in groups if len(group.classes) > 1]


def _groups_dict(groups: Sequence[DuplicateGroup]) -> dict[str, Any]:
    return {
        **count_groups([group.paths for group in groups]),
        "groups_across_parts": len(across_parts(groups)),
        "groups_across_classes": len(across_classes(groups)),
        "list": [
            {name: list(value) for name, value in attrs.asdict(group).items()} for group in groups
        ],
    }


# --- looking ---------------------------------------------------------------------------------


def audit(
    index: ImageIndex,
    parts: Mapping[str, Sequence[int]] | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    *,
    copies: Duplicates | None = None,
    warnings: Sequence[str] | None = None,
) -> Audit:
    """Decode every image, and say which are copies of each other and where they lie.

    Args:
        index: the images.
        parts: indices of images by the split's name; none: the data's own splits, if any.
        workers: threads (Pillow decodes without holding Python's lock).
        on_progress: called with (images decoded, images in all).
        copies: of the images; none: they are compared here.
        warnings: what to show as such; none: the index's.
    """
    copies = copies or find_duplicates(index, workers=workers)
    sizes: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []

    def measure(i: int) -> tuple[int, int] | UnreadableImage:
        try:
            return read_size(index.path(i))
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for i, result in enumerate(pool.map(measure, range(len(index)))):
            if isinstance(result, UnreadableImage):
                unreadable.append((index.paths[i], result.reason))
            else:
                sizes["{}×{}".format(*result)] += 1
            on_progress(i + 1, len(index))
    exact = set(copies.exact)
    parts = parts or {name: [i for i, p in enumerate(index.parts) if p == name] for name in SPLITS}
    return Audit(
        index=index,
        part_counts={name: index.counts(indices) for name, indices in parts.items() if indices},
        image_sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        unreadable=tuple(sorted(unreadable)),
        duplicates=_groups(index, parts, copies.exact),
        near=_groups(index, parts, tuple(g for g in copies.groups if g not in exact)),
        copies=copies,
        leaked=copies.leaked_between(parts),
        warnings=tuple(index.warnings if warnings is None else warnings),
    )


def _groups(
    index: ImageIndex, parts: Mapping[str, Sequence[int]], groups: Groups
) -> tuple[DuplicateGroup, ...]:
    held = {name: set(indices) for name, indices in parts.items()}
    return tuple(
        DuplicateGroup(
            paths=tuple(index.paths[i] for i in group),
            classes=tuple(sorted({index.classes[index.labels[i]] for i in group})),
            parts=tuple(name for name in parts if not held[name].isdisjoint(group)),
        )
        for group in groups
    )


# --- text ------------------------------------------------------------------------------------


def _summary(audit: Audit) -> list[str]:
    index = audit.index
    kind = f"{index.layout}, SYNTHETIC" if index.synthetic else index.layout
    sizes = [f"{size} ({count})" for size, count in audit.image_sizes.items()]
    more = f", … {len(sizes) - 5} more" if len(sizes) > 5 else ""
    return [
        f"{'data':<12} {_plain(str(index.root))} ({kind})",
        f"{'images':<12} {len(index)} in {len(index.classes)} classes, "
        f"{fixed(sum(index.file_sizes) / 1e6, 1)} MB",
        f"{'fingerprint':<12} {index.fingerprint}",
        f"{'pixels':<12} {', '.join(sizes[:5]) or 'none'}{more} (width×height)",
        f"{'imbalance':<12} {audit.imbalance_ratio:.2f} (largest class / smallest)",
    ]


def _class_table(audit: Audit) -> list[str]:
    columns = {"images": audit.index.counts(), **audit.part_counts}
    rows: list[tuple[str, Iterable[object]]] = [("class", columns)]
    for name in audit.index.classes:
        rows.append((_plain(name), [counts[name] for counts in columns.values()]))
    rows.append(("total", [sum(counts.values()) for counts in columns.values()]))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}" + "".join(f"{cell:>8}" for cell in cells) for name, cells in rows]


def _findings(audit: Audit) -> list[str]:
    unreadable = [f"  {_plain(path)}: {_plain(reason)}" for path, reason in audit.unreadable]
    near = f"images that look the same (within {audit.copies.threshold_bits} bits)"
    return [
        f"{'unreadable':<12} {len(unreadable)}",
        *_cut(unreadable),
        *_group_lines("duplicates", "identical files", audit.duplicates, " = "),
        *_group_lines("near copies", near, audit.near, " ~ "),
        *(
            f"{'across parts':<12} {len(leaked)} of {sum(audit.part_counts[split].values())} "
            f"{split} images have a copy in {other}"
            for (split, other), leaked in audit.leaked.items()
            if leaked
        ),
        *(f"{'warning':<12} {_plain(warning)}" for warning in audit.warnings),
    ]


def _group_lines(title: str, what: str, groups: Sequence[DuplicateGroup], sign: str) -> list[str]:
    counts = count_groups([group.paths for group in groups])
    lines = [
        f"  {sign.join(map(_plain, group.paths))}"
        + (f" [parts: {', '.join(group.parts)}]" if len(group.parts) > 1 else "")
        + (f" [classes: {_plain(', '.join(group.classes))}]" if len(group.classes) > 1 else "")
        for group in groups
    ]
    parts = len(across_parts(groups))
    hint = " (--dedup group keeps them together, where the split is made here)" if parts else ""
    return [
        f"{title:<12} {_groups_text(counts['groups'])} of {what}: {counts['files']} files, "
        f"{counts['redundant_files']} redundant; {_groups_text(parts)} across parts{hint}, "
        f"{len(across_classes(groups))} across classes",
        *_cut(lines),
    ]


def _groups_text(count: int) -> str:
    return f"{count} group" if count == 1 else f"{count} groups"


def _cut(lines: list[str]) -> list[str]:
    left = len(lines) - LISTED
    return lines if left <= 0 else [*lines[:LISTED], f"  … and {left} more"]


def _plain(text: str) -> str:
    # File and class names may hold line breaks or terminal codes.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
