"""Trainings that are compared: ours, timm's procedure, a plain pipeline, a fixed batch."""
