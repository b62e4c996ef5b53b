"""The one parser: envelopes in, typed rows of the event log out (rule R1). Pure: no clock, no
network, no state that changes a result; the same envelope and key always give the same rows.
"""

from ingestion.parser.envelopes import Parser

__all__ = ["Parser"]
