"""The storage contract: two primitives, one way to write.

*Checkpoints* are records under a key, with a revision. *Threads* are append-only journals.
Everything is written by ``commit``. The rules, which ``torpor.storage.testing.StorageContract``
proves for every backend:

1.  A change is atomic: after a crash at any point all of it is visible or none of it is.
2.  A stale ``expected_rev`` gives ``Conflict``, writes nothing and disturbs no other change of
    the batch. None = don't compare, 0 = absent or deleted, n = exactly n.
3.  When ``commit`` returns, what it saved is durable to the degree that the backend documents.
    If it raises, the outcome of every change of the batch is unknown and the batch is to be
    sent again: a change whose id is stored already is answered ``Saved`` again.
4.  A revision is never used twice for a key. Delete leaves a tombstone, which get, head and
    list do not see; the next write goes on from it. ``vacuum`` removes tombstones.
5.  In a thread ``seq`` is contiguous and ``rev`` counts the entries ever appended; a re-created
    thread goes on from its old ``rev``. A caller's ``seq`` is ignored, its ``id`` and ``at``
    are kept. Metadata is stored by the append that creates the thread, and by no later one.
6.  An agent's thread is owned: its id is ``<agent key>#<unique id>`` and its head lives in the
    owner's record. Writing to it in any other way is an ``OwnedThreadError``. Entries beyond a
    head are invisible and are overwritten by the next append.
7.  Cost does not grow with history; learning a revision never reads entries.
8.  A missing key is None, never an error; deleting what is not there is no error; a backend's
    failure is never reported as "missing".
9.  Keys are text, 1 to 512 bytes of UTF-8, without NUL. Anything else in them is legal, and two
    different keys never collide.
10. Documents are JSON, versioned, checksummed; no pickle. Undecodable bytes raise
    ``CorruptRecordError`` and are left as they are.
11. One change per key in a batch, else ``ValueError``. A batch costs few steps, not one per row.
12. A record may carry ``wake_at``; ``list_due`` reads it from an index. Where that index cannot
    be in the same transaction, early is allowed, lost is not.
13. Safe for many threads, and for many processes on the same place.
14. A restoration (``Restoration``, for tools that move stores) stores a record as it stood
    elsewhere: revision, times and head, also backwards, where rule 4 ends. Its entries begin
    their thread or go on from the part that is stored. Over entries that are there already it
    is a ``Conflict``: delete them first.
"""

from __future__ import annotations

from torpor.storage.checkpoints import CheckpointOperations
from torpor.storage.inspection import Inspectable
from torpor.storage.threads import ThreadOperations

__all__ = ["Storage"]


class Storage(CheckpointOperations, ThreadOperations, Inspectable):
    """Checkpoints and threads in one place. See the module for the rules.

    To write a backend, implement the methods of ``torpor.storage.backend.Backend`` that have a
    leading underscore.
    """
