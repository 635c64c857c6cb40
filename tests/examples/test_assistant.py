"""The assistant, as a process of its own: offline, and with a server in this process."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from tests.examples.support import run_example, start_example

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

KEY = "sk-very-secret"


class ChatServer(HTTPServer):
    """Answers with ``status`` and the number of messages that it was sent; keeps requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append((self.path, self.headers["Authorization"], body))
        answer = {"role": "assistant", "content": f"I see {len(body['messages'])} messages"}
        data = json.dumps({"choices": [{"message": answer}]}).encode()
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def chat_server() -> Generator[ChatServer]:
    """Run a server while the block runs."""
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def chat(
    folder: Path, *lines: str, options: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> list[str]:
    """Say ``lines`` to the assistant; return its answers."""
    text = "".join(f"{line}\n" for line in lines)
    code, output = run_example("assistant.py", *options, cwd=folder, text=text, env=env)
    assert code == 0, output
    return output.splitlines()[1:]


def test_it_answers_offline(tmp_path: Path) -> None:
    """Without a model simple rules answer, from what was said."""
    answers = chat(tmp_path, "hi", "my name is Ada", "what is my name?", "bye")

    assert answers == [
        "Hello! What is your name?",
        "Your name is Ada.",
        "Your name is Ada.",
        "Before that you said: what is my name?",
    ]


def test_the_conversation_outlives_the_process(tmp_path: Path) -> None:
    """Started again it knows what was said before."""
    chat(tmp_path, "my name is Ada", "hi")

    assert chat(tmp_path, "what is my name?") == ["Your name is Ada."]


def test_a_model_gets_the_conversation(tmp_path: Path) -> None:
    """A model behind HTTP is sent the roles and contents so far, and what was said last."""
    with chat_server() as server:
        options = ("--model-url", server.url, "--model", "m1")
        answers = chat(tmp_path, "one", "two", options=options)

    assert answers == ["I see 1 messages", "I see 3 messages"]
    path, authorization, body = server.requests[-1]
    assert (path, authorization) == ("/v1/chat/completions", None)
    assert body == {
        "model": "m1",
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "I see 1 messages"},
            {"role": "user", "content": "two"},
        ],
    }


def test_a_long_conversation_is_cut_to_its_end(tmp_path: Path) -> None:
    """The model sees the last 21 messages, from one of the user's to the last one."""
    with chat_server() as server:
        chat(tmp_path, *map(str, range(15)), options=("--model-url", server.url))

    sent = server.requests[-1][2]["messages"]
    assert len(sent) == 21
    assert sent[0] == {"role": "user", "content": "4"}
    assert sent[-1] == {"role": "user", "content": "14"}


def test_what_was_said_outlives_a_failing_model(tmp_path: Path) -> None:
    """If the server fails, what was said is kept, and an empty line has it answered (HI-9)."""
    with chat_server() as server:
        server.status = 500
        [answer] = chat(tmp_path, "kept", options=("--model-url", server.url))
        server.status = 200
        after = chat(tmp_path, "", "more", options=("--model-url", server.url))

    assert answer.startswith("An empty line tries again: ")
    assert "no answer from http://127.0.0.1:" in answer
    assert after == ["I see 1 messages", "I see 3 messages"]


def test_the_key_is_sent_and_never_shown(tmp_path: Path) -> None:
    """The key comes from the environment, goes to the server and appears nowhere else."""
    with chat_server() as server:
        server.status = 401
        options = ("--model-url", server.url)
        answers = chat(tmp_path, "hi", options=options, env={"OPENAI_API_KEY": f"{KEY}\n"})

    assert server.requests[0][1] == f"Bearer {KEY}"
    assert KEY not in "".join(answers)
    assert not [path for path in tmp_path.iterdir() if KEY.encode() in path.read_bytes()]


def test_a_terminal_gets_a_prompt(tmp_path: Path) -> None:
    """On a terminal it asks for each line, and Ctrl-D ends it."""
    ours, theirs = os.openpty()
    with start_example(
        "assistant.py", cwd=tmp_path, stdio=theirs, env={"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        for typed in (b"hi\n", b"\x04"):
            while not shown.endswith(b"you> "):
                shown += os.read(ours, 1)
            os.write(ours, typed)
            shown += b"\n"
        assert process.wait() == 0
    os.close(ours)

    assert "Hello! What is your name?" in shown.decode()
