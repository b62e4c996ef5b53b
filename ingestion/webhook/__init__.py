"""The receiver of signed webhooks and the vault it writes to."""
