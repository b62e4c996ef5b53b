"""Marts for BI tools: the read-only copies."""
