"""Containers, images, sessions and branches of agents, on any storage."""

from __future__ import annotations

from torpor.repositories.branches import Branches, Snapshot
from torpor.repositories.containers import Containers
from torpor.repositories.images import Images
from torpor.repositories.models import Container, Image, Message, Session
from torpor.repositories.repositories import Repositories
from torpor.repositories.repository import Repository
from torpor.repositories.sessions import Sessions

__all__ = [
    "Branches",
    "Container",
    "Containers",
    "Image",
    "Images",
    "Message",
    "Repositories",
    "Repository",
    "Session",
    "Sessions",
    "Snapshot",
]
