"""Servers that ask for a password."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from tests.places.sql import MARIADB
from tests.servers.postgresql import PrivatePostgreSQL, program_of
from torpor.storage import open_storage
from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

RIGHT, WRONG = (secrets.token_hex(8) for _ in range(2))


class GuardedPostgreSQL(PrivatePostgreSQL):
    """A cluster that asks for a password."""

    @property
    def url(self) -> str:
        """Where it is, with the right password."""
        return f"postgresql://postgres:{RIGHT}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the cluster with the password of its owner."""
        secret = self.folder / "password"
        secret.write_text(RIGHT)
        secret.chmod(0o644)
        self.run(
            *(program_of("initdb"), "-D", "data", "-U", "postgres", "-A", "scram-sha-256"),
            *("--pwfile", str(secret), "-E", "UTF8", "--no-locale", "--no-sync"),
        )


@pytest.fixture(params=["postgresql", "mariadb"])
def guarded_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a server that asks for the password that stands in it."""
    if request.param == "postgresql":
        with closing(GuardedPostgreSQL()) as server:
            yield server.url
        return
    MARIADB.empty()  # skips the test if it does not run
    user = f"torpor_{secrets.token_hex(4)}"
    MARIADB.run(
        f"CREATE USER '{user}'@'%' IDENTIFIED BY '{RIGHT}'",
        f"GRANT ALL ON `{user}`.* TO '{user}'@'%'",
        f"CREATE DATABASE `{user}`",
    )
    address = make_url(MARIADB.address).set(username=user, password=RIGHT, database=user)
    yield address.render_as_string(hide_password=False)
    MARIADB.run(f"DROP DATABASE `{user}`", f"DROP USER '{user}'@'%'")


def test_wrong_password_is_one_clear_error(guarded_url: str) -> None:
    """The right one opens the store; a wrong one is refused at once, and neither is told."""
    open_storage(guarded_url).close()

    with pytest.raises(ConfigurationError, match="user or password is wrong") as caught:
        open_storage(guarded_url.replace(RIGHT, WRONG))

    assert RIGHT not in str(caught.value)
    assert WRONG not in str(caught.value)
