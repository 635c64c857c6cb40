"""A durable event queue on a bare storage: no consumer misses an event or gets one twice.

Run it twice: the mailer goes on behind what it had acknowledged, whatever was published meanwhile.

    python examples/events.py [sqlite:///events.db]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from torpor import EventGapError
from torpor.queue import EventQueue, Retention, Start

if TYPE_CHECKING:
    from torpor.queue import Event


def audit(event: Event) -> None:
    """Print an event: called on a thread of its own, with every event since it subscribed."""
    # Not to stdout, which another thread prints to: their lines would mix.
    print(f"  audit: {event.payload['order']} at {event.cursor}", file=sys.stderr)


def main(url: str = "sqlite:///events.db") -> None:
    """Publish three orders, handle two of them, and leave one for the next run."""
    with EventQueue(url) as queue:
        queue.configure("orders", Retention(max_age=7 * 86_400, drop_consumers_after=30 * 86_400))
        mailer = queue.subscribe("orders", consumer="mailer", after=Start.EARLIEST)
        print(f"unread when it starts: {queue.unread('mailer', 'orders')}")

        known = [event.payload["order"] for event in queue.recover("orders")]  # up to 1000 of them
        first = max(known, default=-1) + 1
        auditor = queue.subscribe("orders", audit)
        for n in range(first, first + 3):
            # Numbered by its source: repeated after an error, it would be stored once.
            queue.publish("orders", {"order": n}, source="shop", number=n)

        try:
            while queue.unread("mailer", "orders") > 1:
                event = next(mailer)  # waits; `async for` does on an event loop
                print(f"mail for order {event.payload['order']}")
                mailer.ack(event)  # durable; never goes back
        except EventGapError as gap:  # it was away for longer than events are kept
            mailer.seek(gap.resume)
        auditor.close()
        print(f"unread when it ends: {queue.unread('mailer', 'orders')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
