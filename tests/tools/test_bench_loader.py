"""``python -m tools.bench loader``: every way reads what it says, and the numbers are made of the right ones."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets.manifest import read_manifest
from datasets.shards import build_shards
from tools.bench import loader as benchmark
from tools.bench import reading
from tools.bench.__main__ import app
from tools.bench.photo_capture import PhotoCapture
from tools.bench.reading import Cat, InMemory, Ours, PlainWebDataset, Task
from tools.bench.resuming import resume_anywhere

FRAMES = 12


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("photos")
    capture = PhotoCapture(frames=FRAMES, inputs=2, targets=3, size=64)
    build_shards(capture, folder, samples_per_shard=2)
    inputs = tuple(camera.name for camera in capture.info.cameras if camera.split != "train")
    return Task(shards=str(folder), inputs=inputs, size=64, workers=2, batch=2)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves its streams to the collector
def test_every_way_reads_what_it_says(task: Task) -> None:
    shards = read_manifest(Path(task.shards)).shards
    whole = sum(shard.bytes for shard in shards)
    pictures = [
        shard.members.at(int(shard.first[sample]) + column).size
        for shard in shards
        for sample in range(shard.samples)
        for column, name in enumerate(shard.layouts[shard.layout[sample]])
        if name.endswith(".jpg")
    ]
    assert len(pictures) == FRAMES * 5
    found = {}
    for way in (
        Cat(),
        PlainWebDataset(False),
        Ours("few", 1),
        Ours("all", 3),
        Ours("stream", 1, stream=True),
        Ours("small", 1, shrink=4),
        InMemory("memory", 3),
    ):
        seconds, samples, total = way.read(task)
        assert seconds > 0
        found[way.name] = samples, total
    assert found["cat"] == found["webdataset, one thread"] == (FRAMES, whole)
    assert found["memory"][0] == FRAMES
    assert 3 * FRAMES * min(pictures) <= found["memory"][1] <= 3 * FRAMES * max(pictures)
    left = FRAMES - reading.WARM_UP * task.batch
    for name, views in (("few", 3), ("stream", 3), ("small", 3), ("all", 5)):
        assert found[name][0] == left
        assert left * views * min(pictures) <= found[name][1] <= left * views * max(pictures)


def test_resuming_reads_the_index_alone(tmp_path: Path) -> None:
    resuming = resume_anywhere(tmp_path, 2500, steps=3)
    assert (resuming.samples, resuming.members) == (2500, 2500 * 6)
    assert resuming.index_bytes / resuming.members < 200, "the promise"
    assert resuming.resume_seconds > 0
    assert not list(tmp_path.glob("*.tar"))


def test_the_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Made-up speeds; the fastest round counts, and webdataset's better way."""
    rounds = {}

    def speed(way: reading.Way, task: Task) -> reading.Speed:
        rounds[way.name] = rounds.get(way.name, 0) + 1
        rate = {benchmark.OURS_FEW.name: 80, benchmark.DECODE_FEW.name: 100, benchmark.PROCESSES.name: 20}.get(
            way.name, 10
        )
        return reading.Speed(seconds=1.0, samples=rate * rounds[way.name], bytes=2_000_000, memory_mb=5.0)

    monkeypatch.setattr(benchmark, "time_in_a_process", speed)
    file = tmp_path / "loader.json"
    arguments = ["loader", "--json", str(file), "--frames", "16", "--size", "64", "--rounds", "2", "--samples", "10000"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(file.read_text())
    assert result["over_webdataset_4_of_16_views"] == 4.0
    assert result["of_decode_bound"] == 0.8
    assert result["index_bytes_per_member"] < 200
    assert 0 < result["open_seconds_1m_samples"] < result["resume_seconds_1m_samples"]
    assert [row["samples"] for row in result["resuming"]] == [1000, 10000]
    assert result["ways"]["cat"] == {"samples_per_second": 20.0, "megabytes_per_second": 2.0, "memory_mb": 5.0}
