"""The exception for mistakes that the user can correct, and errors in one line."""


class BenchError(Exception):
    """Name in one line what is wrong and how to fix it; the command line exits with 2."""


def error_line(error: object, longest: int = 200) -> str:
    """Return an error's message in one line, cut to its first ``longest`` characters.

    Where ``longest`` is negative, the last ones are kept.
    """
    text = " ".join(str(error).split())
    return text[longest:] if longest < 0 else text[:longest]
