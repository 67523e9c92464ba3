"""A run and its source, for every test of the viewer."""

from pathlib import Path

import pytest

from tests.tools.viewer.made_up_run import make_run
from tools.viewer.source import Source, open_source
from tools.viewer.source_config import SourceConfig


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="session")
def source(run: Path) -> Source:
    return open_source(SourceConfig(folder=run))
