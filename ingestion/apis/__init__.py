"""What the clients of all APIs share: reading an answer, and the end of each version."""
