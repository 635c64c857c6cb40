"""The peers' side of the work, written as their own documentation would have it."""
