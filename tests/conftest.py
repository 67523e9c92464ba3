"""Settings of every test: one thread, wide lines, no time limits, checked shapes, integration tests first."""

import os
import signal

# Two workers on two cores, and reductions in a fixed order. Must be set before numpy or torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["COLUMNS"] = "200"  # how long a temporary folder's name is must not decide where a line is broken

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whatever a shell starts in the background ignores ctrl-C, and so would the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import jaxtyping

# Every jaxtyping annotation of these packages is checked by beartype when a test calls the function.
jaxtyping.install_import_hook(["datasets", "prior", "fitting", "slurm", "tools.export"], "beartype.beartype")

from pathlib import Path

import pytest

hypothesis.settings.register_profile("vrmm", deadline=None)  # machines are noisy: no test asserts a time
hypothesis.settings.load_profile("vrmm")

INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies under tests/integration and run it first: its files take longest."""
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.integration)
    items.sort(key=lambda item: not item.path.is_relative_to(INTEGRATION))
