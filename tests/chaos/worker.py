"""One process of a chaos run: obeys the lines of its standard input until that ends."""

from __future__ import annotations

import os
import sys
import time

from tests.chaos.life import Life
from torpor.storage import Storage, open_storage
from torpor.storage.errors import StorageUnavailableError

__all__ = ["main"]


def main(url: str, name: str) -> None:
    """Be the process that lives the life ``name``."""
    with _opened(url) as storage, Life(storage, name, tell) as life:
        for order in sys.stdin:
            life.obey(order)


def tell(line: str) -> None:
    """Write one line, whole even if the process is killed."""
    os.write(1, line.encode())


def _opened(url: str) -> Storage:
    """Open the storage as soon as its server is there."""
    while True:
        try:
            return open_storage(url)
        except StorageUnavailableError:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
