"""From a folder of photographs to labelled, split, readable images."""
