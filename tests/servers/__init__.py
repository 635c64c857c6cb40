"""Servers of their own for tests that stop one, and which there are."""
