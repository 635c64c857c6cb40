"""Every value that a field can hold survives hibernation."""

from __future__ import annotations

import enum
import math
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue

from torpor import (
    Agent,
    Runtime,
)
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """A model within a model."""

    street: str
    number: int | None = None


class Everything(Agent):
    """Has fields of many types."""

    text: str = ""
    number: float = 0.0
    maybe: int | None = 3
    flag: bool = True
    blob: bytes = b""
    when: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    span: timedelta = timedelta(0)
    price: Decimal = Decimal(0)
    token: uuid.UUID = uuid.UUID(int=0)
    colour: Colour = Colour.BLUE
    pair: tuple[int, str] = (0, "")
    members: frozenset[int] = frozenset()
    home: Address = Address(street="")
    table: dict[str, list[Address | None]] = Field(default_factory=dict)
    json_value: JsonValue = None

    def become(self, other: Everything) -> None:
        """Take over all fields."""
        for name in type(self).model_fields:
            setattr(self, name, getattr(other, name))

    def all(self) -> dict[str, Any]:
        """Return all fields as they are."""
        return {name: getattr(self, name) for name in type(self).model_fields}


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_addresses = st.builds(Address, street=_text, number=st.none() | st.integers(-5, 5))
_floats = st.floats(allow_nan=False, allow_infinity=False)  # all that JSON itself has
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _floats | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_everything = st.builds(
    Everything,
    text=_text,
    number=st.floats(allow_nan=False),
    maybe=st.none() | st.integers(-(2**70), 2**70),
    flag=st.booleans(),
    blob=st.binary(max_size=9),
    when=st.datetimes(timezones=st.just(UTC)),
    span=st.timedeltas(timedelta(days=-9), timedelta(days=9)),
    price=st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-9, max_value=9),
    token=st.uuids(),
    colour=st.sampled_from(Colour),
    pair=st.tuples(st.integers(), _text),
    members=st.frozensets(st.integers(), max_size=3),
    home=_addresses,
    table=st.dictionaries(_text, st.lists(st.none() | _addresses, max_size=2), max_size=2),
    json_value=_json,
)


@given(_everything)
def test_every_type_survives(other: Everything) -> None:
    """Whatever fields hold comes back equal and of the same type (PE-36, PE-37)."""
    with MemoryStorage() as storage, Runtime(storage, always_thaw=True) as runtime:
        ref = runtime.get(Everything, "a")
        ref.ask(Everything.become, other)

        found = ref.ask(Everything.all)

    expected = other.all()
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize("value", [False, 0, 0.0, "", [], {}, None], ids=repr)
def test_falsy_values_survive(storage: FaultyStorage, value: Any) -> None:
    """What is false is not missing: not in a field, not in an entry's payload (PE-36)."""

    class Holder(Agent):
        """Holds a value that is true at first."""

        value: JsonValue = "something"

        def hold(self, value: JsonValue) -> None:
            """Take ``value``."""
            self.value = value
            self.thread.append("held", [value])

        def show(self) -> list[Any]:
            """Return the value and the entry's."""
            return [self.value, *self.thread.entries()[0].payload]

    with Runtime(storage) as runtime:
        ref = runtime.get(Holder, "a")
        ref.ask(Holder.hold, value)
        ref.hibernate()

        assert ref.ask(Holder.show) == [value, value]
        assert [type(found) for found in ref.ask(Holder.show)] == [type(value)] * 2


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_lacks_survive(storage: FaultyStorage, value: float) -> None:
    """Infinities and "not a number" come back as what they were (PE-36)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Everything, "a")
        ref.ask(Everything.become, Everything(number=value))
        ref.hibernate()

        found = ref.ask(Everything.all)["number"]

    assert found == value or (math.isnan(found) and math.isnan(value))
