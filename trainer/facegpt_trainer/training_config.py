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

from trl import SFTConfig

from .loss_schedules import check_schedules

# Set so that each group pulls on its numbers about as strongly as the others once faces are roughly in place:
# terms are means over very different counts of numbers (3 of position, 120 of identity).
LOSS_WEIGHTS = {
    "text": 0.3,
    "label_landmarks": 4.0,
    "label_shape": 2.0,
    "code_identity": 1.5,
    "code_albedo": 0.6,
    "code_expression": 2.0,
    "code_light": 0.75,
    "code_rotation": 1.5,
    "code_translation": 1.0,
    "code_log_focal": 0.05,
    "code_gaze": 0.2,
    "code_likelihood": 0.05,
    "landmarks": 8.0,
    "photometric": 4.0,
    "prior_identity": 0.01,
    "prior_albedo": 0.01,
    "prior_expression": 0.005,
    "prior_light": 0.01,
    "prior_log_focal": 0.02,
    "light_colour": 0.1,
    "reference": 0.3,
    "edit_gates": 0.5,
    "edit_change": 1.0,
    "flow": 1.0,
}


DIALOGUE_KINDS = ("looks", "pictures", "texts", "shapes")


@dataclass
class FaceGPTTrainingConfig(SFTConfig):
    """`trl.SFTConfig` and the settings of faces. Raises `ValueError` on settings that contradict each other."""

    model: str = field(default="nano", metadata={"help": "Checkpoint to start from; `nano` builds an untrained one."})
    face_model: str = field(default="hub/anny-head", metadata={"help": "The 3DMM of an untrained checkpoint."})
    pictures: int = field(default=100_000, metadata={"help": "Pictures to train on, drawn or cut afresh each."})
    warm_up_pictures: int = field(
        default=0, metadata={"help": "Renders on which an untrained checkpoint's vision tower is trained alone first."}
    )
    train_vision: bool = field(
        default=True,
        metadata={"help": "Train the vision tower too; a warmed-up one had better wait for the language model."},
    )
    data_seed: int = field(default=0, metadata={"help": "Seed of the stream of pictures."})
    photographs: str | None = field(default=None, metadata={"help": "Folder of photographs to mix in."})
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
            "help": "Shares of each batch's rows: `looks` (pictures and photographs whose faces are asked for), "
            "`pictures`, `texts` and `shapes` (dialogues). Empty: looks alone."
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

    def __post_init__(self):
        unknown = set(self.loss_weights) - set(LOSS_WEIGHTS)
        if unknown:
            raise ValueError(
                f"got loss_weights for {sorted(unknown)}, which are no loss terms; there are {sorted(LOSS_WEIGHTS)}"
            )
        check_schedules(self.loss_weight_schedules, LOSS_WEIGHTS)
        if self.image_grid_steps < 0:
            raise ValueError(f"got image_grid_steps={self.image_grid_steps}, wanted a number of at least 0")
        if not 0.0 <= self.photograph_share <= 1.0:
            raise ValueError(f"got photograph_share={self.photograph_share}, wanted a share between 0 and 1")
        if self.photograph_share and not self.photographs:
            raise ValueError(
                f"got photograph_share={self.photograph_share} without photographs; name a folder of them"
            )
        self._check_dialogue_shares()
        # The data set is a list of numbers that the collator turns into model inputs.
        self.dataset_kwargs = {"skip_prepare_dataset": True}
        self.average_tokens_across_devices = False
        super().__post_init__()

    def _check_dialogue_shares(self) -> None:
        unknown = set(self.dialogue_shares) - set(DIALOGUE_KINDS)
        if unknown:
            raise ValueError(f"got dialogue_shares for {sorted(unknown)}; there are {list(DIALOGUE_KINDS)}")
        shares = self.dialogue_shares.values()
        if shares and (min(shares) < 0 or sum(shares) <= 0):
            raise ValueError(f"got dialogue_shares={self.dialogue_shares}, wanted positive numbers")

    def all_loss_weights(self) -> dict[str, float]:
        """The defaults with this run's changes."""
        return LOSS_WEIGHTS | self.loss_weights
