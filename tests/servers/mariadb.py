"""MariaDB."""

from __future__ import annotations

import signal
from typing import ClassVar

from tests.servers.base import PrivateServer, program

__all__ = ["PrivateMariaDB"]


class PrivateMariaDB(PrivateServer):
    """A server that trusts everybody."""

    user = "mysql"
    stops: ClassVar = {"in good order": signal.SIGTERM, "crash": signal.SIGKILL}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mysql://root@127.0.0.1:{self.port}/test"

    def create(self) -> None:
        """Make the tables of the server itself, and the database of the test."""
        self.run(
            *(program("mariadb-install-db", "mysql_install_db"), "--no-defaults"),
            *(f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal"),
        )

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [
            *(program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.folder}/data"),
            *(f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-grant-tables"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            "--skip-name-resolve",
        ]
