"""The commands that move, save, check and remove what is stored: what they do and say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.tools.kit import documents, exported, no_surroundings, torpor
from torpor.cli import looking
from torpor.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["no_surroundings"]


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
