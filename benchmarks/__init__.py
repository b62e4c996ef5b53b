"""What `ctwa bench` runs."""
