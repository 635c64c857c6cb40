"""A chat agent whose conversation is its thread, so that it goes on after a restart.

python examples/assistant.py [--model-url http://localhost:11434/v1 --model llama3.2]
"""

from __future__ import annotations

import argparse
import sys
from typing import ClassVar

from assistant_models import Model, ModelError, OpenAICompatible, Rules
from torpor import Agent, CallTimeoutError, Runtime

REMEMBERED = 21  # entries; odd, so that the first is the user's, like the last


class Assistant(Agent):
    """One conversation."""

    model: ClassVar[Model] = Rules()

    async def say(self, text: str) -> str:
        """Return the answer. If the model fails, it is as if nothing had been said."""
        self.thread.append("user", {"content": text})
        recent = await self.thread.atail(REMEMBERED)
        answer = await self.model.reply([{"role": e.kind, **e.payload} for e in recent])
        self.thread.append("assistant", {"content": answer})
        return answer

    def length(self) -> int:
        """Return how many messages were exchanged so far."""
        return self.thread.rev


def main() -> None:
    """Chat on a terminal, or answer the lines of standard input."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", default="assistant.db", help="an SQLite file")
    parser.add_argument("--model-url", help="base URL of a server with OpenAI's chat protocol")
    parser.add_argument("--model", default="default", help="the model's name there")
    args = parser.parse_args()
    if args.model_url:
        Assistant.model = OpenAICompatible(args.model_url, args.model)
    prompt = "you> " if sys.stdin.isatty() else ""
    with Runtime(f"sqlite:///{args.store}") as runtime:
        assistant = runtime.get(Assistant, "me").options(timeout=90)
        print(f"({assistant.ask(Assistant.length)} messages so far; end with Ctrl-D)", flush=True)
        while True:
            try:
                print(assistant.ask(Assistant.say, input(prompt)), flush=True)
            except (EOFError, KeyboardInterrupt):
                break
            except (ModelError, CallTimeoutError) as error:
                print(f"Please say that again: {error}", flush=True)


if __name__ == "__main__":
    main()
