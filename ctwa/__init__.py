"""What all parts share: settings, errors, pseudonyms, files and the lock."""

__version__ = "0.2.0"
