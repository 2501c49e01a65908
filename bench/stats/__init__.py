"""Intervals, tests and verdicts of accuracies and timings; scipy and statsmodels do the sums."""
