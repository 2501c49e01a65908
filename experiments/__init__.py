"""Experiments that check the harness itself; run by a command, outside the test run."""
