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
"""Contact sheets of a 3DMM, to judge it by eye: `python examples/morphable_model_contact_sheet.py [3DMM]`.

Writes `out/people.png` (32 random people) and `out/expressions.png` (every expression at full strength, by rows).
"""

import sys
from pathlib import Path

import torch
from facegpt_hub.checkpoints import find_checkpoint
from PIL import Image

from modeling_facegpt import FaceParameters, MorphableModel
from modeling_facegpt.face_parameters import parameter_sizes, select_faces
from modeling_facegpt.files.visualization import draw_in_studio
from modeling_facegpt.person_faces import draw_anybody

SIDE, COLUMNS, PEOPLE = 200, 8, 32
OUTPUT = Path("out")


def zero_parameters(face_model: MorphableModel, count: int) -> FaceParameters:
    return FaceParameters(*(torch.zeros(count, size) for size in parameter_sizes(face_model.config)))


def contact_sheet(face_model: MorphableModel, parameters: FaceParameters, yaws: list[float]) -> Image.Image:
    """All faces in rows; `yaws` (radians) repeat along them."""
    count = len(parameters.identity)
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-count // COLUMNS) * SIDE))
    for face in range(count):
        chosen = select_faces(parameters, slice(face, face + 1))
        picture = draw_in_studio(face_model, chosen, SIDE, yaw=yaws[face % len(yaws)])
        sheet.paste(picture, (face % COLUMNS * SIDE, face // COLUMNS * SIDE))
    return sheet


face_model = MorphableModel.from_pretrained(
    find_checkpoint(sys.argv[1] if len(sys.argv) > 1 else "anny-head"), trust_remote_code=False
)
generator = torch.Generator().manual_seed(0)
people = zero_parameters(face_model, PEOPLE)
code, _ = draw_anybody(generator, face_model, PEOPLE)
people = people._replace(identity=code.identity, albedo=code.albedo)
names = face_model.config.expression_names or []
activations = torch.eye(len(names))
if {"mouthClose", "jawOpen"} <= set(names):  # mouthClose closes what jawOpen opens; alone it says nothing
    activations[names.index("mouthClose"), names.index("jawOpen")] = 1.0
expressions = zero_parameters(face_model, len(names))._replace(expression=activations)

OUTPUT.mkdir(exist_ok=True)
contact_sheet(face_model, people, [0.0, 0.0, 0.4, -0.4]).save(OUTPUT / "people.png")
contact_sheet(face_model, expressions, [0.0]).save(OUTPUT / "expressions.png")
print(f"{OUTPUT}/people.png and {OUTPUT}/expressions.png; expressions, row by row: {', '.join(names)}")
