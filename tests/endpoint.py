"""Local servers that speak enough of OpenAI's chat completions for the rubric."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securetune.evaluation_settings import RubricSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(address: str, model: Path | str, **changes: object) -> RubricSettings:
    return RubricSettings.model_validate(
        {"base_url": address, "model": str(model), "retries": 1, "retry_seconds": 0} | changes
    )


@contextmanager
def answering(handle: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[tuple[str, list[float]]]:
    """A local server whose n-th POST (from 1) is answered by `handle`: its address, and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(time.monotonic())
            with suppress(OSError):  # The client may have gone.
                handle(self, len(asked))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def reply(
    handler: BaseHTTPRequestHandler, status: int, content: str = '{"score": 4, "refused": false}'
) -> None:
    handler.send_response(status)
    handler.end_headers()
    handler.wfile.write(json.dumps({"choices": [{"message": {"content": content}}]}).encode())
