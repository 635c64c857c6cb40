"""Moving what is stored: out to a file, in from one, and from one storage to another."""

from __future__ import annotations

from torpor.storage.transfer.exporting import Export
from torpor.storage.transfer.importing import ImportResult, copy, import_lines
from torpor.storage.transfer.lines import Totals

__all__ = ["Export", "ImportResult", "Totals", "copy", "import_lines"]
