"""The server without a browser: where it listens, ports that cannot be had, and its command in a process."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from datasets.errors import VrmmError
from tools.viewer.server import ViewServer
from tools.viewer.session_config import SessionConfig
from tools.viewer.state import ViewState

ROOT = Path(__file__).parents[3]


def serve(port: int = 0, host: str = "127.0.0.1") -> ViewServer:
    config = SessionConfig(name="run", state=ViewState(), finest=200, threads=1, words=["vrmm", "view", "run"])
    return ViewServer(config, host, port)


def listening(port: int) -> set[str]:
    return {
        found.laddr.ip
        for found in psutil.Process().net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port
    }


def test_only_this_machine_is_served_and_the_port_is_given_back() -> None:
    with serve() as server:
        port = server.port
        assert listening(port) == {"127.0.0.1"}
        with urllib.request.urlopen(server.address, timeout=30) as answer:
            assert answer.status == 200
    assert listening(port) == set()


def test_a_port_in_use_is_told_and_no_other_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(VrmmError, match=f"port {port} is in use; .*--port"):
            serve(port).__enter__()
        assert listening(port + 1) == set()


def test_a_port_that_is_taken_at_the_last_moment_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.viewer.server._check_port", lambda host, port: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(VrmmError, match=f"port {port} is in use"):
            serve(port).__enter__()
        assert listening(port + 1) == set(), "viser went on to the next port and stayed there"


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [("127.0.0.1", 70000, "no port 70000"), ("192.0.2.1", 0, "cannot listen at 192.0.2.1"), ("no host", 0, "no host")],
)
def test_an_address_that_cannot_be_had_is_named(host: str, port: int, named: str) -> None:
    with pytest.raises(VrmmError, match=named):
        serve(port, host).__enter__()


def test_the_command_says_where_to_look_and_stops_at_ctrl_c(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.main", "view", str(run), "--port", "0", "--threads", "1"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split(": ")[1].split()[0]
        assert address.startswith("http://127.0.0.1:"), line
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "stopped\n", "")


def test_the_page_is_served_before_anything_large_is_imported() -> None:
    """torch takes seconds, in which a browser can load the page."""
    script = (
        "import sys; from tools.viewer.server import ViewServer; from tools.viewer.session_config import SessionConfig;"
        "from tools.viewer.state import ViewState;"
        "config = SessionConfig(name='run', state=ViewState(), finest=200, threads=1, words=['vrmm']);"
        "server = ViewServer(config, '127.0.0.1', 0).__enter__(); server.__exit__();"
        "print([name for name in ('torch', 'mitsuba', 'cv2') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (found.stdout, found.returncode) == ("[]\n", 0), found.stderr
