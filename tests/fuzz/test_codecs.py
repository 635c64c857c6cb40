"""Damaged documents that are compressed or encrypted: as they were, or typed errors."""

from __future__ import annotations

import base64
import json
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, changed, junk, mutated, text_of
from tests.fuzz.kit import THREAD, fill, look_at, quiet
from torpor.storage.compression import Zstd
from torpor.storage.encoded import EncodedStorage
from torpor.storage.encoding import MARK, Codec
from torpor.storage.encryption import Encryption
from torpor.storage.errors import (
    CorruptRecordError,
    DecryptionError,
    TorporError,
    UnserializableError,
)
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage import Change

SECRET = Encryption({"k": b"k" * 32})
CODECS = {
    "compressed": Codec(compression=Zstd(above=0)),
    "encrypted": Codec(encryption=SECRET),
    "both": Codec(compression=Zstd(above=0), encryption=SECRET),
}
TEXT = json.dumps({"text": "as it was " * 9})
PLACE = "checkpoints\ncounter/a"


@st.composite
def documents(draw: st.DrawFn, codec: Codec) -> str:
    """Return what stands where a codec has put a document."""
    sound = codec.encode(TEXT, PLACE)
    kind = draw(st.sampled_from(["text", "data", "steps", "json", "junk"]))
    document = json.loads(sound)
    if kind == "text":
        return draw(mutated(sound.encode())).decode("utf-8", "replace")
    if kind == "json":
        return text_of(draw(changed(document)))
    if kind == "junk":
        return draw(junk).decode("utf-8", "replace")
    if kind == "data":
        content = draw(mutated(base64.b64decode(document["data"])))
        return text_of({**document, "data": base64.b64encode(content).decode()})
    names = ["zstd", "aes-256-gcm-siv:k", "aes-256-gcm-siv:x", "", "\ud800", "pickle", "zstd:9"]
    steps = draw(st.lists(st.sampled_from(names), max_size=4))
    return text_of({**document, MARK: "+".join(steps)})


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_document(name: str, data: st.DataObject) -> None:
    """Whatever stands there: the document as it was, plain text if that is taken, or an error."""
    codec = CODECS[name]
    text = data.draw(documents(codec), "document")
    with suppress(CorruptRecordError, DecryptionError):
        decoded = codec.decode(text, PLACE, "counter/a")
        assert decoded == TEXT or name == "compressed"
    quiet()


class _Forger(Codec):
    """A codec without authentication in the hands of somebody who writes what they like."""

    def __init__(self, text: str) -> None:
        super().__init__(compression=Zstd(above=0))
        self._text = text.ljust(400)  # so that it gets smaller

    def encode(self, text: str, place: str) -> str:
        """Return something else."""
        return super().encode(self._text if '"e0"' not in text else text, place)


@given(text=ANYTHING.map(text_of) | st.just('["payload",{}]') | st.just('["payload",[]]'))
def test_forged_content(text: str) -> None:
    """What was compressed may be anything: payloads and metadata are sound or an error is told."""
    with closing(MemoryStorage()) as inner:
        with suppress(TorporError), EncodedStorage(inner, _Forger(text)) as storage:
            fill(storage)
        with EncodedStorage(inner, Codec()) as storage:
            look_at(storage)
            with suppress(TorporError):
                thread = storage.load_thread(THREAD)
                for entry in thread or ():
                    assert isinstance(entry.refs, dict)
                assert thread is None or isinstance(thread.head.metadata, dict)


class _Careless(MemoryStorage):
    """Refuses nothing."""

    def _refusal(self, change: Change) -> None:
        del change


@given(payload=changed({MARK: "zstd", "data": "KLUv/SAFKQAAWzEse31d"}))
def test_strange_payload(payload: Any) -> None:
    """A payload that bears a codec's mark, and is none's, is not taken apart (W-39)."""
    marked = isinstance(payload, dict) and MARK in payload
    with _Careless() as inner, EncodedStorage(inner, Codec()) as storage:
        try:
            inner.append_thread("log", {"payload": payload})
        except UnserializableError:
            return
        if marked:
            with pytest.raises((CorruptRecordError, DecryptionError)):
                storage.load_thread("log")
        else:
            assert [entry.payload for entry in storage.load_thread("log") or ()] == [payload]
        look_at(inner)
