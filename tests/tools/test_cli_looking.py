"""What the commands print that look at what is stored: ``ls``, ``show``, ``thread``, ``stats``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.tools.kit import LONG, documents, grow, no_surroundings, torpor
from torpor import Agent, Runtime
from torpor.cli import looking
from torpor.storage import Storage, open_storage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["no_surroundings"]


class TestLooking:
    """``ls``, ``show``, ``thread``, ``stats``."""

    @pytest.mark.parametrize("data", ["{", '{"$torpor":', '{"$torpor":{"v":1},"a":', '["\\ud800"]'])
    def test_show_of_no_json(self, url: str, data: str) -> None:
        """A state that is no JSON is told by its address, in one line."""
        with open_storage(url) as storage:
            grow(storage, "cart/odd", data=data)

        result = torpor("show", url, "cart/odd")

        assert result.exit_code == 3
        assert re.fullmatch("torpor: 'cart/odd': .*\n", result.stderr)

    def test_ls(self, url: str) -> None:
        """A line for each agent, in order, whatever its address holds."""
        result = torpor("ls", url)

        assert result.exit_code == 0
        keys = [line.split("  ")[-1] for line in result.stdout.splitlines()]
        assert keys == [
            "cart/bytes",
            "cart/empty thread",
            "cart/long",
            "cart/short",
            "cart/trimmed",
            "cart/wholly trimmed",
            "cart@eu%2F1/\N{GRINNING FACE} '\"\\ ",
            "plain",
        ]
        assert f"1970-01-01 00:16:40Z  r3            {LONG}  cart/long\n" in result.stdout

    def test_ls_of_a_prefix(self, url: str) -> None:
        """Only what begins so, at most so many."""
        assert len(torpor("ls", url, "cart/").stdout.splitlines()) == 6
        assert len(torpor("ls", url, "cart/", "--limit", "2").stdout.splitlines()) == 2
        assert torpor("ls", url, "nothing").exit_code == 0

    def test_ls_as_json(self, url: str) -> None:
        """The documented members of a record."""
        *_, found = documents(torpor("ls", url, "cart/short", "--json"))

        assert found == {
            "key": "cart/short",
            "kind": "cart",
            "version": 1,
            "rev": 2,
            "updated_at": 1000.25,
            "wake_at": 3e9 + 0.5,
            "thread": {
                "id": "cart/short#1",
                "rev": 4,
                "start": 0,
                "last": "entry 3",
                "created_at": 1000.25,
                "updated_at": 1000.25,
                "metadata": {},
            },
        }

    def test_ls_of_threads(self, url: str) -> None:
        """The threads that no agent owns."""
        found = documents(torpor("ls", url, "--threads", "--json"))

        assert [each["key"] for each in found] == ["log", "log again", "log empty", "log long"]

    def test_ls_reads_by_pages(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not printed is not read."""
        monkeypatch.setattr(looking, "_PAGE", 2)
        pages: list[int] = []
        read = Storage.list_checkpoints

        def count(self: Storage, *arguments: Any, **options: Any) -> Any:
            pages.append(options["limit"])
            return read(self, *arguments, **options)

        monkeypatch.setattr(Storage, "list_checkpoints", count)

        assert len(torpor("ls", url).stdout.splitlines()) == 8
        assert pages == [2, 2, 2, 2]
        torpor("ls", url, "--limit", "3")
        assert len(pages) == 6

    def test_what_controls_a_terminal_is_escaped(self, url: str) -> None:
        """A key cannot make the terminal do things."""
        with open_storage(url) as storage:
            storage.put_checkpoint("cart/\x1b[31mred\n", 1)

        assert r"cart/\x1b[31mred\n" in torpor("ls", url).stdout

    def test_show(self, url: str) -> None:
        """What is stored, for people."""
        result = torpor("show", url, "cart/short")

        assert result.stdout.splitlines() == [
            "address  cart/short",
            "kind     cart, version 1",
            "saved    1970-01-01 00:16:40Z, revision 2",
            "wakes    2065-01-24 05:20:00Z",
            "thread   cart/short#1, 4 of 4 entries",
            "{}",
        ]

    def test_show_as_json(self, url: str) -> None:
        """The members of ``ls``, and the data."""
        [found] = documents(torpor("show", url, "plain", "--json"))

        assert found.pop("updated_at") > 1e9
        assert found == {
            "key": "plain",
            "kind": "",
            "version": 1,
            "rev": 1,
            "wake_at": None,
            "thread": None,
            "data": {"a": [1, 2.5, None]},
            "runtime": None,
        }

    def test_show_tells_what_the_runtime_keeps(self, tmp_path: Path) -> None:
        """A pause, schedules and dead letters stand apart from the state."""

        class Broken(Agent, supervision="stop"):
            count: int = 0

            def fail(self) -> None:
                raise LookupError(self.count)

            def plan(self) -> None:
                self.schedule(Broken.plan, after=1e6, id="later")

        url = f"sqlite:///{tmp_path}/broken.db"
        with Runtime(url) as runtime:
            broken = runtime.get(Broken, "a")
            broken.ask(Broken.plan)
            with pytest.raises(LookupError):
                broken.ask(Broken.fail)

        shown = torpor("show", url, "broken/a").stdout
        [found] = documents(torpor("show", url, "broken/a", "--json"))

        assert "paused   until it is resumed: paused after 1 failures" in shown
        assert "runtime  1 schedules\n" in shown
        assert found["data"] == {"count": 0}
        assert found["runtime"]["pause"]["error"] == "LookupError: 0"

    @pytest.mark.parametrize("command", ["show", "thread", "rm"])
    def test_no_such_agent(self, url: str, command: str) -> None:
        """Nothing found is told in a line, and is exit code 1."""
        options = ["--yes"] if command == "rm" else []
        result = torpor(command, url, "cart/nobody", *options)

        assert (result.exit_code, result.stdout) == (1, "")
        assert re.fullmatch("torpor: no (agent|thread of) 'cart/nobody'\n", result.stderr)

    def test_thread(self, url: str) -> None:
        """The newest entries, the oldest of them first."""
        result = torpor("thread", url, "cart/short", "--tail", "2")

        assert result.stdout.splitlines() == [
            '       2  1970-01-01 00:01:42Z  note         {"n": 2}',
            "       3  1970-01-01 00:00:05Z  note         null",
        ]

    def test_thread_as_json(self, url: str) -> None:
        """The members of an entry; all entries with a tail of 0."""
        found = documents(torpor("thread", url, "cart/short", "--json"))

        assert found[3] == {
            "seq": 3,
            "id": "entry 3",
            "kind": "note",
            "at": 5,
            "payload": None,
            "refs": {"to": "entry 1"},
        }
        assert len(documents(torpor("thread", url, "cart/long", "--json"))) == 20
        everything = documents(torpor("thread", url, "cart/long", "--tail", "0", "--json"))
        assert [each["seq"] for each in everything] == list(range(LONG))

    @pytest.mark.parametrize(
        ("agent", "seqs"),
        [("cart/trimmed", [3, 4, 5]), ("cart/empty thread", []), ("log", [1, 2])],
    )
    def test_thread_of_any_kind(self, url: str, agent: str, seqs: list[int]) -> None:
        """Trimmed ones, empty ones, and those that no agent owns."""
        assert [each["seq"] for each in documents(torpor("thread", url, agent, "--json"))] == seqs

    def test_stats(self, url: str) -> None:
        """Agents by kind, threads, and the size where it costs nothing to know."""
        with open_storage(url) as storage:
            grow(storage, "user/1")
        [found] = documents(torpor("stats", url, "--json"))

        assert found.pop("bytes") > 10_000
        assert found == {
            "backend": "sqlite",
            "durable": True,
            "agents": 9,
            "kinds": {"": 1, "cart": 7, "user": 1},
            "threads": 4,
        }
        assert "agents   9\n" in torpor("stats", url).stdout
