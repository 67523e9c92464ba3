"""A web server for a folder on the loopback interface that answers byte ranges, counts requests and can misbehave."""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class RangeServer(ThreadingHTTPServer):
    """Attributes:
    requests: (path, first byte or None) of every GET, in order.
    failures: how many of the next GETs of data to answer with status 503.
    hang_up_after: bytes of every answer after which the connection is cut, or None; once for each path.
    ignores_ranges: answers whole files whatever is asked for.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[tuple[str, int | None]] = []
        self.failures = 0
        self.hang_up_after: int | None = None
        self.hung_up: set[str] = set()
        self.ignores_ranges = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, suffix: str) -> set[str]:
        """Names of the files of that kind that were asked for."""
        return {path.rpartition("/")[2] for path, _ in self.requests if path.endswith(suffix)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are silent."""

    def _answer(self, body: bool) -> None:
        server, path = self.server, self.server.folder / self.path.split("?")[0].lstrip("/")
        match = _RANGE.fullmatch(self.headers.get("Range", "")) if not server.ignores_ranges else None
        if body:
            server.requests.append((self.path.split("?")[0], int(match[1]) if match else None))
        if not path.is_file():
            self._head(404, 0)
        elif body and server.failures > 0:
            server.failures -= 1
            self._head(503, 0)
        else:
            self._send(path, path.read_bytes(), match, body)

    def _send(self, path: Path, data: bytes, match: re.Match[str] | None, body: bool) -> None:
        status, extra = 200, {}
        if match:
            start, stop = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
            if start >= len(data):
                self._head(416, 0)
                return
            status, extra = 206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
            data = data[start:stop]
        self._head(status, len(data), **extra)
        if body and self.server.hang_up_after is not None and path.name not in self.server.hung_up:
            self.server.hung_up.add(path.name)
            data = data[: self.server.hang_up_after]
            self.close_connection = True
        if body:
            self.wfile.write(data)

    def _head(self, status: int, length: int, **extra: str) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(length), "Accept-Ranges": "bytes", **extra}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[RangeServer]:
    """A server of ``folder`` for as long as the context lasts."""
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
