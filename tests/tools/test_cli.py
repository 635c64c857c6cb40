"""What each command prints and how it ends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.tools.kit import LONG, exported, fill, grow
from torpor import Agent, Runtime
from torpor.cli import looking
from torpor.cli.app import app
from torpor.storage import Storage, open_storage

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def torpor(*arguments: str, **options: Any) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def documents(result: Result) -> list[Any]:
    """Return the JSON documents that a command printed, one to a line."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a storage with some of everything."""
    url = f"sqlite:///{tmp_path}/store.db"
    with open_storage(url) as storage:
        fill(storage)
    return url


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no test see the user's own storage."""
    monkeypatch.delenv("TORPOR_STORAGE", raising=False)
    monkeypatch.setenv("TORPOR_HOME", str(tmp_path / "home of ü%20"))


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


class TestMoving:
    """``export``, ``import``, ``copy``."""

    def test_there_and_back(self, url: str, tmp_path: Path) -> None:
        """What was imported is exported as the same file."""
        place, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
        target = f"file:///{tmp_path}/copy"

        [exported_now] = documents(torpor("export", url, str(place), "--json"))
        [imported_now] = documents(torpor("import", target, str(place), "--json"))
        torpor("export", target, str(other))

        assert place.read_bytes() == other.read_bytes()
        assert exported_now.items() >= {"checkpoints": 8, "threads": 4}.items()
        assert len(exported_now["digest"]) == 64
        assert imported_now == exported_now | {"imported": 12, "present": 0, "replaced": 0}
        [again] = documents(torpor("import", target, str(place), "--json"))
        assert (again["imported"], again["present"]) == (0, 12)

    def test_through_pipes(self, url: str, tmp_path: Path) -> None:
        """With - they write to the standard output and read from the standard input."""
        result = torpor("export", url, "-")

        with open_storage(url) as storage:
            assert result.stdout_bytes == exported(storage)
        assert result.stderr.startswith("torpor: exported 8 agents, 4 threads")
        into = torpor("import", f"sqlite:///{tmp_path}/b.db", "-", input=result.stdout_bytes)
        assert into.stdout.startswith("imported 8 agents, 4 threads")

    def test_copy(self, url: str, tmp_path: Path) -> None:
        """From one URL to another, as often as one likes."""
        target = f"sqlite:///{tmp_path}/copy.db"

        assert ": 12 new, 0 were there, 0 replaced" in torpor("copy", url, target).stdout
        assert ": 0 new, 12 were there, 0 replaced" in torpor("copy", url, target).stdout
        with open_storage(url) as first, open_storage(target) as last:
            assert exported(first) == exported(last)

    def test_difference_is_refused(self, url: str, tmp_path: Path) -> None:
        """What differs is named, and replaced only on demand."""
        target = f"sqlite:///{tmp_path}/copy.db"
        with open_storage(target) as storage:
            storage.put_checkpoint("plain", "mine")

        result = torpor("copy", url, target)

        assert result.exit_code == 3
        assert "'plain' is there already and differs: --overwrite" in result.stderr
        [found] = documents(torpor("copy", url, target, "--overwrite", "--json"))
        # The other one is the thread that was being stored when the first copy ended.
        assert (found["present"], found["replaced"]) == (10, 2)

    def test_damaged_export(self, url: str, tmp_path: Path) -> None:
        """The line is named."""
        place = tmp_path / "a.jsonl"
        torpor("export", url, str(place))
        place.write_bytes(place.read_bytes()[:-500])

        result = torpor("import", f"sqlite:///{tmp_path}/b.db", str(place))

        assert result.exit_code == 3
        assert re.match(r"torpor: line \d+: ", result.stderr)

    def test_failed_export_leaves_no_file(self, url: str, tmp_path: Path) -> None:
        """A file is there whole or not at all, and the one that was there stays."""
        place = tmp_path / "a.jsonl"
        place.write_text("old")
        _damage(url, "cart/long")

        result = torpor("export", url, str(place))

        assert result.exit_code == 3
        assert "'cart/long'" in result.stderr
        assert place.read_text() == "old"
        assert sorted(path.name for path in tmp_path.glob("*a.jsonl*")) == ["a.jsonl"]

    def test_damaged_records_are_skipped_on_demand(self, url: str, tmp_path: Path) -> None:
        """Each is told, the rest is exported, and the exit code says so."""
        _damage(url, "cart/long")

        result = torpor("export", url, str(tmp_path / "a.jsonl"), "--skip-damaged")

        assert result.exit_code == 1
        assert result.stderr.startswith("torpor: left out of the checkpoints: 'cart/long'")
        assert "exported 7 agents" in result.stdout

    def test_missing_file(self, url: str, tmp_path: Path) -> None:
        """Is an error of a line, and makes no storage."""
        result = torpor("import", f"sqlite:///{tmp_path}/new.db", str(tmp_path / "nothing"))

        assert result.exit_code == 3
        assert "No such file" in result.stderr
        assert not (tmp_path / "new.db").exists()
        assert url


class TestSaving:
    """``backup`` and ``check``."""

    def test_backup(self, url: str, tmp_path: Path) -> None:
        """A backup each time, and the older ones as told."""
        folder = str(tmp_path / "backups")

        [first] = documents(torpor("backup", url, folder, "--json"))
        [second] = documents(torpor("backup", url, folder, "--keep", "1", "--json"))

        assert second["removed"] == [first["path"]]
        assert second["size"] > 10_000
        assert len(torpor("ls", f"sqlite:///{second['path']}").stdout.splitlines()) == 8
        assert "removed " in torpor("backup", url, folder, "--keep", "1").stdout

    def test_backup_of_a_server(self, tmp_path: Path) -> None:
        """Is refused with what to do instead."""
        result = torpor("backup", "memory:", str(tmp_path / "backups"))

        assert (result.exit_code, "export" in result.stderr) == (2, True)

    def test_check(self, url: str) -> None:
        """Exit code 0 if all is sound, 1 if not, with what was found."""
        sound = torpor("check", url)
        assert (sound.exit_code, sound.stdout) == (0, "13 records checked, 0 faults found\n")
        _damage(url, "cart/long")

        result = torpor("check", url)

        assert result.exit_code == 1
        assert result.stdout.splitlines()[0].startswith("record: cart/long: ")
        as_json = torpor("check", url, "--json")
        assert as_json.exit_code == 1
        assert json.loads(as_json.stdout) == {
            "checked": 13,
            "findings": [
                {
                    "problem": "record",
                    "where": "cart/long",
                    "detail": "the checksum does not fit",
                }
            ],
        }


class TestRemoving:
    """``rm``."""

    def test_rm(self, url: str) -> None:
        """With --yes it asks nobody; agent and thread are gone."""
        result = torpor("rm", url, "cart/short", "--yes")

        assert (result.exit_code, result.stdout) == (0, "removed cart/short\n")
        with open_storage(url) as storage:
            assert storage.get_checkpoint("cart/short") is None
            assert storage.load_thread("cart/short#1") is None

    def test_nobody_to_ask(self, url: str) -> None:
        """Without a terminal it does nothing unless told."""
        result = torpor("rm", url, "cart/short")

        assert (result.exit_code, result.stdout) == (2, "")
        assert "--yes" in result.stderr

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
    def test_it_asks(
        self, url: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
    ) -> None:
        """At a terminal it asks, and takes only a yes for one."""
        monkeypatch.setattr(looking, "_somebody_is_there", lambda: True)

        result = torpor("rm", url, "cart/short", input=f"{answer}\n")

        assert result.exit_code == code
        assert "Remove cart/short at revision 2?" in result.output
        with open_storage(url) as storage:
            assert (storage.get_checkpoint("cart/short") is None) == (code == 0)


def _damage(url: str, key: str) -> None:
    import sqlite3  # noqa: PLC0415 - for damage alone
    from contextlib import closing  # noqa: PLC0415

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE checkpoints SET data = '[]' WHERE key = ?", (key,))
