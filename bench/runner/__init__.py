"""Sweeps: preflight, runs, records, resuming, several processes."""
