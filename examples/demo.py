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
"""A face in 3D from a sample photograph: `python examples/demo.py`.

The photograph is scikit-image's `data.astronaut()` (NASA, public domain).
"""

from pathlib import Path

from facegpt_hub.command_line import main
from PIL import Image
from skimage import data

OUTPUT = Path(__file__).parents[1] / "out"
PHOTOGRAPH = OUTPUT / "photograph" / "astronaut.png"


if __name__ == "__main__":
    PHOTOGRAPH.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(PHOTOGRAPH)
    main(["reconstruct", str(PHOTOGRAPH), "-o", str(OUTPUT / "astronaut.glb")])
