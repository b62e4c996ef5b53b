"""Maintenance of an installation: backup, erasure, repair of a copied data folder."""
