"""The tests of ``torpor.storage``."""
