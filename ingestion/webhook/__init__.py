"""The receiver: signed webhooks in, stored in the vault byte for byte, then answered."""
