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
"""How many dialogues without pictures are drawn in a second on one core: `python -m tests.benchmarks.dialogues`."""

import statistics
import time
from pathlib import Path

import torch
from facegpt_trainer.grammar.text_dialogues import TextGrammar

from modeling_facegpt import MorphableModel
from modeling_facegpt.face_measurements import FaceMeasurer

BATCHES, DIALOGUES = 20, 64
FACE_MODEL = Path(__file__).parents[2] / "hub" / "anny-head"


def main() -> None:
    torch.set_num_threads(1)
    face_model = MorphableModel.from_pretrained(FACE_MODEL, dtype=torch.float32).eval()
    grammar = TextGrammar(FaceMeasurer(face_model))
    seconds = []
    for number in range(BATCHES):
        start = time.perf_counter()
        grammar.batch(number, DIALOGUES)
        seconds.append(time.perf_counter() - start)
    print(f"{DIALOGUES / statistics.median(seconds):.0f}")


if __name__ == "__main__":
    main()
