"""Erasing one person: `forget` is the entry; each landing runs `sieve` and `steps`."""
