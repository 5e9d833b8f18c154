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
"""The settings of a warm-up."""

from dataclasses import dataclass, field
from typing import Any


def _default_vision() -> dict[str, Any]:
    return {
        "model_type": "resnet",
        "image_size": 160,
        "embedding_size": 48,
        "hidden_sizes": [48, 96, 192, 320],
        "depths": [1, 2, 2, 2],
        "layer_type": "basic",
    }


@dataclass
class WarmUpSettings:
    """What is trained, on what, and for how long."""

    output_dir: str = field(metadata={"help": "Folder of the run; a run that is there goes on where it was."})
    portraits: str = field(metadata={"help": "Folder of shards that draw_portraits wrote."})
    held_out_portraits: str = field(metadata={"help": "The same, of another seed, for evaluation."})
    face_model: str = field(default="anny-head", metadata={"help": "The 3DMM that was drawn."})
    vision: dict[str, Any] = field(
        default_factory=_default_vision,
        metadata={"help": "The tower: model_type and settings of a vision model of transformers, and image_size."},
    )
    state_size: int = field(default=576, metadata={"help": "Of the state that the heads read."})
    photographs: list[str] = field(default_factory=list, metadata={"help": "Folders with machine landmarks."})
    photograph_landmarks: list[str] = field(default_factory=list, metadata={"help": "The .npz file of each folder."})
    photograph_exclude: str = field(
        default="[89]\\.",
        metadata={"help": "Names with this regular expression are held out: evaluated, not learned."},
    )
    validation: str | None = field(
        default=None, metadata={"help": "A folder of two photographs of each person, PERSON_03.jpg and PERSON_08.jpg."}
    )
    validation_landmarks: str | None = field(default=None, metadata={"help": "The .npz file of that folder."})
    people_per_batch: int = field(default=12, metadata={"help": "Drawn people, two pictures each."})
    photographs_per_batch: int = field(default=8, metadata={"help": "Beside them."})
    steps: int = field(default=60000, metadata={"help": "In all. More may be added before the rate falls."})
    hours: float | None = field(
        default=None, metadata={"help": "Of one core; stop after so many, with a checkpoint to go on from."}
    )
    learning_rate: float = field(default=1.0e-3, metadata={"help": "Of AdamW, after the first steps."})
    rising_steps: int = field(default=300, metadata={"help": "In which the rate rises from 0."})
    falling_share: float = field(default=0.25, metadata={"help": "Of the steps, at the end: the rate falls to 0."})
    weight_decay: float = field(default=0.05, metadata={"help": "Of AdamW, on matrices."})
    average: float = field(default=0.999, metadata={"help": "Of the moving average of the weights, per step."})
    bf16: bool = field(default=True, metadata={"help": "Compute in bfloat16 where the processor can."})
    evaluation_steps: int = field(default=1000, metadata={"help": "Between evaluations."})
    save_steps: int = field(default=250, metadata={"help": "Between checkpoints."})
    damaged_shards: int = field(default=3, metadata={"help": "How many may be left out."})
    seed: int = field(default=1, metadata={"help": "Of weights, order, crops and all that spoils them."})

    def __post_init__(self) -> None:
        if len(self.photographs) != len(self.photograph_landmarks):
            raise ValueError(
                f"got {len(self.photographs)} folders of photographs and {len(self.photograph_landmarks)} files of "
                "landmarks; give one file for each folder"
            )
        if (self.validation is None) != (self.validation_landmarks is None):
            raise ValueError("got one of validation and validation_landmarks; give both, or none")
        for name in ("people_per_batch", "steps", "evaluation_steps", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"got {name}: {getattr(self, name)}, wanted 1 or more")
