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
"""Checkpoints to start from: untrained ones, and the last whole one of a run that was stopped."""

import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME

from modeling_facegpt.configuration_facegpt import FaceGPTConfig
from modeling_facegpt.files.weight_check import weight_differences
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .nano import build_nano_vlm

NANO_HEAD_SIZE = 512
DIALOGUE_PARTS = ("face_encoder", "reference_pointer", "edit_head", "flow_head")
WARM_UP = "vision_warm_up"  # directory of its checkpoints in that of a run

logger = logging.getLogger(__name__)


def load_saved(
    name: str, dtype: torch.dtype = torch.float32, *, new_parts: Sequence[str] = (), **settings: Any
) -> tuple[FaceGPTForConditionalGeneration, FaceGPTProcessor]:
    """A checkpoint and its processor, to be trained or used by a run.

    Args:
        name (`str`): a directory, or a name on the Hub.
        dtype (`torch.dtype`): of the weights.
        new_parts (sequence of `str`): names of parts of the model that the checkpoint may lack as a whole; they get
            random weights.
        settings: of the configuration, in place of the checkpoint's own.

    Raises:
        ValueError: if it is not there, cannot be read, or its weights are not those that its configuration asks for.
    """
    try:
        # Without one, a model of the default configuration would be built, with billions of random weights.
        if Path(name).is_dir() and not (Path(name) / CONFIG_NAME).is_file():
            raise OSError(f"it has no {CONFIG_NAME}")
        loaded: Any = FaceGPTForConditionalGeneration.from_pretrained(
            name,
            dtype=dtype,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **settings,
        )
        processor = FaceGPTProcessor.from_pretrained(name, trust_remote_code=False)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"got {name}, which cannot be read here ({str(error).splitlines()[0]}); name a directory or a checkpoint "
            "on the Hub"
        ) from error
    model, report = loaded
    if different := weight_differences(model, report, new_parts):
        raise ValueError(
            f"got {name}, which does not fit its configuration: {different}; name a checkpoint that was written whole"
        )
    return model, processor


def build_untrained(face_model: str, *, seed: int = 0) -> tuple[FaceGPTForConditionalGeneration, FaceGPTProcessor]:
    """The untrained nano VLM joined with a 3DMM.

    Args:
        face_model (`str`): path or Hub id of a `MorphableModel`.
        seed (`int`): of weights and tokenizer.
    """
    vlm, vlm_processor = build_nano_vlm(seed)
    shape = MorphableModel.from_pretrained(face_model, dtype=torch.float32, trust_remote_code=False)
    side = vlm.config.vision_config.image_size  # pyright: ignore[reportAttributeAccessIssue]
    processor = FaceGPTProcessor.from_vlm_processor(vlm_processor, render_size=side)
    config = FaceGPTConfig(
        vlm_config=vlm.config.to_dict(),
        face_model_config=shape.config.to_dict(),
        face_token_id=processor.face_token_id,
        end_token_id=processor.end_token_id,
        face_head_hidden_size=NANO_HEAD_SIZE,
        render_size=processor.render_size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FaceGPTForConditionalGeneration(config)
    model.vlm.load_state_dict(vlm.state_dict())
    model.face_model.load_state_dict(shape.state_dict())
    return model, processor


def last_whole_checkpoint(run: Path) -> str | None:
    """The newest checkpoint of a run that was written to its end; one that a crash or a full disk cut off is passed
    over, and left for its owner to look at.

    Args:
        run (`Path`): output directory of the run; it need not exist.
    """
    numbered = {
        int(number): path
        for path in run.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (number := path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")).isdecimal()
    }
    for step in sorted(numbered, reverse=True):
        if (damage := _damage(numbered[step], step)) is None:
            return str(numbered[step])
        logger.warning(
            "%s was cut off while it was written (%s): going on from the one before", numbered[step], damage
        )
    return None


def how_to_go_on(run: Path) -> str:
    """What there is of a run that ended early, in half a sentence; its output directory need not exist."""
    for directory in (run, run / WARM_UP):
        if (last := last_whole_checkpoint(directory)) is not None:
            return f"the same command goes on from {last}"
    return "no checkpoint was written yet, the same command begins anew"


def _damage(checkpoint: Path, step: int) -> str | None:
    """What is missing or cut off; `None` if nothing is."""
    try:
        # Trainer writes this file last.
        state = json.loads((checkpoint / "trainer_state.json").read_text())
        if state["global_step"] != step:
            return f"trainer_state.json is of step {state['global_step']}"
        weights = sorted(checkpoint.glob("*.safetensors"))
        if not weights:
            return "there are no weights"
        for file in weights:
            with safe_open(file, framework="pt"):  # compares the length of the file with what its header promises
                pass
        # The directory of such an archive is its end.
        archives = {*_optimizer_files(checkpoint), checkpoint / "scheduler.pt", *checkpoint.glob("rng_state*.pth")}
        return next((f"{file.name} is no archive" for file in archives if not zipfile.is_zipfile(file)), None)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        return str(error)


def _optimizer_files(checkpoint: Path) -> set[Path]:
    """Where the optimizer's state is, and what else is needed to go on."""
    if (latest := checkpoint / "latest").is_file():  # DeepSpeed writes it once all else is there
        return set((checkpoint / latest.read_text().strip()).glob("*.pt"))
    if (weights := checkpoint / "pytorch_model_fsdp.bin").exists():
        return {weights, checkpoint / "optimizer.bin"}
    return {checkpoint / "optimizer.pt"}
