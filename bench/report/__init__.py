"""Reports from run records alone: whoever reads a result needs no training stack."""
