"""What all parts share: settings, pseudonyms, locks, and the command line."""

__version__ = "0.1.0"
