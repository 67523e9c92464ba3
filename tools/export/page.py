"""One HTML file that shows splats, turns them and lights them anew, without a server or a network."""

import base64
import dataclasses
import html
import json
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from prior.cameras import CameraBatch
from prior.metrics import display
from tools.export.response import TERMS_OF_VIEW, Response
from tools.export.source import Source
from tools.export.splats import TERMS, Splats, render_splats

HERE = Path(__file__).parent
FACTS, DATA = "facts", "data"
_ELEMENT = '<script type="application/octet-stream" id="{name}">(.*?)</script>'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows.

    Attributes:
        splats: without colours of their own.
        response: to light, in the order of the splats.
    """

    splats: Splats
    response: Response

    def render(
        self, light: Float[Tensor, "L 3"], cameras: CameraBatch
    ) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"]]:
        """What the page draws for one camera: display values over black, and alpha."""
        view = torch.nn.functional.normalize(self.splats.center - cameras.centers[0], dim=-1)
        return render_splats(self.splats, cameras, display(self.response.seen_from(light, view)))


def write_page(out: Path, splats: Splats, response: Response, source: Source, title: str) -> None:
    """Write the page whole or not at all.

    Numbers are quantised: positions to 16 bits of the bounding box, everything else to 8 bits; the answer to light
    as shares of its largest value for each splat, once for the mean over the views and once for what varies.
    """
    facts, data = _packed(splats, response)
    facts |= {
        "directions": source.model.light_sphere.directions.tolist(),
        "triangles": source.model.light_sphere.triangles.tolist(),
        "light": source.light.tolist(),
        "distance": source.distance,
        "radius": source.rendering.radius,
    }
    template = string.Template((HERE / "page.html").read_text())
    text = template.substitute(
        title=html.escape(title),
        style=(HERE / "page.css").read_text(),
        program=(HERE / "viewer.js").read_text(),
        facts=base64.b64encode(json.dumps(facts, allow_nan=False).encode()).decode(),
        data=base64.b64encode(data).decode(),
    )
    atomic_write_bytes(out, text.encode())


def read_page(path: Path) -> Page:
    """What a page shows, as its own program reads it. Raises VrmmError where it is no such page."""
    text = Path(path).read_text(errors="replace")
    found = [re.search(_ELEMENT.format(name=name), text, re.DOTALL) for name in (FACTS, DATA)]
    if found[0] is None or found[1] is None:
        raise VrmmError(f"{path} is not a page that vrmm export has written")
    facts, data = (base64.b64decode(match[1]) for match in found if match)
    return _unpacked(json.loads(facts), data)


def _packed(splats: Splats, response: Response) -> tuple[dict[str, Any], bytes]:
    low, high = splats.center.amin(dim=0), splats.center.amax(dim=0)
    scale = splats.scale.log()
    thin, thick = float(scale.min()), float(scale.max()) + 1e-6
    brightest = response.gain.amax(dim=0).clamp(min=1e-6)
    largest = torch.stack(
        [response.answer[:, :1].abs().amax(dim=(1, 2)), response.answer[:, 1:].abs().amax(dim=(1, 2))], dim=1
    ).clamp(min=1e-12)
    of_term = largest[:, [0, *[1] * (TERMS_OF_VIEW - 1)], None]
    columns = [
        _bits((splats.center - low) / (high - low).clamp(min=1e-9), 65535, "<u2"),
        _bits((scale - thin) / (thick - thin), 255, "u1"),
        _bits(splats.rotation * 0.5 + 0.5, 255, "u1"),
        _bits(splats.opacity, 255, "u1"),
        _bits((response.gain / brightest).sqrt(), 255, "u1"),
        largest.numpy().astype("<f4"),
        (response.answer / of_term * 127.0).round().numpy().astype("i1"),
    ]
    facts = {
        "count": len(splats),
        "lights": response.answer.shape[2],
        "low": low.tolist(),
        "high": high.tolist(),
        "scale": [thin, thick],
        "gain": brightest.tolist(),
    }
    return facts, b"".join(column.tobytes() for column in columns)


def _bits(values: Tensor, top: int, kind: str) -> np.ndarray:
    return (values.clamp(0.0, 1.0) * top).round().numpy().astype(kind)


def _unpacked(facts: dict[str, Any], data: bytes) -> Page:
    count, lights = facts["count"], facts["lights"]
    layout = (("<u2", 3), ("u1", 3), ("u1", 4), ("u1", 1), ("u1", 3), ("<f4", 2), ("i1", TERMS_OF_VIEW * lights))
    parts, offset = [], 0
    for kind, width in layout:
        part = np.frombuffer(data, kind, count * width, offset)
        offset += part.nbytes
        parts.append(torch.tensor(part.astype(np.float32)).reshape(count, width))
    place, scale, rotation, opacity, gain, largest, answer = parts
    low, high, brightest = (torch.tensor(facts[name]) for name in ("low", "high", "gain"))
    thin, thick = facts["scale"]
    of_term = largest[:, [0, *[1] * (TERMS_OF_VIEW - 1)], None]
    splats = Splats(
        center=low + (high - low) * place / 65535.0,
        normal=torch.zeros(count, 3),
        rotation=torch.nn.functional.normalize(rotation / 127.5 - 1.0, dim=-1),
        scale=(thin + (thick - thin) * scale / 255.0).exp(),
        opacity=opacity[:, 0] / 255.0,
        harmonics=torch.zeros(count, TERMS, 3),
    )
    nobody = torch.zeros(0, count)
    response = Response(
        gain=brightest * (gain / 255.0) ** 2,
        answer=answer.reshape(count, TERMS_OF_VIEW, lights) / 127.0 * of_term,
        seen=nobody,
        directions=torch.zeros(0, 3),
    )
    return Page(splats=splats, response=response)
