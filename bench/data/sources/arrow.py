"""Arrow files of images, as Hugging Face's ``datasets`` writes them.

A path below such a file, ``train.arrow/17/leaf.jpg``, names the image of row 17: its bytes lie in
the file as they were, and are read there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

    def __getitem__(self, name: str) -> tuple[int, int]:
        """Return offset and size by the name of a row, ``17/leaf.jpg``: the number counts."""
        row = name.partition("/")[0]
        if not row.isascii() or not row.isdecimal() or int(row) >= len(self.starts):
            raise KeyError(name)
        return int(self.starts[int(row)]), int(self.sizes[int(row)])


def contents(path: Path) -> Table:
    """Return the positions of a file's images.

    Raises:
        NoArrowError, OSError: it cannot be read.
    """
    return read_table(path, images_only=True)


def key_of(archive: str, member: str) -> str:
    """Return the key of a row: its image's name without suffix, else the file and the number."""
    row, _, name = member.partition("/")
    return PurePosixPath(name).stem if name else f"{archive}/{row}"


def read_table(path: Path, *, images_only: bool = False) -> Table:
    """Return the positions of a file's images, and what is said of them, without reading them.

    Args:
        path: of the Arrow file.
        images_only: leave out names, classes and groups.

    Raises:
        NoArrowError: it is no such table.
        OSError: it cannot be read.
    """
    pa = _pyarrow()
    # Mapped: a table larger than the memory is as good as a small one.
    file = pa.memory_map(str(path)).read_buffer()
    try:
        try:
            table = pa.ipc.open_stream(file).read_all()
        except pa.ArrowInvalid:
            # The other of Arrow's two forms.
            table = pa.ipc.open_file(file).read_all()
        return _read(pa, file, table, images_only)
    # Of a damaged file: no such format, text that is none, values that are out of its bounds.
    except (pa.ArrowException, ValueError) as error:
        raise NoArrowError(f"it is no Arrow file ({error_line(error)})") from error


def _read(pa: Any, file: Any, table: Any, images_only: bool) -> Table:
    features = _features(table.schema)
    image = _image_column(table.column_names, features)
    label = _label_column(table.column_names, features)
    classes = features.get(label or "", {}).get("names")
    classes = tuple(map(str, classes)) if isinstance(classes, list) and classes else None
    columns = table.column(image).chunks
    ranges = [np.empty((2, 0), np.int64), *(_byte_ranges(pa, column, file) for column in columns)]
    starts, sizes = np.concatenate(ranges, axis=1)
    if images_only:
        return Table(starts, sizes, [], [], [], classes)
    labels = [_class(value, classes) for value in _values(table, label)]
    groups = [None if group is None else str(group) for group in _values(table, "group")]
    names = [name for column in columns for name in _names(pa, column)]
    return Table(starts, sizes, names, labels, groups, classes)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise BenchError(
            "data sets in Arrow files need pyarrow: pip install 'paddy-bench[hf]'"
        ) from error
    return pyarrow


def _features(schema: Any) -> Mapping[str, Any]:
    """Return what ``datasets`` says of each column, by its name."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: column for name, column in content.items() if isinstance(column, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _image_column(names: Sequence[str], features: Mapping[str, Any]) -> str:
    columns = _of_type("Image", names, features)
    columns = columns or [name for name in ("image", "img") if name in names]
    if len(columns) != 1:
        first = ", ".join(map(repr, names[:8]))
        what = "has several columns of images" if columns else "has no column of images"
        raise NoArrowError(f"it {what} (columns: {first}): keep one")
    return columns[0]


def _label_column(names: Sequence[str], features: Mapping[str, Any]) -> str | None:
    columns = [name for name in LABELS if name in names][:1]
    columns = columns or _of_type("ClassLabel", names, features)
    return columns[0] if len(columns) == 1 else None


def _of_type(kind: str, names: Sequence[str], features: Mapping[str, Any]) -> list[str]:
    return [name for name in names if features.get(name, {}).get("_type") == kind]


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


def _byte_ranges(pa: Any, column: Any, file: Any) -> np.ndarray:
    """Return (2, N) int64: offsets in the file, and sizes, of a column's images."""
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
        return np.empty((2, 0), np.int64)
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
    base = values.address - file.address
    if not 0 <= base <= base + ends[-1] <= file.size:
        raise NoArrowError("it is compressed: save it without compression")
    return np.stack([base + ends[:-1], np.diff(ends)])


def _names(pa: Any, column: Any) -> list[str | None]:
    if not pa.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return [None] * len(column)
    paths = _checked(column.field("path"))
    return [PurePosixPath(path).name or None if path else None for path in paths]


def _values(table: Any, name: str | None) -> list[Any]:
    """Return the values of a column; none for each row where the table lacks it."""
    return _checked(table.column(name)) if name in table.column_names else [None] * len(table)


def _checked(column: Any) -> list[Any]:
    column.validate(full=True)
    values: list[Any] = column.to_pylist()
    return values
