"""Balanced epochs: every value as often as every other, nothing forgotten, and labels that are those of the shards."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.labels import LABELS, Balance, label_shards, load_labels, read_labels
from datasets.loader import FrameLoader, LoaderConfig, OnError
from datasets.sampling import Balanced, EachOnce
from datasets.shard_merge import merge_shards
from datasets.shards import DamageError, build_shards, open_shards
from tests.datasets.shard_damage import flip_bit, tar_members
from tests.datasets.tiny_capture import TinyCapture


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sorted sample numbers, and one or two labels of each."""
    count = draw(st.integers(1, 40))
    samples = np.cumsum(draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)))
    levels = draw(st.integers(1, 2))
    labels = [np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))) for _ in range(levels)]
    return samples, labels


def _parts(rows: np.ndarray, labels: list[np.ndarray], share: float) -> list[tuple[np.ndarray, float]]:
    """Rows of every part, large ones and those within, and how many draws they should have."""
    parts = [(rows, share)]
    if labels:
        values = np.unique(labels[0][rows])
        for value in values:
            parts += _parts(rows[labels[0][rows] == value], labels[1:], share / len(values))
    return parts


@settings(max_examples=150, deadline=None)
@given(labelled(), st.integers(0, 2**40), st.integers(0, 10**6))
def test_values_are_drawn_equally_often(labelled, seed, epoch) -> None:
    samples, labels = labelled
    count, shard = len(samples), samples // 7
    draws = Balanced(samples, shard, int(shard.max()) + 1, labels, seed)
    number = np.arange(count)
    drawn = draws.samples(epoch, number)
    assert (np.diff(drawn) >= 0).all(), "numbered in storage order, so that streams can read them"
    assert np.bincount(drawn // 7, minlength=int(shard.max()) + 1).tolist() == draws.per_shard(epoch).tolist()
    times = Counter(drawn.tolist())
    for rows, share in _parts(np.arange(count), labels, count):
        assert abs(sum(times[sample] for sample in samples[rows].tolist()) - share) < 1 + 1e-6
    same = np.unique(np.stack(labels), axis=1, return_inverse=True)[1].ravel()
    for part in range(same.max() + 1):
        each = [times[sample] for sample in samples[same == part].tolist()]
        assert max(each) - min(each) <= 1, "samples of a part share it evenly"
    assert draws.repeats(epoch, number).tolist() == [drawn[:i].tolist().count(drawn[i]) for i in range(count)]


def test_rare_and_frequent_samples_all_have_their_turn() -> None:
    """Ten samples of one value and one of another: the one comes five or six times an epoch, of the ten others each."""
    label = np.array([0] * 10 + [1])
    draws = Balanced(np.arange(11), np.zeros(11, int), 1, [label], seed=3)
    epochs = [Counter(draws.samples(epoch, np.arange(11)).tolist()) for epoch in range(60)]
    assert {epoch[10] for epoch in epochs} == {5, 6}
    assert all(times in (0, 1) for epoch in epochs for sample, times in epoch.items() if sample < 10)
    total = sum(epochs, Counter())
    # Each of the ten is drawn with probability 0.55; five standard deviations of 60 trials.
    assert all(abs(total[sample] - 33) < 5 * np.sqrt(60 * 0.55 * 0.45) for sample in range(10))


def test_each_once() -> None:
    draws = EachOnce(np.array([2, 5, 6]), np.array([0, 2, 2]), 3)
    assert draws.per_shard(9).tolist() == [1, 0, 2]
    assert draws.samples(9, np.array([2, 0])).tolist() == [6, 2]
    assert draws.repeats(9, np.array([2, 0])).tolist() == [0, 0]


class Uneven(TinyCapture):
    """The first subject has most of the frames; patterns and expressions vary."""

    def frames(self):
        return [frame for frame in super().frames() if frame.subject == "s0" or frame.index < 2]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uneven")
    build_shards(Uneven(subjects=3, frames=9, splits=False), out, samples_per_shard=4)
    return out


def _loader(folder: Path | str, *balance: Balance, **values) -> FrameLoader:
    return FrameLoader(LoaderConfig(shards=str(folder), batch_frames=1, workers=0, balance=list(balance), **values))


def _epoch(loader: FrameLoader, epoch: int) -> list[str]:
    steps = loader.steps_per_epoch
    return [key for step in range(epoch * steps, (epoch + 1) * steps) for key in loader.keys(step)]


def test_a_recipe_balances_subjects_and_then_patterns(uneven: Path) -> None:
    loader = _loader(uneven, Balance.subject, Balance.light_pattern)
    assert loader.steps_per_epoch == 13
    lamps = {loader.shards.key(s): loader.shards.frame(s).light_pattern for s in range(len(loader.shards))}
    seen: Counter[str] = Counter()
    for epoch in range(10):
        keys = _epoch(loader, epoch)
        subjects = Counter(key[:2] for key in keys)
        assert all(13 / 3 - 1 < subjects[subject] < 13 / 3 + 1 for subject in ("s0", "s1", "s2"))
        patterns = Counter(lamps[key] for key in keys if key.startswith("s0"))
        assert max(patterns.values()) - min(patterns.values()) <= 1
        again = _loader(uneven, Balance.subject, Balance.light_pattern)
        assert keys[5:] == _epoch(again, epoch)[5:], "a resumed run draws the same"
        seen += Counter(keys)
    assert len(seen) == 13, "all frames come in some epoch"


def test_repeated_frames_show_other_views(uneven: Path) -> None:
    views: dict[str, list[tuple[int, ...]]] = {}
    for batch in islice(_loader(uneven, Balance.subject).batches(), 13):
        views.setdefault(batch.keys[0], []).append(tuple(batch.camera[0].tolist()))
    repeated = [chosen for chosen in views.values() if len(chosen) > 1]
    assert repeated
    assert any(len(set(chosen)) > 1 for chosen in repeated)


def test_labels_are_kept_beside_the_shards_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_shards(Uneven(subjects=3, frames=9, splits=False), tmp_path / "a", samples_per_shard=4)
    calls = []
    shards = open_shards(tmp_path / "a")
    made = label_shards(shards, lambda done, total: calls.append((done, total)))
    assert calls == [(13, 13)]
    assert made.values[Balance.light_pattern] == ("p1", "p2", "p3")
    frames = [shards.frame(sample) for sample in range(len(shards))]
    for kind, expected in (
        (Balance.subject, [frame.subject for frame in frames]),
        (Balance.light_pattern, [frame.light_pattern for frame in frames]),
        (Balance.expression, [f"talk {int(np.argmax(frame.expression))}" for frame in frames]),
    ):
        assert [made.values[kind][number] for number in made.numbers[kind]] == expected
    reads = []
    with monkeypatch.context() as patch:
        patch.setattr("datasets.labels.read_labels", lambda *args, **values: reads.append(args))
        loaded = load_labels(open_shards(tmp_path / "a"))
    assert reads == []
    assert loaded.values == made.values
    assert all((loaded.numbers[kind] == made.numbers[kind]).all() for kind in Balance)
    build_shards(TinyCapture(subjects=3, frames=5, splits=False), tmp_path / "b", samples_per_shard=4)
    (tmp_path / "b" / LABELS).write_bytes((tmp_path / "a" / LABELS).read_bytes())
    others = open_shards(tmp_path / "b")
    assert len(load_labels(others).numbers[Balance.expression]) == 15, "labels of other shards are not taken"
    for text in ("", "[]", json.dumps({**json.loads((tmp_path / "a" / LABELS).read_text()), "expression": 3})):
        (tmp_path / "a" / LABELS).write_text(text)
        assert load_labels(shards).values == made.values, "nor damaged ones"


def test_frames_at_rest_are_named_by_their_sequence(tmp_path: Path) -> None:
    class Still(TinyCapture):
        def frames(self):
            import dataclasses

            values = [None, (0.05, 0.0), (0.0, -0.6)]
            return [dataclasses.replace(f, expression=values[f.index]) for f in super().frames()]

    build_shards(Still(subjects=1, frames=3, splits=False), tmp_path)
    labels = read_labels(open_shards(tmp_path))
    assert labels.values[Balance.expression] == ("talk", "talk 1")
    assert labels.numbers[Balance.expression].tolist() == [0, 0, 1]


def test_patterns_of_other_rigs_are_other_patterns(tmp_path: Path) -> None:
    for name, turn in (("a", 0.0), ("b", 9.0)):
        build_shards(TinyCapture(subjects=1, frames=2, splits=False, name=name, turn=turn), tmp_path / name)
    merge_shards([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    values = read_labels(open_shards(tmp_path / "both")).values
    assert values[Balance.light_pattern] == ("p1 of rig 0", "p2 of rig 0", "p1 of rig 1", "p2 of rig 1")


def test_damage_met_while_labelling(tmp_path: Path) -> None:
    build_shards(TinyCapture(subjects=1, frames=4, splits=False), tmp_path)
    tar = next(tmp_path.glob("*.tar"))
    place = next(member for member in tar_members(tar) if member.name == "s0_talk_000001.meta.json")
    flip_bit(tar, place.offset_data + 2, np.random.default_rng(0))
    with pytest.raises(DamageError, match="meta.json of sample s0_talk_000001 is damaged"):
        _loader(tmp_path, Balance.expression)
    loader = _loader(tmp_path, Balance.expression, on_error=OnError.skip)
    for _ in islice(loader.batches(), 8):
        pass
    assert set(loader.lost) <= {"s0_talk_000001"}


def test_a_label_is_named_once(uneven: Path) -> None:
    with pytest.raises(VrmmError, match="balance names subject twice"):
        _loader(uneven, Balance.subject, Balance.subject)
