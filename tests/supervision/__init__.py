"""What failing turns do to their agents."""
