"""Where images come from: folders, tables, tar shards, Arrow files, URLs."""
