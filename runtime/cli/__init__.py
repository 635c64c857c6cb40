"""The command line, ``torpor``. It needs the extra ``cli``, nothing else of Torpor does."""

from __future__ import annotations

from torpor.cli.main import main

__all__ = ["main"]
