"""Where an agent is stored: its kind, its partition and its key, told apart for ever."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviours.kit import Counter
from torpor import (
    InvalidKeyError,
    Runtime,
)
from torpor.address import address_of, split_address

T = TypeVar("T")

_awkward = st.text(st.sampled_from("ab/@%2F45 'é😀\n\\.#"), min_size=1, max_size=12)


@given(
    kind=st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,5}", fullmatch=True),
    partition=st.none() | _awkward | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    key=_awkward,
)
def test_addresses_never_collide(kind: str, partition: str | None, key: str) -> None:
    """From an address its kind, partition and key can be told again, whatever they hold."""
    if partition is not None and (partition == "" or "\0" in partition):
        with pytest.raises(InvalidKeyError):
            address_of(kind, partition, key)
        return

    assert split_address(address_of(kind, partition, key)) == (kind, partition, key)


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * 513, "é" * 257, 7, b"a", None])
def test_keys_are_text_that_fits(memory: Runtime, key: Any) -> None:
    """A key or partition that no storage takes is refused before anything is sent (IM-21)."""
    with pytest.raises(InvalidKeyError):
        memory.get(Counter, key)
    with pytest.raises(InvalidKeyError):
        memory.lookup(Counter, key)
    if key is not None:
        with pytest.raises(InvalidKeyError):
            memory.get(Counter, "a", partition=key)
