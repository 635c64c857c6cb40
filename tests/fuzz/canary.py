"""A bird that sings if stored bytes are ever executed: nobody may have heard it."""

from __future__ import annotations

__all__ = ["PICKLE", "SONGS", "TEXTS", "sing"]

SONGS: list[str] = []
"""What was sung, in this process."""

_NAME = "tests.fuzz.canary"


def sing(text: str = "executed") -> str:
    """Sing."""
    SONGS.append(text)
    return text


PICKLE = f"c{_NAME}\nsing\n(tR.".encode()
"""What makes an unpickler sing."""

TEXTS = (
    PICKLE.decode(),
    f"!!python/object/apply:{_NAME}.sing []",
    f'{{"py/reduce": [{{"py/function": "{_NAME}.sing"}}, {{"py/tuple": []}}]}}',
    f"__import__('{_NAME}', fromlist=['sing']).sing()",
    f"{{{{ __import__('{_NAME}', fromlist=['sing']).sing() }}}}",
    f"'); SELECT load_extension('{_NAME}'); --",
)
"""What makes careless readers of text sing: of pickles, YAML, jsonpickle, Python, templates."""
