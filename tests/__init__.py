"""The tests of Torpor."""
