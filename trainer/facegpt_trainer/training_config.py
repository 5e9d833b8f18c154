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
"""Settings of a training run: TRL's, and those of faces. A recipe is a YAML file of them."""

from dataclasses import dataclass, field
from typing import Any

from trl import SFTConfig

from .adapters import check_lora
from .loss_schedules import check_schedules
from .loss_weights import LOSS_WEIGHTS
from .recipe_checks import check_names
from .recipe_ranges import check_ranges, check_weights

DIALOGUE_KINDS = (
    "looks",
    "pictures",
    "found",
    "shapes",
    "descriptions",
    "edits",
    "questions",
    "requests",
    "answers",
    "faces",
)


@dataclass
class FaceGPTTrainingConfig(SFTConfig):
    """`trl.SFTConfig` and the settings of faces. Raises `ValueError` on settings that contradict each other."""

    model: str = field(default="nano", metadata={"help": "Checkpoint to start from; `nano` builds an untrained one."})
    vlm: str | None = field(
        default=None,
        metadata={"help": "Instead of `model`: the vision-language model that becomes a FaceGPT, with new heads."},
    )
    face_model: str = field(
        default="anny-head", metadata={"help": "The 3DMM of an untrained checkpoint, or of one made from `vlm`."}
    )
    render_size: int = field(
        default=112,
        metadata={
            "help": "Side in pixels of the pictures of a checkpoint made from `vlm`; best what its tower reads."
        },
    )
    lora: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "Train adapters of the language model alone, the heads and the row of `<FACE>` whole; these are "
            "all that is saved. Settings of `peft.LoraConfig`, such as `r` and `lora_alpha`. Empty: everything is "
            "trained."
        },
    )
    train_albedo: bool = field(
        default=False, metadata={"help": "Learn mean and basis of the 3DMM's albedo from photographs."}
    )
    pictures: int = field(default=100_000, metadata={"help": "Pictures to train on, drawn or cut afresh each."})
    warm_up_pictures: int = field(
        default=0, metadata={"help": "Renders on which an untrained checkpoint's vision tower is trained alone first."}
    )
    train_vision: bool = field(
        default=True,
        metadata={"help": "Train the vision tower too; a warmed-up one had better wait for the language model."},
    )
    data_seed: int = field(default=0, metadata={"help": "Seed of the stream of pictures."})
    draw_size: int | None = field(
        default=None,
        metadata={
            "help": "Pictures drawn together, `per_device_train_batch_size` by default. With the same number, one "
            "process and several see the same pictures in their batches."
        },
    )
    photographs: str | None = field(
        default=None,
        metadata={
            "help": "Folder of photographs to mix in: image files, held in memory, or Parquet or WebDataset shards of "
            "any number, read as they are needed; their column `landmarks` is used."
        },
    )
    photograph_column: str = field(default="image", metadata={"help": "Of the images of shards."})
    most_photograph_problems: int = field(
        default=100, metadata={"help": "Photographs that may be damaged and are left out; one more ends the run."}
    )
    photograph_landmarks: str | None = field(
        default=None, metadata={"help": "`.npz` with `files` and `mediapipe478` in pixels: machine landmarks."}
    )
    photograph_exclude: str | None = field(
        default=None, metadata={"help": "Regular expression; photographs whose name contains it are left out."}
    )
    photograph_share: float = field(default=0.0, metadata={"help": "Share of photographs in each batch, in [0, 1]."})
    use_landmarks: bool = field(
        default=True,
        metadata={
            "help": "Compare landmarks of photographs; if not, boxes come from the checkpoint's own first look."
        },
    )
    use_images: bool = field(default=True, metadata={"help": "Compare photographs with renders."})
    dialogue_shares: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "Shares of the batches: `looks` (pictures and photographs whose faces are asked for), and "
            "dialogues: `pictures`, `found` (on the faces of a picture, without the picture), `shapes` (no faces), "
            "`descriptions` (of faces to make), `edits` (one each), `questions` (on given faces), `requests` (for "
            "faces: descriptions and situations), `answers` (in words alone: unknown words, what is declined, small "
            "talk), `faces` (given and edited). "
            "Empty: looks alone."
        },
    )
    dialogue_hidden_size: int | None = field(
        default=None,
        metadata={"help": "Width of the parts for dialogue about faces, which the start gets if it lacks them."},
    )
    loss_weights: dict[str, float] = field(
        default_factory=dict, metadata={"help": "Weights of loss terms that differ from the defaults."}
    )
    loss_weight_schedules: dict[str, dict[int, float]] = field(
        default_factory=dict,
        metadata={
            "help": "Weights of loss terms that change, by optimizer step and linear in between, such as "
            "`photometric: {0: 0.0, 1000: 6.0}`; they take the place of `loss_weights`."
        },
    )
    image_grid_steps: int = field(
        default=0,
        metadata={
            "help": "Every so many steps, a picture of photograph, render, error and mask, in the run's folder "
            "`image_grid` and wherever `report_to` shows images; 0: none."
        },
    )

    # What TRL and Trainer default to is for billions of parameters.
    bf16: bool | None = field(default=False, metadata={"help": "Use bfloat16 autocast."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})
    max_length: int | None = field(default=None, metadata={"help": "No truncation: it would cut image tokens."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator reads them."})
    train_sampling_strategy: str = field(
        default="sequential", metadata={"help": "Numbers in order: what they stand for is random already."}
    )

    def __post_init__(self):
        check_names(self.loss_weights, LOSS_WEIGHTS, "loss_weights", "loss terms")
        check_schedules(self.loss_weight_schedules, LOSS_WEIGHTS)
        check_ranges(self)
        check_weights(self.loss_weights, "loss_weights")
        if self.photograph_share and not self.photographs:
            raise ValueError(
                f"got photograph_share={self.photograph_share} without photographs; name a folder of them"
            )
        if self.draw_size is not None and self.per_device_train_batch_size % self.draw_size:
            raise ValueError(
                f"got draw_size={self.draw_size} for batches of {self.per_device_train_batch_size}; give a number "
                "that divides per_device_train_batch_size"
            )
        self._check_start()
        self._check_dialogue_shares()
        # The data set is a list of numbers that the collator turns into model inputs.
        self.dataset_kwargs = {"skip_prepare_dataset": True}
        self.average_tokens_across_devices = False
        super().__post_init__()

    def _check_start(self) -> None:
        check_lora(self.lora)
        if self.vlm and self.model != "nano":
            raise ValueError(f"got both vlm={self.vlm!r} and model={self.model!r}; name the one to start from")
        if self.train_albedo and not (self.photographs and self.use_images):
            raise ValueError("got train_albedo without photographs to learn it from; name a folder and use_images")
        if self.train_albedo and self.lora:
            raise ValueError("got train_albedo and lora, whose adapters hold no 3DMM; learn the albedo without lora")

    def _check_dialogue_shares(self) -> None:
        check_names(self.dialogue_shares, DIALOGUE_KINDS, "dialogue_shares", "kinds of dialogue")
        check_weights(self.dialogue_shares, "dialogue_shares")
        if self.dialogue_shares and sum(self.dialogue_shares.values()) <= 0:
            raise ValueError(f"got dialogue_shares={self.dialogue_shares}, of which one must be more than 0")

    def all_loss_weights(self) -> dict[str, float]:
        """The defaults with this run's changes."""
        return LOSS_WEIGHTS | self.loss_weights
