"""For the tests of programs that use torpor.

``ManualClock`` moves when it is told to. ``torpor.testing.machine`` holds a hypothesis state
machine of the whole runtime on a storage; it needs hypothesis, and is imported by itself.
"""

from __future__ import annotations

from torpor.testing.clock import ManualClock

__all__ = ["ManualClock"]
