"""Documented numbers, and whether the measured ones agree with them."""
