"""The event queue."""
