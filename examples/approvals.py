"""A clerk that asks before money leaves the house, and sleeps until somebody decides.

python examples/approvals.py say "refund order 7"      (it pauses; the process ends)
python examples/approvals.py inbox
python examples/approvals.py accept CALL_ID --by ada   (or reject; it goes on where it was)
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from torpor import ConversationError, Runtime, conversation
from torpor.conversation import Conversation, ConversationAgent, Message, ToolCall, tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.conversation import Tool


@tool(needs_approval=True, note="Money leaves the house.", expires_after=7 * 86_400)
def refund(order: int) -> str:
    """Pay an order back. Runs at most once for each approval."""
    return f"Order {order} is paid back."


class Rules:
    """Stands in for a model, offline."""

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Message | str:
        """Call a tool, or tell what came of it."""
        last = messages[-1]
        wanted = re.search(r"refund order (\d+)", last.text) if last.role == "user" else None
        if wanted is None or not tools:
            return last.text if last.role == "tool" else "Say: refund order 7"
        call = ToolCall(id=f"{len(messages)}", name="refund", arguments={"order": int(wanted[1])})
        return Message(role="assistant", tool_calls=[call])


class Clerk(ConversationAgent):
    """Refunds orders when a human agrees."""

    model = Rules()
    tools = (refund,)


def main() -> None:
    """Say something, look what waits, or decide."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("action", choices=["say", "inbox", "accept", "reject"])
    parser.add_argument("what", nargs="?", default="", help="what to say, or a call id")
    parser.add_argument("--by", default="somebody", help="who decides")
    parser.add_argument("--store", default="approvals.db", help="an SQLite file")
    args = parser.parse_args()
    with Runtime(f"sqlite:///{args.store}") as runtime:
        clerk = runtime.get(Clerk, "desk")
        try:
            if args.action == "say":
                print(Conversation(clerk).say(args.what).text)
            elif args.action != "inbox":
                clerk.ask(getattr(Clerk, args.action), args.what, by=args.by)
                print(Conversation(clerk).wait().text)
        except ConversationError as error:
            print(error)
        for key, _, interrupt in conversation.pending_interrupts(runtime.storage, Clerk):
            print(f"{key}: {interrupt.call_id} {interrupt.tool_name} {interrupt.tool_args}")


if __name__ == "__main__":
    main()
