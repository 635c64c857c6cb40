"""Compressed and encrypted documents, on any storage."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from torpor import Agent, Runtime
from torpor.storage import (
    Change,
    Codec,
    Entry,
    Put,
    Record,
    Space,
    Storage,
    open_storage,
)
from torpor.storage.codec import dumps
from torpor.storage.compression import MAX_BYTES, Zstd
from torpor.storage.encoded import EncodedStorage
from torpor.storage.encryption import Encryption
from torpor.storage.errors import (
    ConfigurationError,
    CorruptRecordError,
    DecryptionError,
    RecordTooLargeError,
    ThawError,
    UnserializableError,
)
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
LONG = "a long text " * 1000
FORGED = {"$codec": "zstd", "data": ""}


def sealed(**options: Any) -> Codec:
    """Return a codec that compresses all and encrypts all."""
    return Codec(compression=Zstd(above=0), encryption=Encryption({"old": OLD}), **options)


def open_sealed(url: str) -> Storage:
    """Open a storage with that codec, in this process or another."""
    return open_storage(url, codec=sealed())


class TestSealedMemory(StorageContract):
    """In memory, compressed and encrypted. What a batch costs is the wrapped storage's business."""

    few_steps = False
    second_instance = False
    second_process = False
    damageable = False
    severable = False

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """Return a storage in memory with a codec."""
        with EncodedStorage(MemoryStorage(), sealed(), owned=True) as storage:
            yield storage


class TestSealedSQLite(StorageContract):
    """In a SQLite file, compressed and encrypted."""

    few_steps = False
    damageable = False
    severable = False
    url: str

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        """Return a storage in a SQLite file with a codec."""
        self.url = f"sqlite:///{tmp_path}/store.db"
        with open_sealed(self.url) as storage:
            yield storage

    def opener(self, storage: Storage) -> Callable[[], Storage]:  # noqa: ARG002 - there is one
        """Open the same file."""
        return partial(open_sealed, self.url)


def encrypted(storage: Storage, *, current: str = "old", **options: Any) -> Storage:
    """Return ``storage`` with the keys up to ``current``."""
    keys = {"old": OLD} if current == "old" else {"old": OLD, "new": NEW}
    return EncodedStorage(storage, Codec(encryption=Encryption(keys, current=current), **options))


def stored(storage: Storage, key: str) -> str:
    """Return the text that is really stored for a checkpoint."""
    [record] = storage._read(Space.CHECKPOINTS, [key])  # pyright: ignore[reportPrivateUsage]
    assert isinstance(record, Record)
    assert record.data is not None
    return record.data


def replace_stored(storage: Storage, key: str, text: str) -> None:
    """Put ``text`` in the place of what is stored, as who has access to the place could."""
    storage._commit([Change(key=key, put=Put(data=text))])  # pyright: ignore[reportPrivateUsage]


def value(storage: Storage, key: str) -> Any:
    """Return the document of a checkpoint."""
    found = storage.get_checkpoint(key)
    assert found is not None
    return found.value


def test_nothing_of_a_document_can_be_read_without_the_key() -> None:
    """State, payload, refs and metadata are encrypted; names and kinds are not."""
    with MemoryStorage() as memory:
        storage = encrypted(memory)
        storage.put_checkpoint("agent", {"secret": "word"}, kind="account")
        storage.append_thread(
            "log",
            {"kind": "login", "payload": "secret", "refs": {"by": "secret"}},
            metadata={"about": "secret"},
        )
        [head] = memory._read(Space.THREADS, ["log"])  # pyright: ignore[reportPrivateUsage]
        [entry] = memory._read_entries(  # pyright: ignore[reportPrivateUsage]
            "log", 0, 1, kinds=["login"], limit=None, newest=False
        )

        assert "secret" not in stored(memory, "agent") + repr(head) + repr(entry)
        loaded = storage.load_thread("log")
        assert loaded is not None
        assert loaded.head.metadata == {"about": "secret"}
        assert [(e.payload, e.refs) for e in loaded] == [("secret", {"by": "secret"})]


def test_old_keys_read_and_the_current_one_writes() -> None:
    """Keys are rotated while the store is in use."""
    with MemoryStorage() as memory:
        encrypted(memory).put_checkpoint("a", 1)
        rotated = encrypted(memory, current="new")
        rotated.put_checkpoint("b", 2)

        assert [value(rotated, key) for key in "ab"] == [1, 2]
        assert ":old" in stored(memory, "a")
        assert ":new" in stored(memory, "b")
        with pytest.raises(DecryptionError, match="the key 'new', which is not among the keys"):
            encrypted(memory).get_checkpoint("b")


def test_wrong_secret_is_refused_and_changes_nothing() -> None:
    """A key of the same name with another secret is a DecryptionError."""
    with MemoryStorage() as memory:
        encrypted(memory).put_checkpoint("a", 1)
        before = stored(memory, "a")
        wrong = EncodedStorage(memory, Codec(encryption=Encryption({"old": NEW})))

        with pytest.raises(DecryptionError, match="another one, or the bytes were changed"):
            wrong.get_checkpoint("a")

        assert stored(memory, "a") == before


@given(data=st.data())
def test_any_change_of_the_bytes_is_noticed(data: st.DataObject) -> None:
    """A document that was tampered with or cut off is never taken for another one."""
    with MemoryStorage() as memory:
        storage = EncodedStorage(memory, sealed())
        storage.put_checkpoint("a", {"text": "x" * 100})
        text = stored(memory, "a")
        place = data.draw(st.integers(0, len(text) - 1))
        letter = data.draw(st.sampled_from('A7+/"{:z\x00é'))
        changed = data.draw(
            st.sampled_from([text[:place], text[:place] + letter + text[place + 1 :]])
        )
        if changed == text:
            return
        replace_stored(memory, "a", changed)

        with pytest.raises((CorruptRecordError, DecryptionError)):
            storage.get_checkpoint("a")


def test_document_is_bound_to_its_place() -> None:
    """What was encrypted for one agent cannot be given to another, nor to another entry."""
    with MemoryStorage() as memory:
        storage = encrypted(memory)
        storage.put_checkpoint("rich", {"balance": 1_000_000})
        storage.put_checkpoint("poor", {"balance": 0})
        replace_stored(memory, "poor", stored(memory, "rich"))

        with pytest.raises(DecryptionError):
            storage.get_checkpoint("poor")


def test_plain_text_is_no_substitute() -> None:
    """Who can write to the store cannot pass plain text off as what was encrypted."""
    with MemoryStorage() as memory:
        memory.put_checkpoint("a", 1)
        memory.append_thread("log", {})
        EncodedStorage(memory, Codec(compression=Zstd(above=0))).put_checkpoint("b", LONG)

        for key in "ab":
            with pytest.raises(DecryptionError, match="not accepted"):
                encrypted(memory).get_checkpoint(key)
        with pytest.raises(DecryptionError, match="plain text"):
            encrypted(memory).load_thread("log")


def test_plain_text_is_read_while_a_store_is_rewritten() -> None:
    """With ``accept_plain`` a store that began in plain text goes on, and becomes encrypted."""
    with MemoryStorage() as memory:
        memory.put_checkpoint("a", 1)
        memory.append_thread("log", {"payload": 1})
        storage = encrypted(memory, accept_plain=True)

        assert value(storage, "a") == 1
        storage.put_checkpoint("a", 2)
        storage.append_thread("log", {"payload": 2})

        assert "aes" in stored(memory, "a")
        loaded = storage.load_thread("log")
        assert loaded is not None
        assert [entry.payload for entry in loaded] == [1, 2]


def test_codec_that_is_forgotten_loses_nothing() -> None:
    """Without the codec a record is an error, never a document, and never overwritten by thaw."""

    class Diary(Agent, kind="diary"):
        text: str = ""

        def write(self, text: str) -> str:
            self.text += text
            self.thread.append("wrote", text)
            return self.text

    with MemoryStorage() as memory:
        with Runtime(encrypted(memory)) as runtime:
            assert runtime.get(Diary, "a").ask(Diary.write, "one ") == "one "
        before = stored(memory, "diary/a")

        with pytest.raises(DecryptionError, match="with the codec"):
            memory.get_checkpoint("diary/a")
        with Runtime(memory) as runtime, pytest.raises(ThawError) as caught:
            runtime.get(Diary, "a").ask(Diary.write, "two ")
        assert isinstance(caught.value.__cause__, DecryptionError)
        assert stored(memory, "diary/a") == before

        with Runtime(encrypted(memory)) as runtime:
            assert runtime.get(Diary, "a").ask(Diary.write, "two ") == "one two "


def test_entries_and_metadata_of_a_codec_need_it_too() -> None:
    """A thread that was encrypted is not shown as its ciphertext."""
    with MemoryStorage() as memory:
        encrypted(memory).append_thread("log", {"payload": 1})
        encrypted(memory).append_thread("other", [], metadata={"a": 1})

        with pytest.raises(DecryptionError):
            memory.load_thread("log")
        with pytest.raises(DecryptionError):
            memory.thread_head("other")


def put_forged(storage: Storage) -> None:
    """Store what looks encoded as a checkpoint."""
    storage.put_checkpoint("a", FORGED)


def append_forged(storage: Storage) -> None:
    """Store it as an entry."""
    storage.append_thread("a", {"payload": FORGED})


def describe_forged(storage: Storage) -> None:
    """Store it as metadata."""
    storage.append_thread("a", [], metadata=FORGED)


@pytest.mark.parametrize("has_codec", [True, False])
@pytest.mark.parametrize("write", [put_forged, append_forged, describe_forged])
def test_what_looks_encoded_is_refused(
    write: Callable[[Storage], None],
    has_codec: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A document of the user's that begins like a codec's is refused, not misread later."""
    with MemoryStorage() as memory, pytest.raises(UnserializableError, match="reserved"):
        write(encrypted(memory) if has_codec else memory)


def test_compression_makes_long_documents_smaller_and_leaves_short_ones() -> None:
    """Only what is longer than ``above``, and shrinks, is stored compressed."""
    with MemoryStorage() as memory:
        storage = EncodedStorage(memory, Codec(compression=Zstd(above=1000)))
        storage.put_checkpoint("long", LONG)
        storage.put_checkpoint("short", "text")

        assert len(stored(memory, "long")) < len(LONG) / 20
        assert stored(memory, "short") == '"text"'
        assert value(storage, "long") == LONG


def test_compressed_documents_are_read_by_any_codec() -> None:
    """A setting that is taken back makes nothing unreadable."""
    with MemoryStorage() as memory:
        EncodedStorage(memory, Codec(compression=Zstd(above=0))).put_checkpoint("a", LONG)

        plain = EncodedStorage(memory, Codec())

        assert value(plain, "a") == LONG


def test_small_forgery_does_not_fill_the_memory() -> None:
    """A compressed document that claims to be huge is refused before it is unpacked."""
    frame = zstandard.ZstdCompressor().compress(b"0" * 100)
    huge = zstandard.ZstdCompressor(write_content_size=True).compressobj(size=MAX_BYTES + 1)
    header = huge.compress(b"0" * 200_000) + huge.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with MemoryStorage() as memory:
        storage = EncodedStorage(memory, Codec())
        storage.put_checkpoint("a", 1)
        for forged in (header, frame[:-1]):
            data = base64.b64encode(forged).decode()
            replace_stored(memory, "a", dumps({"$codec": "zstd", "data": data}))
            with pytest.raises(CorruptRecordError):
                storage.get_checkpoint("a")


def test_limit_is_that_of_what_is_stored() -> None:
    """A document that fits when compressed is stored; one that does not is RecordTooLargeError."""
    with MemoryStorage() as memory:
        memory.max_document_bytes = 5000
        storage = EncodedStorage(memory, Codec(compression=Zstd()))

        storage.put_checkpoint("fits", LONG)
        with pytest.raises(RecordTooLargeError):
            storage.put_checkpoint("a", [Encryption.new_key() for _ in range(200)])


def test_one_unreadable_record_disturbs_no_other() -> None:
    """Each record of a batch is read or refused by itself; listings go on."""
    with MemoryStorage() as memory:
        storage = encrypted(memory)
        storage.put_checkpoint("a", 1)
        memory.put_checkpoint("b", 2)
        storage.put_checkpoint("c", 3)

        first, second, third = storage.read(["a", "b", "c"])

        assert isinstance(second, DecryptionError)
        assert isinstance(first, Record)
        assert isinstance(third, Record)
        assert (first.data, third.data) == ("1", "3")
        assert [record.key for record in storage.list_checkpoints()] == ["a", "b", "c"]


def test_secrets_show_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither representations nor errors nor their causes hold a secret."""
    codec = sealed()
    shown = [repr(codec), repr(codec.encryption), repr(EncodedStorage(MemoryStorage(), codec))]
    for keys in ({"k": OLD[:-4]}, {"k": f"{OLD}!"}, {"a key": OLD}, {"a": OLD, "b": NEW}):
        with pytest.raises(ConfigurationError) as caught:
            Encryption(keys)
        shown += [str(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]

    assert not any(secret[:20] in text for secret in (OLD, NEW) for text in [*shown, caplog.text])


def test_new_keys_are_random_and_fit() -> None:
    """A key that was made here can be used, and no two are the same."""
    assert Encryption.new_key() != Encryption.new_key()
    Encryption({"k": Encryption.new_key()})


@pytest.mark.parametrize("options", [{"level": 0}, {"level": 99}, {"above": -1}])
def test_impossible_compression_is_refused(options: dict[str, int]) -> None:
    """Levels and sizes that cannot be are a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        Zstd(**options)


def test_entries_keep_what_filters_need(tmp_path: Path) -> None:
    """Kinds still filter, ids and times are kept."""
    with SQLiteStorage(tmp_path / "store.db") as sqlite:
        storage = encrypted(sqlite)
        entries = [Entry(kind=kind, payload=kind, at=1.5, id=f"id {kind}") for kind in ("x", "y")]
        storage.append_thread("log", entries)

        loaded = storage.load_thread("log", kinds=["y"])

        assert loaded is not None
        assert [(e.id, e.at, e.payload, e.seq) for e in loaded] == [("id y", 1.5, "y", 1)]
