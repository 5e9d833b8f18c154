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
"""Settings of a run of policy optimisation: TRL's, and those of faces. A recipe is a YAML file of them."""

from dataclasses import dataclass, field

from trl import GRPOConfig

from modeling_facegpt.flow_head import GUIDANCE_SCALE

from ..recipe_checks import check_names
from ..recipe_ranges import check_ranges
from .face_policy import ExplorationSettings

# A caricature has every property: being a likely person weighs as much as the properties.
REWARD_WEIGHTS = {
    "format": 0.5,
    "face_count": 0.5,
    "attribute": 1.0,
    "likely_person": 1.0,
    "landmark": 0.75,
    "photometric": 0.5,
}
_NOT_FOR_FACES = {
    "beta": 0.0,
    "use_vllm": False,
    "use_transformers_continuous_batching": False,
    "top_entropy_quantile": 1.0,
}


@dataclass
class FacePolicyConfig(GRPOConfig):
    """`trl.GRPOConfig` and the settings of faces. Raises `ValueError` on settings that make no sense."""

    model: str = field(default="runs/nano_chat", metadata={"help": "Checkpoint to start from, trained on dialogue."})
    requests: int = field(default=2000, metadata={"help": "Different requests for faces in words to train on."})
    looks: int = field(default=0, metadata={"help": "Different pictures cut from photographs to train on."})
    data_seed: int = field(default=0, metadata={"help": "Seed of requests and pictures."})
    photographs: str | None = field(default=None, metadata={"help": "Folder of photographs."})
    photograph_landmarks: str | None = field(
        default=None, metadata={"help": "`.npz` with `files` and `mediapipe478` in pixels: machine landmarks."}
    )
    photograph_exclude: str | None = field(
        default=None, metadata={"help": "Regular expression; photographs whose name contains it are held out."}
    )
    face_reward_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": f"Weights of rewards that differ from {REWARD_WEIGHTS}; one of weight 0 is left out."},
    )
    exploration_steps: int = field(
        default=10, metadata={"help": "Steps from noise to a face while it explores; all but the last are drawn."}
    )
    exploration_noise: float = field(
        default=0.7,
        metadata={"help": "Fresh noise in each of these steps, in (0, 1]; 1 is as much as diffusion draws anew."},
    )
    guidance_scale: float = field(
        default=GUIDANCE_SCALE, metadata={"help": "Of faces from words, while it explores and when it is evaluated."}
    )
    train_only: str | None = field(
        default=None,
        metadata={
            "help": "Regular expression; weights whose name contains it are trained. Default: all but the vision "
            "tower's. A few thousand rewards say much of few weights, and of many little but noise."
        },
    )
    evaluation_tasks: int = field(
        default=200, metadata={"help": "Held-out requests (and, with `looks`, as many pictures) for the report."}
    )

    # What TRL and Trainer default to is for billions of parameters and long answers.
    bf16: bool | None = field(default=False, metadata={"help": "Use bfloat16 autocast."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})
    max_completion_length: int | None = field(default=6, metadata={"help": "Tokens of an answer."})

    def __post_init__(self):
        check_names(self.face_reward_weights, REWARD_WEIGHTS, "face_reward_weights", "rewards")
        for name, only in _NOT_FOR_FACES.items():
            if getattr(self, name) != only:
                raise ValueError(
                    f"got {name}={getattr(self, name)}, which does not know of faces that are drawn; leave it {only}"
                )
        check_ranges(self)
        self._check_tasks()
        super().__post_init__()

    def _check_tasks(self) -> None:
        if not self.requests + self.looks:
            raise ValueError("got requests=0 and looks=0; wanted counts, of which something is to be done")
        if self.looks and not (self.photographs and self.photograph_landmarks):
            raise ValueError(f"got looks={self.looks} without photographs and photograph_landmarks; name both")

    def all_reward_weights(self) -> dict[str, float]:
        """The defaults with this run's changes, without those of weight 0."""
        weights = REWARD_WEIGHTS | self.face_reward_weights
        return {name: weight for name, weight in weights.items() if weight}

    def exploration(self) -> ExplorationSettings:
        """How faces from words are drawn in training."""
        return ExplorationSettings(self.exploration_steps, self.exploration_noise, self.guidance_scale)
