"""What agents do: the behaviours and weaknesses that the project set out from, by their ids."""

from __future__ import annotations
