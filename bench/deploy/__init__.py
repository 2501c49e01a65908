"""Trained runs put to use: predict, evaluate elsewhere, export."""
