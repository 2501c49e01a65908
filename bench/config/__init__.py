"""Options and presets."""
