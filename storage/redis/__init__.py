"""Checkpoints and threads in Redis or Valkey."""

from __future__ import annotations

from torpor.storage.redis.storage import RedisStorage

__all__ = ["RedisStorage"]
