"""paddy-bench: train, count, time and compare image-classification variants."""

__version__ = "0.1.0"
ENVIRONMENT_PREFIX = "PADDY_BENCH_"
