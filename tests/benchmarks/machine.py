"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib import metadata

__all__ = ["machine"]

_PACKAGES = (
    "torpor",
    "pykka",
    "pydantic",
    "autogen-core",
    "dbos",
    "eventsourcing",
    "langgraph",
    "langgraph-checkpoint-postgres",
    "langgraph-checkpoint-sqlite",
    "openai-agents",
    "ray",
    "redis",
    "thespian",
    "xoscar",
)


def machine() -> dict[str, str]:
    """Return the machine, and the versions of what ran on it."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "cpu": f"{os.cpu_count()} x {_cpu()}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: version for name, version in versions.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return "?"
    return f"{size / 1024**3:.0f} GiB"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a stored file
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
