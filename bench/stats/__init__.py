"""Intervals, tests and verdicts of accuracies and timings; scipy does the sums."""
