"""Repositories and branches."""
