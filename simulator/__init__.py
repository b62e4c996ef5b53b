"""A synthetic company with known truth and stand-ins of the APIs. For demo, tests, bench."""
