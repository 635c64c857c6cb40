"""``torpor ls``, ``show``, ``thread``, ``stats`` and ``rm``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Exit, Option

from torpor.cli.moving import AsJson
from torpor.cli.outcome import FOUND, say
from torpor.cli.output import as_entry, as_head, as_record, line, moment, plain, print_json
from torpor.cli.places import named, open_existing, url_and_rest
from torpor.storage import Space, codec
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.system import Contents, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Checkpoint, Record, Storage

__all__ = ["ls_command", "rm_command", "show_command", "stats_command", "thread_command"]

_PAGE = 500

Lines = Annotated[bool, Option("--json", help="Print a JSON document per line.")]


def ls_command(
    url: Annotated[str | None, Argument(metavar="[URL]")] = None,
    prefix: Annotated[str | None, Argument(metavar="[PREFIX]")] = None,
    threads: Annotated[
        bool, Option("--threads", help="List the threads that no agent owns.")
    ] = False,
    limit: Annotated[int | None, Option(min=1, help="Print at most so many.")] = None,
    as_json: Lines = False,
) -> None:
    """List agents by the beginning of their address, as kind/key.

    Prints while it reads, page by page.
    """
    place, rest = url_and_rest(url, prefix)
    with open_existing(place) as storage:
        for record in islice(_listed(storage, rest or "", threads=threads), limit):
            if as_json:
                print_json(as_record(record))
            else:
                entries = record.thread.rev - record.thread.start if record.thread else "-"
                times = f"{moment(record.updated_at)}  r{record.rev:<8} {entries:>8}"
                line(f"{times}  {plain(record.key)}")


def _listed(storage: Storage, prefix: str, *, threads: bool) -> Iterator[Record]:
    listing = storage.list_threads if threads else storage.list_checkpoints
    cursor = None
    while True:
        page = listing(prefix, cursor=cursor, limit=_PAGE)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def show_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    agent: Annotated[str | None, Argument(metavar="AGENT")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is stored of AGENT, whose address is kind/key."""
    url, agent = named(url, agent, "AGENT")
    with open_existing(url) as storage:
        found = _found(storage, agent)
    thread = found.thread
    section, fields = split(found.data, found.key)
    state = _json(fields, found.key)
    if as_json:
        document = {name: getattr(found, name) for name in ("key", "kind", "version", "rev")}
        times = {"updated_at": found.updated_at, "wake_at": found.wake_at}
        kept = None if section is None else _json(section, found.key)
        stored = {"thread": as_head(thread), "data": state, "runtime": kept}
        print_json({**document, **times, **stored})
        return
    line(f"address  {plain(found.key)}")
    line(f"kind     {plain(found.kind)}, version {found.version}")
    line(f"saved    {moment(found.updated_at)}, revision {found.rev}")
    if found.wake_at is not None:
        line(f"wakes    {moment(found.wake_at)}")
    if thread is not None:
        line(f"thread   {plain(thread.id)}, {thread.rev - thread.start} of {thread.rev} entries")
    if section is not None:
        _print_section(Contents.decode(section, found.key))
    line(json.dumps(state, ensure_ascii=False, indent=2))


def _json(text: str, key: str) -> Any:
    try:
        return codec.loads(text)
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(key, f"its data is no JSON: {error}") from error


def _print_section(contents: Contents) -> None:
    """Print what the runtime keeps of an agent, as far as there is some."""
    pause = contents.pause
    if pause is not None:
        end = "until it is resumed" if pause.until is None else f"until {moment(pause.until)}"
        line(f"paused   {end}: {plain(str(pause))}")
    counts = {
        "schedules": len(contents.schedules),
        "messages to deliver": len(contents.outbox),
        "dead letters": len(contents.dead),
    }
    told = [f"{count} {name}" for name, count in counts.items() if count]
    if told:
        line(f"runtime  {', '.join(told)}")


def thread_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    agent: Annotated[str | None, Argument(metavar="AGENT")] = None,
    tail: Annotated[int, Option(min=0, help="Print the last so many entries; 0 for all.")] = 20,
    as_json: Lines = False,
) -> None:
    """Print the newest entries of AGENT's thread, or of a thread by its id."""
    url, agent = named(url, agent, "AGENT")
    with open_existing(url) as storage:
        owner = storage.get_checkpoint(agent)
        head = owner.thread if owner else storage.thread_head(agent)
        if head is None:
            say(f"no thread of {agent!r}")
            raise Exit(FOUND)
        begin = max(head.start, head.rev - tail) if tail else head.start
        for start in range(begin, head.rev, _PAGE):
            stop = min(head.rev, start + _PAGE)
            for entry in storage.read_entries(head.id, start, stop):
                if as_json:
                    print_json(as_entry(entry))
                else:
                    payload = json.dumps(entry.payload, ensure_ascii=False)
                    kind = plain(entry.kind)
                    line(f"{entry.seq:>8}  {moment(entry.at)}  {kind:<12} {plain(payload)}")


def stats_command(
    url: Annotated[str | None, Argument(metavar="[URL]")] = None,
    as_json: AsJson = False,
) -> None:
    """Count agents by kind, and threads. Reads every key, and no state: about 4 s a million."""
    place, _ = url_and_rest(url, None)
    with open_existing(place) as storage:
        kinds = Counter(_kind(key) for key in storage.all_keys(Space.CHECKPOINTS))
        threads = sum(1 for _ in storage.all_keys(Space.THREADS))
        size = getattr(storage, "size_bytes", None)
        document = {
            "backend": storage.name,
            "durable": storage.durable,
            "agents": kinds.total(),
            "kinds": dict(sorted(kinds.items())),
            "threads": threads,
            "bytes": None if size is None else size(),
        }
    if as_json:
        print_json(document)
        return
    line(f"backend  {document['backend']}{'' if document['durable'] else ', keeps nothing'}")
    line(f"agents   {document['agents']}")
    for kind, count in sorted(kinds.items()):
        line(f"  {count:>9}  {plain(kind)}")
    line(f"threads  {threads} beside those of the agents")
    if document["bytes"] is not None:
        line(f"bytes    {document['bytes']}")


def rm_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    agent: Annotated[str | None, Argument(metavar="AGENT")] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove AGENT and its thread. Asks first."""
    url, agent = named(url, agent, "AGENT")
    if not yes and not _somebody_is_there():
        msg = "nobody is there to ask: say --yes"
        raise ConfigurationError(msg)
    with open_existing(url) as storage:
        found = _found(storage, agent)
        if not yes:
            typer.confirm(f"Remove {plain(agent)} at revision {found.rev}?", abort=True, err=True)
        storage.delete_checkpoint(agent, expected_rev=found.rev)
    if as_json:
        print_json({"key": agent, "rev": found.rev})
    else:
        line(f"removed {plain(agent)}")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _found(storage: Storage, agent: str) -> Checkpoint:
    found = storage.get_checkpoint(agent)
    if found is None:
        say(f"no agent {agent!r}")
        raise Exit(FOUND)
    return found


def _kind(key: str) -> str:
    """Return the kind in an agent's address, empty for a key that is none."""
    place, slash, _ = key.partition("/")
    return place.partition("@")[0] if slash else ""
