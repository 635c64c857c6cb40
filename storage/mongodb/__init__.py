"""Checkpoints and threads in a MongoDB database, by PyMongo."""

from __future__ import annotations

from torpor.storage.mongodb.storage import MongoDBStorage

__all__ = ["MongoDBStorage"]
