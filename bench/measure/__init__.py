"""Counting, timing, memory and environment: what stands in a table is measured here."""
