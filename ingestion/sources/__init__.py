"""dlt sources and the lake they land in."""
