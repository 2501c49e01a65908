"""Blocks that timm does not ship."""
