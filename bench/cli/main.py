"""The entry points of the command line, and their exit codes."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from bench.cli.parser import make_parser, run_command
from bench.cli.parsing import EPILOG, Parser
from bench.errors import BenchError
from bench.system.launch import sleep_soon, started_together

# What a user can mend, and what no program can go on after.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m bench`` and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guarded(make_parser, arguments, f"python -m bench {shlex.join(arguments)}".strip())


def main_single(variant: str, argv: Sequence[str] | None = None) -> int:
    """Run one variant with the guide's flags, as a script, and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    script = f"train_{variant}.py"

    def make() -> Parser:
        from bench.cli.run import add_training_arguments

        parser = Parser(
            prog=f"python {script}",
            description=f"Train, count and time {variant}; the record goes to results/.",
            epilog=EPILOG,
        )
        add_training_arguments(parser)
        parser.set_defaults(command="run", variants=[variant], plugin=[], script=f"python {script}")
        return parser

    return _guarded(make, arguments, f"python {script} {shlex.join(arguments)}".strip())


def entry() -> int:
    """Run :func:`main` in a process that ends with it."""
    code = main()
    # The end looks through all objects for cycles; of ten thousand records there are many.
    gc.freeze()
    return code


def _guarded(make: Callable[[], Parser], arguments: list[str], command_line: str) -> int:
    try:
        parsed = make().parse_args(arguments)
        sleep_soon()
        if parsed.command != "list":  # which imports none of them, and is to answer at once
            _quieten_libraries()
        if parsed.command != "run" and started_together() > 1:
            raise BenchError(
                f"torchrun started {started_together()} processes, and {parsed.command} is done by "
                f"one: python -m bench {parsed.command}"
            )
        from bench.system.console import ConsoleHandler, log_to

        with contextlib.suppress(BrokenPipeError), log_to(ConsoleHandler()):
            return run_command(parsed, command_line)
        # Whoever read our output has gone: Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BenchError as error:
        # The first process of several says it for all: they were given the same command.
        if os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1":
            print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"error: {error}: what is finished is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept", file=sys.stderr)
        return 130


def _quieten_libraries() -> None:
    """Silence warnings of libraries that no user can act on.

    They script helpers of their own at import, and miss CUDA or Triton for kernels that no model
    has.
    """
    import logging
    import warnings

    warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
    for name in ("torch.utils.cpp_extension", "torch.utils.flop_counter"):
        logging.getLogger(name).setLevel(logging.ERROR)
