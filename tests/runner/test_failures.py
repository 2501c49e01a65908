"""What went wrong is one line that says what helps."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from bench.runner.record import explain


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "results/a/last.pt"),
            "[Errno 28] No space left on device: 'results/a/last.pt': free some, then go on with "
            "--resume",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            "[Errno 30] Read-only file system: make it writable, then go on with --resume",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg"),
            "[Errno 2] No such file or directory: 'a.jpg': bring it back, then go on with --resume",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
            "CUDA out of memory. Tried to allocate 2 GiB: give a smaller --batch-size or "
            "--image-size",
        ),
        (MemoryError(), "give a smaller --batch-size or --image-size"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "DataLoader worker (pid 7) is killed by signal: Killed.: most likely for lack of "
            "memory: give a smaller --num-workers, then go on with --resume",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            "DataLoader worker (pid(s) 7, 8) exited unexpectedly: most likely for lack of "
            "memory: give a smaller --num-workers, then go on with --resume",
        ),
        (
            RuntimeError("DataLoader timed out after 300 seconds"),
            "DataLoader timed out after 300 seconds: the images could not be read in time: see "
            "that --data-dir answers, then go on with --resume",
        ),
        (ValueError("bad\n  thing"), "bad thing"),
        (ValueError(), ""),
    ],
)
def test_a_line(error: Exception, expected: str) -> None:
    assert explain(error) == expected


def test_a_picture_that_is_gone_is_a_missing_file() -> None:
    from bench.data.images import UnreadableImage, load_rgb

    with pytest.raises(UnreadableImage) as caught:
        load_rgb(Path("nowhere.jpg"))
    assert explain(caught.value).endswith("bring it back, then go on with --resume")
