"""Where a runtime stores its agents when nobody says where."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import platformdirs

__all__ = ["default_url"]


def default_url() -> str:
    """Return the URL of the SQLite file in the user's data folder; ``TORPOR_HOME`` moves it."""
    home = os.environ.get("TORPOR_HOME") or platformdirs.user_data_dir("torpor", appauthor=False)
    return f"sqlite:///{quote(str(Path(home).absolute() / 'torpor.db'))}"
