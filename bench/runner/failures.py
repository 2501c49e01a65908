"""What went wrong in a run, in a line that says what helps."""

from __future__ import annotations

import errno

from bench.train.accumulation import out_of_memory

GO_ON = "then go on with --resume"


def explain(error: BaseException) -> str:
    """The error's message in one line, with the mend where one is known."""
    text = " ".join(str(error).split())
    mend = _mend(error, text)
    return f"{text}: {mend}" if text and mend else text or mend


def _mend(error: BaseException, text: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some, {GO_ON}"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"make it writable, {GO_ON}"
    if FileNotFoundError in (type(error), type(error.__cause__)):
        return f"bring it back, {GO_ON}"
    if out_of_memory(error):
        return "give a smaller --batch-size or --image-size"
    lost = "killed" in text or "exited unexpectedly" in text
    if isinstance(error, RuntimeError) and "DataLoader worker" in text and lost:
        return f"most likely for lack of memory: give a smaller --num-workers, {GO_ON}"
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return f"the images could not be read in time: see that --data-dir answers, {GO_ON}"
    return ""
