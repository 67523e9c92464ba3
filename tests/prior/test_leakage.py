"""Linear probes: codes that hold something give it away, codes that do not give chance."""

import dataclasses

import numpy as np
import pytest

from datasets.capture import Light
from prior.evaluation.leakage import ProbeFrames, mean_direction, probe
from prior.evaluation.ridge import block_folds, cross_predicted, group_folds, r_squared

PEOPLE, LENGTH = 8, 20


def frames(seed: int = 0, **changes: np.ndarray) -> ProbeFrames:
    """Frames whose codes are noise, but for what a test changes."""
    random = np.random.default_rng(seed)
    count = PEOPLE * LENGTH
    direction = random.normal(size=(count, 3))
    made = ProbeFrames(
        subjects=[f"p{number}" for number in range(PEOPLE) for _ in range(LENGTH)],
        z_e=random.normal(size=(count, 12)),
        z_id=np.repeat(random.normal(size=(PEOPLE, 10)), LENGTH, axis=0),
        expression=random.uniform(size=(count, 6)),
        light_direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
        brightness=random.normal(size=(count, 1)),
    )
    return dataclasses.replace(made, **changes)


def test_noise_gives_nothing_away() -> None:
    scores = [probe(frames(seed)) for seed in range(5)]
    mean = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    assert mean["identity_chance"] == pytest.approx(1 / PEOPLE)
    # 800 frames: two standard deviations of chance are 0.024
    assert mean["identity_accuracy"] == pytest.approx(1 / PEOPLE, abs=0.05)
    for name in ("light_direction_r2", "brightness_r2", "identity_code_r2", "expression_r2", "expression_of_others_r2"):
        assert -0.06 < mean[name] < 0.03, name


def test_a_code_that_holds_the_identity_names_everyone() -> None:
    made = frames()
    mixing = np.random.default_rng(1).normal(size=(PEOPLE, 12))
    leaking = dataclasses.replace(made, z_e=made.z_e * 0.05 + np.repeat(mixing, LENGTH, axis=0))
    assert probe(leaking)["identity_accuracy"] == 1.0
    assert probe(leaking)["identity_accuracy_of_truth"] < 0.3
    assert probe(leaking)["light_direction_r2"] < 0.05


def test_what_is_linear_in_a_code_is_read_from_it_and_nothing_else() -> None:
    made, random = frames(), np.random.default_rng(2)
    scale = np.logspace(-3, 3, 12)  # as inputs are standardised, their units do not matter

    def coded(values: np.ndarray) -> np.ndarray:
        return (5.0 + values @ random.normal(size=(values.shape[1], 12)) + 0.01 * random.normal(size=(160, 12))) * scale

    lit = probe(dataclasses.replace(made, z_e=coded(made.light_direction)))
    assert lit["light_direction_r2"] > 0.95
    assert abs(lit["expression_r2"]) < 0.1
    moved = probe(dataclasses.replace(made, z_e=coded(made.expression)))
    assert min(moved["expression_r2"], moved["expression_of_others_r2"]) > 0.95
    assert abs(moved["light_direction_r2"]) < 0.1
    assert probe(dataclasses.replace(made, z_e=coded(made.brightness)))["brightness_r2"] > 0.95


def test_codes_that_mean_something_else_for_everyone_do_not_carry_over() -> None:
    made = frames()
    signs = np.repeat(np.where(np.arange(PEOPLE) % 2, 1.0, -1.0), LENGTH)[:, None]
    # Each person's own code of the expression stands in columns of its own sign.
    own = np.concatenate([made.expression * (signs > 0), made.expression * (signs < 0)], axis=1)
    scores = probe(dataclasses.replace(made, z_e=own @ np.random.default_rng(3).normal(size=(12, 12))))
    assert scores["expression_r2"] > 0.9
    private = np.concatenate([made.expression * (np.arange(160)[:, None] // LENGTH == p) for p in range(PEOPLE)], 1)
    scores = probe(dataclasses.replace(made, z_e=private))
    assert scores["expression_r2"] > 0.8
    assert scores["expression_of_others_r2"] < 0.3


def test_people_who_move_differently_show_in_their_codes() -> None:
    habits = np.random.default_rng(4).normal(size=(PEOPLE, 6))
    made = frames()
    moved = dataclasses.replace(made, expression=made.expression * 0.2 + np.repeat(habits, LENGTH, axis=0))
    scores = probe(moved)
    assert scores["identity_accuracy_of_truth"] > 0.9
    assert scores["identity_code_r2"] > 0.8


def test_a_frame_is_not_scored_by_what_was_fitted_to_it() -> None:
    """With more inputs than frames a probe knows by heart what it was fitted to; on others it knows nothing."""
    random = np.random.default_rng(5)
    inputs, targets = random.normal(size=(60, 200)), random.normal(size=(60, 2))
    folds = np.arange(60) // 12
    predicted = cross_predicted(inputs, targets, folds)
    assert r_squared(targets, predicted, folds) < 0.1
    changed = targets.copy()
    changed[folds == 2] += 100.0
    np.testing.assert_allclose(cross_predicted(inputs, changed, folds)[folds == 2], predicted[folds == 2])


def test_r_squared_of_known_predictions() -> None:
    targets = np.array([[0.0], [2.0], [0.0], [2.0], [0.0], [2.0]])
    folds = np.array([0, 0, 1, 1, 2, 2])
    assert r_squared(targets, targets, folds) == 1.0
    assert r_squared(targets, np.ones_like(targets), folds) == 0.0
    assert r_squared(targets, 2.0 - targets, folds) == -3.0
    assert r_squared(np.ones((6, 1)), np.ones((6, 1)), folds) == 0.0


def test_blocks_of_time_and_groups_of_people() -> None:
    names = ["a"] * 10 + ["b"] * 5
    np.testing.assert_array_equal(block_folds(names, 5), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4])
    assert block_folds(names, 3).max() == 2
    np.testing.assert_array_equal(group_folds(["a", "a", "b", "c", "c", "d"], 2), [0, 0, 0, 1, 1, 1])


def test_too_little_to_score() -> None:
    made = frames()
    some = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    assert probe(ProbeFrames(**{name: value[: 2 * LENGTH] for name, value in some.items()})) == {}  # two people
    assert probe(ProbeFrames(**{name: value[::LENGTH] for name, value in some.items()})) == {}  # a frame of each
    assert probe(ProbeFrames(**{name: value[:0] for name, value in some.items()})) == {}


def test_the_mean_direction_of_light() -> None:
    single = Light(positions=np.array([[0.0, 3.0, 0.0]]), irradiance=np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(mean_direction(single), [0.0, 1.0, 0.0])
    around = Light(positions=np.concatenate([np.eye(3), -np.eye(3)]), irradiance=np.ones((6, 3)))
    np.testing.assert_allclose(mean_direction(around), 0.0, atol=1e-12)
    weighted = Light(positions=np.array([[2.0, 0, 0], [0, 0, 1.0]]), irradiance=np.array([[3.0] * 3, [1.0] * 3]))
    np.testing.assert_allclose(mean_direction(weighted), [0.75, 0.0, 0.25])
