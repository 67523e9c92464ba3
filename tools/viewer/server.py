"""The web server: one session for each client."""

import contextlib
import errno
import io
import socket
import threading
from typing import TYPE_CHECKING, Any

from datasets.errors import VrmmError
from tools.viewer.session_config import SessionConfig

if TYPE_CHECKING:
    import viser

    from tools.viewer.session import Session
    from tools.viewer.watch import Current


class ViewServer:
    """Serves a source to any number of browsers. Use as a context manager. Final.

    It listens before there is anything to show, because torch and the weights take seconds and so does the page:
    browsers load both at once. Until ``show`` is called pages say that they wait.

    Args:
        config: shared by all clients.
        host: address to listen at.
        port: 0 takes any free one.

    Raises:
        VrmmError: on entering, where viser is not installed or the port cannot be had.
    """

    def __init__(self, config: SessionConfig, host: str, port: int) -> None:
        self._config, self._host, self._wanted_port = config, host, port
        self._lock = threading.Lock()
        self._current: Current | None = None
        self._waiting: dict[int, tuple[viser.ClientHandle, Any]] = {}
        self._sessions: dict[int, Session] = {}
        self._gone: set[int] = set()

    def __enter__(self) -> "ViewServer":
        try:
            import viser
        except ImportError as error:
            raise VrmmError("the viewer needs the library viser: pip install 'viser>=1.0,<2'") from error
        _check_port(self._host, self._wanted_port)
        with contextlib.redirect_stdout(io.StringIO()):  # its banner
            self._server = viser.ViserServer(host=self._host, port=self._wanted_port, label="vrmm view", verbose=False)
        if self._wanted_port and self._server.get_port() != self._wanted_port:  # it goes on to the next one by itself
            self._stop()
            raise _busy(self._wanted_port)
        self._set_up()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
            self._waiting.clear()
        for session in sessions:
            session.close()
        self._stop()

    def show(self, current: "Current") -> None:
        """Give the source to everyone who waits for it, and to those who come later."""
        with self._lock:
            self._current = current
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for client, notice in waiting:
            notice.remove()
            self._begin(client, current)

    @property
    def port(self) -> int:
        return self._server.get_port()

    @property
    def address(self) -> str:
        """For a browser on this machine."""
        host = "localhost" if self._host in ("0.0.0.0", "::") else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def sessions(self) -> "list[Session]":
        """Of the clients that are there and wait no more."""
        with self._lock:
            return list(self._sessions.values())

    def _set_up(self) -> None:
        orbit = self._config.state.orbit
        self._server.scene.set_up_direction(orbit.up)
        self._server.scene.world_axes.visible = False
        self._server.scene.configure_environment_map(None)  # browsers that draw in software take seconds to filter it
        self._server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self._server.on_client_connect(self._arrived)
        self._server.on_client_disconnect(self._left)

    def _arrived(self, client: "viser.ClientHandle") -> None:
        with self._lock:
            current = self._current
            if current is None:
                self._waiting[client.client_id] = (client, self._ask_for_patience(client))
        if current is not None:
            self._begin(client, current)

    def _ask_for_patience(self, client: "viser.ClientHandle") -> Any:
        what = f"Opening {self._config.name} …"
        return client.add_notification("vrmm view", what, loading=True, with_close_button=False)

    def _begin(self, client: "viser.ClientHandle", current: "Current") -> None:
        from tools.viewer.session import Session

        session = Session(client, current, self._config)
        with self._lock:
            left_already = client.client_id in self._gone
            self._gone.discard(client.client_id)
            if not left_already:
                self._sessions[client.client_id] = session
        if left_already:  # while its controls were made
            session.close()

    def _left(self, client: Any) -> None:
        with self._lock:
            waited = self._waiting.pop(client.client_id, None) is not None
            session = self._sessions.pop(client.client_id, None)
            if session is None and not waited:
                self._gone.add(client.client_id)
        if session is not None:
            session.close()

    def _stop(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()


def _check_port(host: str, port: int) -> None:
    """Raises VrmmError where nothing can listen there; viser itself would go on to another port, or hang."""
    if not 0 <= port <= 65535:  # the system would take its last 16 bits
        raise VrmmError(f"there is no port {port}; choose --port from 1 to 65535, or 0 for any free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], found[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _busy(port) from error
        reason = error.strerror or str(error)
        raise VrmmError(f"cannot listen at {host}, port {port}: {reason}; choose another --host or --port") from error


def _busy(port: int) -> VrmmError:
    return VrmmError(f"port {port} is in use; stop what listens there, or choose another with --port (0 for any)")
