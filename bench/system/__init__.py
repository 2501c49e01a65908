"""The machine: environment, devices, memory, files, locks, signals, progress."""
