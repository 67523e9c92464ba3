"""``vrmm fit``: what it takes its inputs for, and what it refuses before any work."""

import json
from pathlib import Path

import pytest

from datasets.errors import VrmmError
from fitting.avatar import Avatar
from prior.weights import save_weights
from tests.fitting.tiny import RENDERING, tiny_model
from tests.fitting.video.clips import film, write_folder, write_lens
from tools.fit import fit

CHANGES = [
    "inversion.steps=2",
    "finetune.locality.image_size=24",
    "image_size=32",
    "threads=1",
    "video.steps=1",
    "video.visits=1",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior (``run``) and the frames of a film with a lens file."""
    folder = tmp_path_factory.mktemp("made")
    model = tiny_model()
    (folder / "run").mkdir()
    save_weights(model, RENDERING, folder / "run")
    write_folder(film(model, 3), folder / "film")
    write_lens(folder / "cameras.json", "film", "frame0.png", "frame1.png")
    return folder


def test_photos_and_videos_are_told_apart(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = [str(made / "film" / f"frame{row}.png") for row in range(2)]
    common = {"prior": made / "run", "cameras": made / "cameras.json", "steps": 1}
    fit([*photos, *CHANGES], out=tmp_path / "photos", expressions="each", **common)
    avatar = Avatar.load(tmp_path / "photos")
    assert avatar.animation is None
    assert len(avatar.solution.z_e) == 2
    fit([str(made / "film"), *CHANGES], out=tmp_path / "video", **common)
    animation = Avatar.load(tmp_path / "video").animation
    assert animation is not None
    assert len(animation) == 3
    shown = capsys.readouterr().out
    assert "the photos are reproduced to" in shown
    assert "3 frames are reproduced to" in shown


def test_inputs_that_do_not_go_together(made: Path, tmp_path: Path) -> None:
    photo, place = str(made / "film" / "frame0.png"), str(made / "film")
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "capture.json").write_text(json.dumps({"schema_version": 0}))
    capture = str(tmp_path / "capture")

    def refused(message: str, inputs: list[str], **options) -> None:
        with pytest.raises(VrmmError, match=message) as caught:
            fit([*inputs, *CHANGES], prior=made / "run", out=tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused("film must be fitted alone", [photo, place])
    refused("--frame and --view choose from a capture", [photo], frame=["s0_talk_000000"])
    refused("--frame and --view choose from a capture", [place], view=["front"])
    refused("is a capture, whose cameras are known", [capture], cameras=made / "cameras.json")
    refused("has schema version 0", [capture], frame=["x"])
    refused("1 to 8 photos, not 0", [])
    refused("--face must be 1 to 1, not 2", [photo], face=2)
    refused(r"landmarker .*absent\.task does not exist", [photo], landmarker=tmp_path / "absent.task")
    refused("clip.mp4 does not exist", [str(tmp_path / "clip.mp4")])
