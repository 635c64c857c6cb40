"""What the product promises, shown on every backend."""
