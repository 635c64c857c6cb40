"""A chat agent whose conversation goes on after a restart.

python examples/assistant.py [--model-url http://localhost:11434/v1 --model llama3.2]
"""

from __future__ import annotations

import argparse
import sys
from typing import ClassVar

from assistant_models import OpenAICompatible, Rules
from torpor import CallTimeoutError, ModelFailedError, Runtime
from torpor.conversation import Conversation, ConversationAgent, Model


class Assistant(ConversationAgent):
    """One conversation. The model is shown its newest messages."""

    model: ClassVar[Model] = Rules()
    tail = 21  # odd, so that the first is the user's, like the last


def main() -> None:
    """Chat on a terminal, or answer the lines of standard input. An empty line tries again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", default="assistant.db", help="an SQLite file")
    parser.add_argument("--model-url", help="base URL of a server with OpenAI's chat protocol")
    parser.add_argument("--model", default="default", help="the model's name there")
    args = parser.parse_args()
    if args.model_url:
        Assistant.model = OpenAICompatible(args.model_url, args.model)
    prompt = "you> " if sys.stdin.isatty() else ""
    with Runtime(f"sqlite:///{args.store}") as runtime:
        chat = Conversation(runtime.get(Assistant, "me").options(timeout=90))
        last = chat.ref.ask(Assistant.messages, 1)
        print(f"({'We go on' if last else 'We begin'}; end with Ctrl-D)", flush=True)
        while True:
            try:
                said = input(prompt)
                print((chat.say(said) if said else chat.retry()).text, flush=True)
            except (EOFError, KeyboardInterrupt):
                break
            except (ModelFailedError, CallTimeoutError) as error:
                print(f"An empty line tries again: {error}", flush=True)


if __name__ == "__main__":
    main()
