"""One training engine for every variant."""
