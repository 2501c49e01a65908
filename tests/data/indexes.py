"""Image indexes without files behind them, for the tests of splits and folds."""

from __future__ import annotations

from pathlib import Path

from bench.data.index import ImageIndex


def make_index(
    counts: dict[str, int], parts: dict[str, dict[str, int]] | None = None
) -> ImageIndex:
    """An index of ``{class: images}``, or of ``{part: {class: images}}``; no files behind it."""
    named: list[tuple[str, str, str | None]] = []
    for part, inner in (parts or {"": counts}).items():
        for name, count in inner.items():
            named += [(f"{part}/{name}/{i:05}.jpg", name, part or None) for i in range(count)]
    named.sort()
    classes = tuple(sorted({name for _, name, _ in named}))
    return ImageIndex(
        root=Path("nowhere"),
        layout="class-folders",
        synthetic=False,
        classes=classes,
        paths=tuple(path for path, _, _ in named),
        labels=tuple(classes.index(name) for _, name, _ in named),
        parts=tuple(part for _, _, part in named),
        file_sizes=(1,) * len(named),
        fingerprint="",
    )


def by_class(index: ImageIndex, positions: tuple[int, ...]) -> list[int]:
    return list(index.counts(positions).values())
