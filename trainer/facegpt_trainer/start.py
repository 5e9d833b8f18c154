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
"""What a training starts from: an untrained nano, a checkpoint, or a vision-language model that becomes a FaceGPT."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import locate_checkpoint
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .checkpoint import DIALOGUE_PARTS, build_untrained, load_saved
from .checkpoint_checks import check_face_model

START_FILE = "start.json"


class Start(NamedTuple):
    """All that the first weights follow from; fields as those of `FaceGPTTrainingConfig`."""

    model: str = "nano"
    vlm: str | None = None
    face_model: str = "anny-head"
    render_size: int = 112
    dialogue_hidden_size: int | None = None
    seed: int = 42
    dtype: str = "float32"

    @classmethod
    def of(cls, config: Any) -> "Start":
        """That of a recipe. Weights that only adapters move are held in half the memory where the recipe computes in
        bfloat16."""
        given = {name: getattr(config, name) for name in cls._fields if name != "dtype"}
        return cls(**given, dtype="bfloat16" if config.lora and config.bf16 else "float32")

    def write(self, run: Path) -> None:
        """Keep it beside the weights of a run, which are not whole without it where only adapters are saved."""
        run.mkdir(parents=True, exist_ok=True)
        found = {name: _absolute(getattr(self, name)) for name in ("model", "vlm", "face_model")}
        (run / START_FILE).write_text(json.dumps(self._replace(**found)._asdict(), indent=1))

    @classmethod
    def read(cls, run: Path) -> "Start":
        """That of a run, or of one of its checkpoints.

        Raises:
            ValueError: if there is none.
        """
        for directory in (run, run.parent):
            if (directory / START_FILE).is_file():
                return cls(**json.loads((directory / START_FILE).read_text()))
        raise ValueError(f"got {run}, which has no {START_FILE}; name a run with adapters or one of its checkpoints")


def load_start(start: Start) -> tuple[FaceGPTForConditionalGeneration, FaceGPTProcessor]:
    """The model to start from and its processor. Parts that the start lacks are drawn by its seed.

    Raises:
        ValueError: if the checkpoint cannot be read, or is of another 3DMM than the one that is named.
    """
    start = start._replace(**{name: locate_checkpoint(getattr(start, name)) for name in ("model", "face_model")})
    if start.vlm is None and start.model == "nano":
        return build_untrained(start.face_model, seed=start.seed)
    settings: dict[str, Any] = {}
    if start.dialogue_hidden_size is not None:
        settings["dialogue_hidden_size"] = start.dialogue_hidden_size
    dtype = getattr(torch, start.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start.seed)
        if start.vlm is None:
            model, processor = load_saved(start.model, dtype, new_parts=DIALOGUE_PARTS, **settings)
            if start.face_model != locate_checkpoint(Start().face_model):
                check_face_model(start.model, model.config, start.face_model)
            return model, processor
        own = AutoProcessor.from_pretrained(start.vlm, trust_remote_code=False)
        processor = FaceGPTProcessor.from_vlm_processor(own, start.render_size)
        vlm = AutoModelForImageTextToText.from_pretrained(start.vlm, dtype=dtype, trust_remote_code=False)
        return FaceGPTForConditionalGeneration.from_vlm(
            vlm, start.face_model, processor=processor, **settings
        ), processor


def _absolute(name: str | None) -> str | None:
    """A directory by its whole path, so that it is found from elsewhere; names on the Hub stay."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name
