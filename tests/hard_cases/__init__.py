"""Situations that a trustworthy runtime survives; other folders' tests show the rest of them."""
