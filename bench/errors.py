"""The one exception for mistakes that the user can mend."""


class BenchError(Exception):
    """What is wrong and how to mend it, in one line; the command line exits with 2."""
