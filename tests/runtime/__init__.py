"""Tests of the runtime: turns, durability, hibernation, and what happens under stress."""
