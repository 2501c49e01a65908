"""Timing sessions: cases, rounds, worker processes and inference backends."""
