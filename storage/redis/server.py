"""One place in Redis: round trips of many commands, and what their errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from torpor.storage.errors import CorruptRecordError
from torpor.storage.redis.errors import DRIVER_ERRORS, is_wrong_type, translate
from torpor.storage.redis.scripts import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from redis import Redis

    from torpor.storage.redis.scripts import Script

__all__ = ["Command", "Server", "run_script"]

_AT_ONCE = 1000
_RELOADS = 3

Command = tuple[Any, ...]


def run_script(script: Script, keys: Sequence[bytes], *arguments: bytes | float) -> Command:
    """Return the command that runs ``script``."""
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)


class Server:
    """A client, which may be shared by many threads.

    ``opening`` is true until somebody says that the place has been seen to work; until then an
    error that no repetition cures is a ``ConfigurationError``.
    """

    def __init__(self, client: Redis | RedisCluster, *, place: str, owned: bool) -> None:
        self._client: Any = client
        self.place = place
        self._owned = owned
        self.opening = True

    @property
    def is_cluster(self) -> bool:
        """Whether this is a Redis Cluster."""
        return isinstance(self._client, RedisCluster)

    @property
    def database(self) -> int:
        """The number of the database: channels are those of all."""
        pool = getattr(self._client, "connection_pool", None)
        return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)

    def run(self, commands: Sequence[Command], **options: Any) -> list[Any]:
        """Carry out ``commands``, 1000 per round trip, and return their replies in order.

        The reply to a command that found another type under its key is that error. Of all other
        errors the first is raised, once everything has been sent.
        """
        replies: list[Any] = []
        for begin in range(0, len(commands), _AT_ONCE):
            replies += self._run_some(commands[begin : begin + _AT_ONCE], options)
        for reply in replies:
            if isinstance(reply, Exception) and not is_wrong_type(reply):
                self._leave_replica(reply)
                raise translate(reply, self.place, opening=self.opening) from reply
        return replies

    def run_all(self, commands: Sequence[Command], **options: Any) -> list[Any]:
        """Do the same with indexes: another type of value under the key of one is damage."""
        replies = self.run(commands, **options)
        for command, reply in zip(commands, replies, strict=True):
            if is_wrong_type(reply):
                detail = f"an index holds another type of value: {command[0]}: {reply}"
                raise CorruptRecordError(self.place, detail) from reply
        return replies

    def ask(self, *command: Any) -> Any:
        """Return what one server, any of a cluster, says to a command without keys."""
        options = {"target_nodes": RedisCluster.RANDOM} if self.is_cluster else {}
        with self.translated():
            return self._client.execute_command(*command, **options)

    def ask_if_allowed(self, *command: Any) -> Any:
        """Return what ``ask`` does, None if this user or this service may not do that."""
        options = {"target_nodes": RedisCluster.RANDOM} if self.is_cluster else {}
        with self.translated():
            try:
                return self._client.execute_command(*command, **options)
            except ResponseError:
                return None

    def subscription(self) -> Any:
        """Return a new ``PubSub`` of the client, to be used by one thread, and to be closed."""
        return self._client.pubsub()

    def load_scripts(self) -> None:
        """Send the scripts to every server that may run them."""
        with self.translated():
            for script in SCRIPTS:
                self._client.script_load(script.source)

    def close(self) -> None:
        """Close the client if it is this storage's own."""
        if self._owned:
            self._client.close()

    def _run_some(self, commands: Sequence[Command], options: dict[str, Any]) -> list[Any]:
        replies = self._round_trip(commands, options)
        for _ in range(_RELOADS):
            missed = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if not missed:
                break
            self.load_scripts()  # the server has been started anew, or told to forget them
            again = self._round_trip([commands[i] for i in missed], options)
            for i, reply in zip(missed, again, strict=True):
                replies[i] = reply
        return replies

    def _node_of(self, command: Command) -> dict[str, Any]:
        """Return the option that names a script's node, for which the client would ask."""
        if not self.is_cluster or command[0] != "EVALSHA":
            return {}
        return {"target_nodes": self._client.get_node_from_key(command[3])}

    def _leave_replica(self, reply: Exception) -> None:
        """Connect anew if the server has become a replica: its name may lead elsewhere by now."""
        if self._owned and isinstance(reply, ReadOnlyError):
            self._client.connection_pool.disconnect(inuse_connections=False)

    def _round_trip(self, commands: Sequence[Command], options: dict[str, Any]) -> list[Any]:
        with self.translated():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command, **options, **self._node_of(command))
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise the client's errors as those of a storage."""
        try:
            yield
        except DRIVER_ERRORS as error:
            raise translate(error, self.place, opening=self.opening) from error
