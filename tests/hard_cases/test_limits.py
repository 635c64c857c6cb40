"""States and entries about as large as the storage takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.behaviours.kit import saved
from torpor import Agent, RecordTooLargeError, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import AgentRef
    from torpor.storage.memory import MemoryStorage

LIMIT = 1000
"""Bytes that a document may have here."""

ROOM = LIMIT - len('{"text":""}')
"""Bytes of text that fit into a record beside the rest of it."""


class Page(Agent):
    """Holds a text, and keeps others in its thread."""

    text: str = ""

    def write(self, text: str) -> None:
        """Replace the text."""
        self.text = text

    def keep(self, text: str) -> None:
        """Append ``text`` to the thread, and note that."""
        self.text = "kept one"
        self.thread.append("text", text)

    def read(self) -> tuple[str, int]:
        """Return the text, and how many entries there are."""
        return self.text, len(self.thread)


@pytest.fixture
def page(memory: MemoryStorage) -> Iterator[AgentRef[Page]]:
    """Return an agent on a storage that takes documents of ``LIMIT`` bytes."""
    memory.max_document_bytes = LIMIT
    with Runtime(memory) as runtime:
        yield runtime.get(Page, "a")


@pytest.mark.parametrize("text", ["x" * ROOM, "é" * (ROOM // 2) + "x"], ids=["ASCII", "UTF-8"])
def test_a_state_may_be_as_large_as_the_limit(
    page: AgentRef[Page], memory: MemoryStorage, text: str
) -> None:
    """The last byte that fits is saved and thawed; one more is refused and undone (HC-35)."""
    page.ask(Page.write, text)
    page.hibernate()
    assert page.ask(Page.read) == (text, 0)

    with pytest.raises(RecordTooLargeError) as caught:
        page.ask(Page.write, text + "x")

    assert (caught.value.size, caught.value.limit) == (LIMIT + 1, LIMIT)
    assert page.ask(Page.read) == (text, 0)
    page.ask(Page.write, "short")
    assert saved(memory, page.address).value == {"text": "short"}


def test_an_entry_that_is_too_large_takes_its_turn_with_it(page: AgentRef[Page]) -> None:
    """Nothing of that turn is kept, and all of those around it is (HC-35)."""
    fits = "x" * (LIMIT // 2)
    page.ask(Page.keep, fits)
    page.ask(Page.write, "before")

    with pytest.raises(RecordTooLargeError):
        page.ask(Page.keep, "x" * LIMIT)

    assert page.ask(Page.read) == ("before", 1)
    page.ask(Page.keep, fits)
    page.hibernate()
    assert page.ask(Page.read) == ("kept one", 2)
