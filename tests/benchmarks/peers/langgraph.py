"""LangGraph's side: its checkpointers as they ship, alone and under a graph of one node."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypedDict

from tests.benchmarks.agents import KILOBYTE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["LangGraphSaver", "OneNodeGraph"]


class LangGraphSaver:
    """LangGraph's ``SqliteSaver`` or ``PostgresSaver`` as it ships, on one connection.

    The former brings its file to WAL and full durability by itself.
    """

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    @staticmethod
    @contextmanager
    def open(path: Path) -> Generator[LangGraphSaver]:
        """Open the saver on a file; raises ``ImportError`` without the extra ``bench``."""
        from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: PLC0415 - needed here only

        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield LangGraphSaver(saver)

    @staticmethod
    @contextmanager
    def open_postgres(url: str) -> Generator[LangGraphSaver]:
        """Open the saver on PostgreSQL, in a schema of its own that is dropped at the end."""
        from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415 - needed here only

        schema = f"langgraph_{secrets.token_hex(4)}"
        with PostgresSaver.from_conn_string(url) as saver:
            connection: Any = saver.conn
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(f"SET search_path = {schema}")
            saver.setup()
            try:
                yield LangGraphSaver(saver)
            finally:
                connection.execute(f"DROP SCHEMA {schema} CASCADE")

    def put(self, thread_id: str, count: int) -> None:
        """Save a new checkpoint of one KB, each time a changed one."""
        from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415 - needed here only

        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = KILOBYTE | {"count": count}
        self._saver.put(_config(thread_id), checkpoint, {"source": "loop", "step": count}, {})

    def get(self, thread_id: str) -> int:
        """Load the newest checkpoint; return its count."""
        found = self._saver.get_tuple(_config(thread_id))
        count: int = found.checkpoint["channel_values"]["count"]
        return count


class _State(TypedDict, total=False):
    count: int
    name: str
    email: str
    plan: str
    active: bool
    balance: float
    tags: list[str]
    visits: dict[str, int]
    messages: list[dict[str, str]]


class OneNodeGraph:
    """A graph whose one node counts, on a ``SqliteSaver``: what LangGraph calls an agent."""

    def __init__(self, saver: Any) -> None:
        module = import_module("langgraph.graph")

        def add(state: dict[str, Any]) -> dict[str, Any]:
            return {**KILOBYTE, "count": state.get("count", 0) + 1}

        graph: Any = module.StateGraph(_State)
        graph.add_node("add", add)
        graph.add_edge(module.START, "add")
        graph.add_edge("add", module.END)
        self._graph: Any = graph.compile(checkpointer=saver)

    @staticmethod
    @contextmanager
    def open(path: Path) -> Generator[OneNodeGraph]:
        """Open the graph on a file."""
        from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: PLC0415 - needed here only

        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield OneNodeGraph(saver)

    def add(self, thread_id: str) -> int:
        """Run the graph on a thread; return the new count."""
        count: int = self._graph.invoke({"count": 0}, _config(thread_id))["count"]
        return count

    def read(self, thread_id: str) -> int:
        """Load the newest state of a thread; return its count."""
        count: int = self._graph.get_state(_config(thread_id)).values["count"]
        return count


def _config(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
