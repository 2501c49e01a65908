"""Splits and folds, and the duplicates that must not be divided."""
