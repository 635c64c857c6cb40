"""What a user gets wrong is one typed error on every backend."""

from __future__ import annotations

import pytest

from tests.places.registry import PLACES
from tests.proof.tally import Tally
from torpor import InvalidKeyError, Runtime
from torpor.storage import open_storage
from torpor.storage.errors import ConfigurationError

pytestmark = pytest.mark.parametrize("url", PLACES, indirect=True)


def test_unknown_option(url: str) -> None:
    """A misspelt option is refused by name, not ignored."""
    with pytest.raises(ConfigurationError, match="colour"):
        open_storage(url, colour="red")


@pytest.mark.parametrize("key", ["", "k" * 600, "a\0b"], ids=["empty", "long", "NUL"])
def test_key_that_no_storage_takes(url: str, key: str) -> None:
    """It is refused where the agent is named, before anything is stored (rule 9)."""
    with Runtime(url) as runtime:
        with pytest.raises(InvalidKeyError):
            runtime.get(Tally, key).ask(Tally.add)

        assert runtime.storage.list_checkpoints().items == ()
