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
"""The library in ten lines: `python examples/reconstruct_photo.py photo.jpg`."""

import sys
from pathlib import Path

from facegpt_hub.checkpoints import load_checkpoint

from modeling_facegpt.files.export import encode_mesh
from modeling_facegpt.files.result_sheet import result_sheet
from modeling_facegpt.photograph import read_photograph

photograph = read_photograph(sys.argv[1])
_, model, processor = load_checkpoint("facegpt-nano")
[faces] = model.reconstruct([photograph.image], processor, focals=[photograph.focal])
print(f"{len(faces.probability)} faces, at {faces.parameters.translation.tolist()} metres from the camera")
if len(faces.probability):
    Path("face.glb").write_bytes(encode_mesh(model.face_model, faces, ".glb"))
    result_sheet(photograph.image, model.face_model, faces).save("face.png")
