"""Who is shown: names on the command line, and everyone between two people."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from fitting.avatar import display_name, prior_sha256
from tests.fitting.tiny import tiny_model
from tests.tools.shows.people import make_avatar, make_run, person
from tools.shows.cameras import CameraPath
from tools.shows.expressions import AsInThePhoto, Rest, Wander, check_performance
from tools.shows.lights import key_light
from tools.shows.moves import CameraMove
from tools.shows.people import Cast, Person, Tour
from tools.shows.stage import Head, Moment, Stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and two avatars of it, and one of another prior."""
    folder = tmp_path_factory.mktemp("people")
    run = make_run(folder / "run")
    make_avatar(folder / "ada", prior_sha256(run), tuned=0.05)
    make_avatar(folder / "stranger", "0" * 64)
    return folder


def look(person: Person) -> torch.Tensor:
    camera = CameraPath.around(person.model, 24).at(0.0)
    return Stage().head(Head.at_rest(person), camera, key_light(30.0, 20.0, total=6.0))


def test_names_on_the_command_line(folder: Path) -> None:
    cast, run = Cast(seed=2), folder / "run"
    model = tiny_model()
    assert torch.equal(cast.person(f"{run}:s3").z_id[0], model.identity_codes.weight[3])
    assert cast.person(str(run)).name == "s0"
    assert [found.name for found in cast.people([str(run)], most=2)] == ["s1", "s3"]
    assert [found.name for found in cast.people([str(run)], most=1)] == ["s0"]
    assert cast.person(str(folder / "ada")).name == "ada"
    assert display_name(folder / "ada" / "avatar") == "ada"
    heads = cast.heads(run, 3)
    assert torch.equal(cast.person(f"{run}:random2").z_id, heads[2].z_id)
    assert torch.equal(Cast(seed=2).person(f"{run}:random").z_id, heads[0].z_id)
    assert not torch.equal(Cast(seed=3).person(f"{run}:random").z_id, heads[0].z_id)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run:s9", "no subject s9; there are s0, s1, s2, s3, s4 and random"),
        ("ada:s1", "is an avatar"),
        ("nothing", "does not exist"),
        ("", "is not a run folder or an avatar"),
    ],
)
def test_wrong_names_say_what_there_is(folder: Path, name: str, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        Cast().person(f"{folder}/{name}" if name else str(folder))


def test_an_avatar_of_another_version_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "avatar.json").write_text('{"format": "vrmm.avatar", "version": 99}')
    with pytest.raises(VrmmError, match="is of version 99; this vrmm reads 1"):
        Cast().person(str(tmp_path / "old"))


def test_a_tour_passes_through_everyone_as_they_are(folder: Path) -> None:
    """Where a tour rests, the pictures are those of the person alone, with their own fine-tuned decoders."""
    cast = Cast()
    people = [cast.person(f"{folder}/run:s1"), cast.person(str(folder / "ada")), cast.person(f"{folder}/run:s2")]
    tour = Tour(people)
    for index, alone in enumerate(people):
        torch.testing.assert_close(look(tour.at(index / 3)), look(alone))
    middle, ends = look(tour.at(0.5 / 3)), [look(people[0]), look(people[1])]
    distance = (ends[0] - ends[1]).norm()
    assert (middle - ends[0]).norm() < distance
    assert (middle - ends[1]).norm() < distance
    assert min(float((middle - end).norm()) for end in ends) > 0.02 * float(distance), "a blend, and not one of the two"
    torch.testing.assert_close(look(people[0]), ends[0], msg="a tour changes nobody's model")


def test_a_tour_is_closed_and_has_no_jumps(folder: Path) -> None:
    people = [Cast().person(f"{folder}/run:{name}") for name in ("s0", "s1", "s4")]
    codes = torch.cat([Tour(people).at(step / 60).z_id for step in range(61)])
    assert torch.equal(codes[0], codes[-1])
    steps = (codes[1:] - codes[:-1]).norm(dim=1)
    longest = max(float((a.z_id - b.z_id).norm()) for a in people for b in people)
    assert float(steps.max()) < 2.2 * longest / 20 / 0.7


def test_people_of_two_priors_cannot_be_mixed(folder: Path) -> None:
    cast = Cast()
    with pytest.raises(VrmmError, match="of different priors"):
        Tour([cast.person(f"{folder}/run:s0"), cast.person(str(folder / "stranger"))])


def test_photos_light_and_face_come_back_as_they_were_fitted(folder: Path) -> None:
    avatar = Cast().person(str(folder / "ada"))
    assert avatar.photo_light is not None
    fitted = make_avatar(folder / "again", "x", tuned=0.05)
    light = torch.tensor(avatar.photo_light.irradiance, dtype=torch.float32)[None]
    toward = torch.tensor(avatar.photo_light.directions, dtype=torch.float32)[None]
    field = avatar.model.light_sphere.radiance(toward, light, torch.eye(3)[None])[0]
    torch.testing.assert_close(field, fitted.solution.light, rtol=1e-4, atol=1e-5)
    assert torch.equal(AsInThePhoto().expression(avatar, 0.5), fitted.solution.z_e)
    with pytest.raises(VrmmError, match="is no avatar"):
        check_performance(AsInThePhoto(), [person(tiny_model())])


def test_wandering_begins_and_ends_at_rest_and_is_repeatable() -> None:
    someone = person(tiny_model())
    wander = Wander.drawn(someone, 5.0, temperature=1.0, seed=3)
    assert torch.equal(wander.expression(someone, 0.0), Rest().expression(someone, 0.0))
    path = torch.cat([wander.expression(someone, step / 100) for step in range(101)])
    assert torch.equal(path[0], path[-1])
    assert path.norm(dim=1).max() > 0.3
    again = Wander.drawn(someone, 5.0, temperature=1.0, seed=3)
    assert torch.equal(again.codes, wander.codes)


def test_cameras_go_where_they_should() -> None:
    model = tiny_model()
    orbit = CameraPath.around(model, 32, move=CameraMove.orbit, elevation=0.0)
    left = orbit.at(0.25).center
    np.testing.assert_allclose(left / np.linalg.norm(left), [1, 0, 0], atol=1e-9)
    sway = CameraPath.around(model, 32, move=CameraMove.sway)
    assert sway.at(0.0).center[0] == pytest.approx(0.0)
    assert sway.at(0.25).center[0] == pytest.approx(-sway.at(0.75).center[0])
    template = model.mesh_decoder.template.numpy().astype(np.float64)
    seen = orbit.at(0.4).project(template)
    assert ((seen > 0) & (seen < 32)).all(), "the whole head is in the picture"
    with pytest.raises(VrmmError, match="elevation"):
        CameraPath.around(model, 32, elevation=90.0)
    with pytest.raises(VrmmError, match="zoom"):
        CameraPath.around(model, 32, zoom=0.0)


def test_geometry_is_decoded_once_while_only_the_light_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().requires_grad_(False)
    someone, calls = person(model), []
    decode = model.decode_geometry
    monkeypatch.setattr(model, "decode_geometry", lambda *codes: calls.append(1) or decode(*codes))
    stage, camera = Stage(), CameraPath.around(model, 16).at(0.0)
    pictures = [
        stage.picture(Moment(heads=[Head.at_rest(someone)], camera=camera, light=key_light(angle, 20.0, total=6.0)))
        for angle in (0.0, 90.0)
    ]
    assert len(calls) == 1
    assert not torch.equal(pictures[0].linear, pictures[1].linear)
    smiling = dataclasses.replace(Head.at_rest(someone), expression=torch.ones_like(someone.z_e))
    stage.picture(Moment(heads=[smiling], camera=camera, light=key_light(0.0, 20.0, total=6.0)))
    assert len(calls) == 2
