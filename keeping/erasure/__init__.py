"""Erasing one person. `forget` is the entry; the order in `steps` is safe against being killed."""
