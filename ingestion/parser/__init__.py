"""Envelope to event log rows: pure and versioned (rule R1)."""
