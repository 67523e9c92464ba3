"""Small proofs that a library works here. ``python -m tools.probes NAME`` runs one; ``vrmm doctor`` runs all.

A probe returns what it found in a few words and raises whatever the library raises. Each runs in a process of its
own, because a library built for another processor does not raise, it dies.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

PREFIX = "found: "
"""Begins the one line of output that counts; libraries print lines of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """How to try a library, and how to mend it.

    Attributes:
        title: what people call it.
        run: tries it and returns what was found.
        remedy: one line.
        needed: vrmm does not work without it.
    """

    title: str
    run: Callable[[], str]
    remedy: str
    needed: bool = True


def shadowing_package() -> Path | None:
    """Where ``import datasets`` leads when that is not our package, else None."""
    spec = importlib.util.find_spec("datasets")
    ours = Path(__file__).resolve().parent.parent / "datasets"
    found = Path(spec.origin).resolve().parent if spec is not None and spec.origin is not None else Path("nowhere")
    return None if found == ours else found


def probe_torch() -> str:
    """Imports torch, multiplies two matrices, and says whether there is a GPU."""
    import torch

    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if not (2, 11) <= release < (2, 14):
        raise RuntimeError(f"torch {torch.__version__} is not >=2.11,<2.14")
    torch.testing.assert_close(torch.eye(3) @ torch.ones(3, 3), torch.ones(3, 3))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{torch.__version__} ({device})"


def probe_cuda() -> str:
    """Multiplies two matrices on the GPU and says whether its raymarching kernels can run."""
    import torch

    if torch.version.cuda is None:
        raise RuntimeError(f"torch {torch.__version__} is built without CUDA")
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch for CUDA {torch.version.cuda} finds no GPU; is the driver as new?")
    ones = torch.ones(3, 3, device="cuda")
    torch.testing.assert_close((torch.eye(3, device="cuda") @ ones).cpu(), torch.ones(3, 3))
    from prior.raymarch.triton import problem

    if problem():
        raise RuntimeError(problem())
    return f"torch for CUDA {torch.version.cuda}, Triton {importlib.metadata.version('triton')}"


def probe_torchvision() -> str:
    """Not used by vrmm itself, but one built for another torch breaks libraries that look for it."""
    if importlib.util.find_spec("torchvision") is None:
        return "not installed (not needed)"
    return importlib.import_module("torchvision").__version__


def probe_deepspeed() -> str:
    """Imports DeepSpeed, which inspects torch and the machine."""
    import deepspeed

    return deepspeed.__version__


def probe_mitsuba() -> str:
    """Renders a 4×4 image of a sphere."""
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    scene = mitsuba.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path"},
            "sphere": {"type": "sphere", "center": [0.0, 0.0, 3.0]},
            "lamp": {"type": "constant"},
            "camera": {"type": "perspective", "film": {"type": "hdrfilm", "width": 4, "height": 4}},
        }
    )
    import numpy as np

    image = np.array(mitsuba.render(scene, spp=4))
    if image.shape[:2] != (4, 4) or not (image > 0).all():
        raise RuntimeError("scalar_rgb rendered a wrong image")
    return f"{mitsuba.__version__} renders (scalar_rgb)"


def probe_kernel() -> str:
    """Loads the C++ kernels, compiling them if this is the first time."""
    import prior.assemble.cpu
    import prior.raymarch.cpu
    from prior.native import cache_folder

    prior.assemble.cpu.kernel()
    prior.raymarch.cpu.kernel()
    return f"compiled, in {cache_folder()}"


def probe_opencv() -> str:
    """Encodes and decodes a 16-bit PNG."""
    import cv2
    import numpy as np

    image = np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 1000
    encoded = cv2.imencode(".png", image)[1]
    np.testing.assert_array_equal(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), image)
    return cv2.__version__


def probe_webdataset() -> str:
    """Imports WebDataset."""
    import webdataset

    return webdataset.__version__


def probe_video() -> str:
    """Encodes two frames the way browsers play them: H.264, yuv420p."""
    import io

    import av
    import numpy as np

    with av.open(io.BytesIO(), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for frame in [av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")] * 2 + [None]:
            container.mux(stream.encode(frame))
    return f"libx264 in PyAV {av.__version__}"


REINSTALL = "install the libraries again: rm -rf .venv && make setup"

PROBES = {
    "torch": Probe(title="torch", run=probe_torch, remedy='pip install "torch>=2.11,<2.14"'),
    "torchvision": Probe(
        title="torchvision",
        run=probe_torchvision,
        remedy="pip uninstall torchvision, or install the one that belongs to this torch",
        needed=False,
    ),
    "kernel": Probe(
        title="Rendering kernel",
        run=probe_kernel,
        remedy="mend the compiler, or name a folder that can be written in VRMM_CACHE; rendering is slow until then",
        needed=False,
    ),
    "deepspeed": Probe(title="DeepSpeed", run=probe_deepspeed, remedy=REINSTALL),
    "mitsuba": Probe(title="Mitsuba", run=probe_mitsuba, remedy="pip install --force-reinstall mitsuba drjit"),
    "opencv": Probe(
        title="OpenCV",
        run=probe_opencv,
        remedy="pip uninstall opencv-python opencv-python-headless && pip install opencv-python-headless",
    ),
    "webdataset": Probe(title="WebDataset", run=probe_webdataset, remedy=REINSTALL),
    "video": Probe(title="H.264 encoder", run=probe_video, remedy="pip install --force-reinstall av", needed=False),
}

ASKED_FOR = {"cuda": probe_cuda}
"""Probes that the doctor runs only where there is something to try."""


if __name__ == "__main__":
    print(PREFIX + (ASKED_FOR.get(sys.argv[1]) or PROBES[sys.argv[1]].run)())
