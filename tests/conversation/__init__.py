"""Tests of torpor.conversation."""
