"""Pictures as they are shown to models and people: Pillow alone, below data and report."""

# A new number for other pixels of the same file: part of the cache's key, and in the records.
# Loader 1 (no number in its records) read large JPEGs wrongly at small sizes; loader 2 rounded
# upright pictures after the other side.
LOADER = 3
