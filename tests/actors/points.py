"""Interrupts at each point where one may come: where the interpreter looks for signals."""

from __future__ import annotations

import dis
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torpor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["interrupted_at_each_point"]

_OURS = str(Path(torpor.__file__).parent)
_LOOKS = {
    code
    for name, code in dis.opmap.items()
    if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD"))
}


class _Tracer:
    """Raises a KeyboardInterrupt at the given point, counted from 1, of what it traces."""

    def __init__(self, point: int) -> None:
        self.left = point
        self._frames = 0
        self._last: dict[FrameType, tuple[int, int]] = {}

    def enter(self, frame: FrameType, event: str, _: Any) -> Any:
        """Trace each instruction of the library's own functions."""
        if event == "call":
            self._frames += 1
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            # It looks behind a call of C code; of Python code it did so at the begin of that.
            code, frames = self._last.get(frame, (-1, 0))
            self._last[frame] = (frame.f_code.co_code[frame.f_lasti], self._frames)
            if code in _LOOKS and frames == self._frames:
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
        elif event == "return":
            self._last.pop(frame, None)
        return self._step


def interrupted_at_each_point(prepare: Callable[[], Callable[[], object]]) -> Iterator[int]:
    """Yield after each run of what ``prepare`` returns, interrupted at the next point each time.

    It ends with a run that was over before it came to its point.
    """
    point, interrupted = 0, True
    while interrupted:
        point += 1
        act, tracer, before = prepare(), _Tracer(point), sys.gettrace()
        sys.settrace(tracer.enter)
        try:
            act()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        interrupted = tracer.left == 0
        yield point
