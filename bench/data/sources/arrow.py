"""Arrow files of images, as Hugging Face's ``datasets`` writes them.

A path below such a file, ``train.arrow/17/leaf.jpg``, names the image of row 17: its bytes lie in
the file as they were, and are read there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import numpy as np

from bench.errors import BenchError, error_line

SUFFIX = ".arrow"
LABELS = ("label", "labels", "target", "class")


class NoArrowError(OSError):
    """A file that holds no table of images; its text says why."""


@attrs.frozen(eq=False)
class Table:
    """The rows of an Arrow file.

    Attributes:
        starts: (N,) int64, where each image begins in the file.
        sizes: (N,) int64, its bytes.
        names: of the image's file, where the table knows it.
        labels: class names; none: the row has no class.
        groups: what must stay together, or none.
        classes: names of the classes in their order, where the table has them.
    """

    starts: np.ndarray
    sizes: np.ndarray
    names: list[str | None]
    labels: list[str | None]
    groups: list[str | None]
    classes: tuple[str, ...] | None


def contents(path: Path) -> Places:
    """Where the images of a file lie.

    Raises:
        NoArrowError, OSError: it cannot be read.
    """
    table = read_table(path, images_only=True)
    return Places(table.starts, table.sizes)


class Places:
    """Offset and size by the name of a row, ``17/leaf.jpg``: the number counts.

    Args:
        starts, sizes: as of :class:`Table`.
    """

    def __init__(self, starts: np.ndarray, sizes: np.ndarray) -> None:
        self._starts, self._sizes = starts, sizes

    def __getitem__(self, name: str) -> tuple[int, int]:
        row = name.partition("/")[0]
        if not row.isascii() or not row.isdecimal() or int(row) >= len(self._starts):
            raise KeyError(name)
        return int(self._starts[int(row)]), int(self._sizes[int(row)])


def key_of(archive: str, member: str) -> str:
    """The key of a row: its image's name without suffix, else the file and the number."""
    row, _, name = member.partition("/")
    if name:
        return PurePosixPath(name).stem
    return f"{archive}/{row}"


def read_table(path: Path, *, images_only: bool = False) -> Table:
    """Where images lie in a file, and what is said of them; the images stay where they are.

    Args:
        path: of the Arrow file.
        images_only: leave out names, classes and groups.

    Raises:
        NoArrowError: it is no such table.
        OSError: it cannot be read.
    """
    pa = _pyarrow()
    # Mapped: a table larger than the memory is as good as a small one.
    whole = pa.memory_map(str(path)).read_buffer()
    try:
        schema, batches = _batches(pa, whole)
        return _read(pa, whole, schema, batches, images_only)
    # Of a damaged file: no such format, text that is none, values that are out of its bounds.
    except (pa.ArrowException, ValueError) as error:
        raise NoArrowError(f"it is no Arrow file ({error_line(error)})") from error


def _read(pa: Any, whole: Any, schema: Any, batches: list[Any], images_only: bool) -> Table:
    features = _features(schema)
    image, label = _image_column(schema, features), _label_column(schema, features)
    classes = features.get(label or "", {}).get("names")
    classes = tuple(map(str, classes)) if isinstance(classes, list) and classes else None
    starts: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    names: list[str | None] = []
    labels: list[str | None] = []
    groups: list[str | None] = []
    for batch in batches:
        column = batch.column(image)
        start, size = _places(pa, column, whole)
        starts.append(start)
        sizes.append(size)
        if images_only:
            continue
        for name in {label, "group"} & set(schema.names):
            batch.column(name).validate(full=True)
        names += _names(pa, column)
        values = [None] * len(batch) if label is None else batch.column(label).to_pylist()
        labels += [_class(value, classes) for value in values]
        own = batch.column("group").to_pylist() if "group" in schema.names else [None] * len(batch)
        groups += [None if one is None else str(one) for one in own]
    nothing = [np.empty(0, np.int64)]
    return Table(
        np.concatenate(starts or nothing), np.concatenate(sizes or nothing),
        names, labels, groups, classes,
    )  # fmt: skip


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise BenchError(
            "data sets in Arrow files need pyarrow: pip install 'paddy-bench[hf]'"
        ) from error
    return pyarrow


def _batches(pa: Any, whole: Any) -> tuple[Any, list[Any]]:
    try:
        reader = pa.ipc.open_stream(whole)
        return reader.schema, list(reader)
    except pa.ArrowInvalid:
        # The other of Arrow's two forms.
        table = pa.ipc.open_file(whole)
        return table.schema, [table.get_batch(n) for n in range(table.num_record_batches)]


def _features(schema: Any) -> Mapping[str, Any]:
    """What ``datasets`` says of each column, by its name."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: one for name, one in content.items() if isinstance(one, dict)}


def _image_column(schema: Any, features: Mapping[str, Any]) -> str:
    named = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    found = named or [name for name in ("image", "img") if name in schema.names]
    if len(found) != 1:
        columns = ", ".join(map(repr, schema.names[:8]))
        what = "has several columns of images" if found else "has no column of images"
        raise NoArrowError(f"it {what} (columns: {columns}): keep one")
    return found[0]


def _label_column(schema: Any, features: Mapping[str, Any]) -> str | None:
    for name in LABELS:
        if name in schema.names:
            return name
    found = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    return found[0] if len(found) == 1 else None


def _class(value: Any, classes: tuple[str, ...] | None) -> str | None:
    if value is None or value == -1 or (isinstance(value, str) and not value.strip()):
        return None
    if classes is not None and isinstance(value, int):
        if not 0 <= value < len(classes):
            raise NoArrowError(f"it has class {value}, and names {len(classes)}: save it anew")
        return classes[value]
    text = str(value).strip()
    if classes is not None and text not in classes:
        raise NoArrowError(f"it has class {text!r}, and does not name it: save it anew")
    return text


def _places(pa: Any, column: Any, whole: Any) -> tuple[np.ndarray, np.ndarray]:
    """Offsets in the file, and sizes, of a column's images."""
    data = column
    if pa.types.is_struct(column.type):
        if column.type.get_field_index("bytes") < 0:
            raise NoArrowError("its column of images has no bytes")
        data = column.field("bytes")
    if not (pa.types.is_binary(data.type) or pa.types.is_large_binary(data.type)):
        raise NoArrowError(f"its column of images is of the type {data.type}, not of bytes")
    _, offsets, values = data.buffers()
    wide = np.int64 if pa.types.is_large_binary(data.type) else np.int32
    if len(data) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if column.null_count:
        raise NoArrowError(f"{column.null_count} rows have no image: remove them")
    if data.null_count or values is None:
        raise NoArrowError(
            "its images lie in files of their own: give the folder of these, or embed them "
            "(datasets' embed_table_storage)"
        )
    ends = np.frombuffer(offsets, wide)[data.offset : data.offset + len(data) + 1].astype(np.int64)
    if len(ends) != len(data) + 1 or ends[0] < 0 or (np.diff(ends) < 0).any():
        raise NoArrowError("it is damaged: its images end before they begin")
    base = values.address - whole.address
    if not 0 <= base <= base + ends[-1] <= whole.size:
        raise NoArrowError("it is compressed: save it without compression")
    return base + ends[:-1], np.diff(ends)


def _names(pa: Any, column: Any) -> list[str | None]:
    if not pa.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return [None] * len(column)
    column.field("path").validate(full=True)
    paths = column.field("path").to_pylist()
    return [PurePosixPath(path).name or None if path else None for path in paths]
