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
"""Facial expressions by name, as activations of the 52 ARKit shapes.

`EMOTIONS` are whole-face prototypes in the spirit of Ekman and Friesen's Facial Action Coding System (1978), `ACTIONS`
single movements. In a recipe, `L/R` stands for both sides. Left and right are the subject's own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

EMOTIONS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmileL/R": 0.85, "cheekSquintL/R": 0.5, "eyeSquintL/R": 0.3, "mouthDimpleL/R": 0.2},
    "amused": {
        "mouthSmileL/R": 0.9,
        "jawOpen": 0.45,
        "cheekSquintL/R": 0.8,
        "mouthUpperUpL/R": 0.5,
        "mouthLowerDownL/R": 0.3,
        "eyeSquintL/R": 0.6,
    },
    "surprised": {"browInnerUp": 0.9, "browOuterUpL/R": 0.9, "eyeWideL/R": 0.8, "jawOpen": 0.45},
    "angry": {
        "browDownL/R": 0.95,
        "noseSneerL/R": 0.4,
        "mouthPressL/R": 0.3,
        "mouthFrownL/R": 0.3,
        "eyeSquintL/R": 0.4,
    },
    "sad": {"browInnerUp": 0.9, "mouthFrownL/R": 0.9, "mouthShrugLower": 0.4, "eyeSquintL/R": 0.2},
    "afraid": {
        "browInnerUp": 0.8,
        "browDownL/R": 0.25,
        "eyeWideL/R": 0.9,
        "mouthStretchL/R": 0.9,
        "jawOpen": 0.15,
    },
    "disgusted": {"noseSneerL/R": 0.9, "mouthUpperUpL/R": 0.5, "browDownL/R": 0.5, "mouthFrownL/R": 0.4},
    "in pain": {
        "browDownL/R": 0.8,
        "eyeBlinkL/R": 0.6,
        "eyeSquintL/R": 0.9,
        "cheekSquintL/R": 0.8,
        "noseSneerL/R": 0.5,
        "mouthStretchL/R": 0.8,
        "mouthUpperUpL/R": 0.4,
    },
    "tired": {"eyeBlinkL/R": 0.55, "jawOpen": 0.1, "mouthFrownL/R": 0.15},
    "doubtful": {"browOuterUpLeft": 0.9, "browDownRight": 0.8, "mouthLeft": 0.5, "mouthPressL/R": 0.3},
    "loving": {"mouthPucker": 0.9, "mouthFunnel": 0.3},
}
CALM = "calm"  # what a face without any of them is called

ACTIONS: dict[str, dict[str, float]] = {
    "open mouth": {"jawOpen": 0.7},
    "closed eyes": {"eyeBlinkL/R": 1.0},
    "left wink": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5, "mouthSmileLeft": 0.25},
    "right wink": {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.5, "mouthSmileRight": 0.25},
    "raised brows": {"browInnerUp": 0.9, "browOuterUpL/R": 0.9},
    "lowered brows": {"browDownL/R": 0.95},
    "pursed lips": {"mouthPucker": 0.9},
    "puffed cheeks": {"cheekPuff": 0.95},
}


def recipe_activations(recipe: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """Activations `(K,)` of a recipe over a 3DMM's expression `names`; shapes that it lacks are left out."""
    activations = torch.zeros(len(names))
    for name, value in recipe.items():
        for side in ("Left", "Right") if name.endswith("L/R") else ("",):
            shape = name.removesuffix("L/R") + side
            if shape in names:
                activations[list(names).index(shape)] = value
    return activations
