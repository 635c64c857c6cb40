"""Which storage a command takes, and what it says to a wrong call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.tools.kit import documents, no_surroundings, torpor
from torpor import Agent, Runtime

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["no_surroundings"]


class TestWhichStorage:
    """The URL, and what stands for it."""

    def test_variable(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a URL the one of TORPOR_STORAGE counts, whatever other argument there is."""
        monkeypatch.setenv("TORPOR_STORAGE", url)

        assert len(torpor("ls").stdout.splitlines()) == 8
        assert len(torpor("ls", "cart/").stdout.splitlines()) == 6
        assert torpor("show", "plain").exit_code == 0

    def test_default_of_a_runtime(self) -> None:
        """Else that of a runtime to which nobody has given one."""

        class Visit(Agent):
            count: int = 0

            def add(self) -> int:
                self.count += 1
                return self.count

        with Runtime() as runtime:
            runtime.get(Visit, "user-123").ask(Visit.add)

        [found] = documents(torpor("show", "visit/user-123", "--json"))
        assert found["data"] == {"count": 1}

    @pytest.mark.parametrize("scheme", ["sqlite", "file", "sqlite+sqlalchemy"])
    def test_looking_makes_no_storage(self, tmp_path: Path, scheme: str) -> None:
        """A storage that is not there is an error, and still not there."""
        for command in ("ls", "stats", "check"):
            result = torpor(command, f"{scheme}:///{tmp_path}/nothing")
            assert result.exit_code in {2, 3}
            assert result.stderr.startswith("torpor: ")
        assert not (tmp_path / "nothing").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ls", "nonsense://x"], "no storage for 'nonsense:'"),
            (["frobnicate"], "No such command 'frobnicate'"),
            (["ls", "--frobnicate"], "No such option: --frobnicate"),
            (["show"], "Missing argument"),
            (["show", "sqlite:///x"], "missing argument AGENT"),
            (["copy", "memory:"], "Missing argument 'TO'"),
            (["backup", "sqlite:///x", "y", "--keep", "soon"], "not 'soon'"),
            (["show", "memory:", "a\0"], "NUL"),
        ],
        ids=[
            "unknown scheme",
            "unknown command",
            "unknown option",
            "nothing at all",
            "no agent",
            "no target",
            "no time",
            "illegal key",
        ],
    )
    def test_wrong_calls(self, arguments: list[str], message: str) -> None:
        """One line that says what is wrong, and exit code 2."""
        result = torpor(*arguments)

        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(f"torpor: [^\n]*{re.escape(message)}[^\n]*\n", result.stderr)

    def test_password_is_not_told(self) -> None:
        """Errors never repeat what a URL keeps secret."""
        for url in ("postgresql://u:geh%20eim@127.0.0.1:1/x", "redis://:geh%20eim@127.0.0.1:1/0"):
            result = torpor("ls", url)
            assert result.exit_code in {2, 3}
            assert result.stderr.count("\n") == 1
            assert "geh" not in result.stderr
