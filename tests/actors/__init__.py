"""Tests of the actors: who runs a message, where, for how long, and what waits for what."""
