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
"""Finds a checkpoint by name and loads it whole, or says in one sentence why not: no weight is silently random."""

import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers.utils import logging

from modeling_facegpt import FaceGPTConfig, FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.files.weight_check import weight_differences

from .checkpoint_sizes import check_amount, check_settings

DEFAULT_CHECKPOINT = "facegpt-nano"

_PACKAGED = Path(__file__).parent / "checkpoints"
_CHECKOUT = Path(__file__).parents[1]
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Neither code nor pickled weights: a checkpoint is data.
_HUB_FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")
_LONGEST_REASON = 300  # characters


class CheckpointError(ValueError):
    """A checkpoint that cannot be found or loaded; the message is one sentence that names it."""


class Checkpoint(NamedTuple):
    """A model that is ready to use."""

    name: str  # as it was given; of a directory, its last part
    model: FaceGPTForConditionalGeneration  # float32, in evaluation mode
    processor: FaceGPTProcessor


def find_checkpoint(name: str) -> Path:
    """The directory of a checkpoint: the packaged copy, else the checkout's, else a local path, else from the Hub.

    Raises:
        CheckpointError: if it is in none of these places.
    """
    if not name:
        raise CheckpointError("got an empty checkpoint name; give a name, a directory, or owner/name on the Hub")
    for directory in (_PACKAGED / name, _CHECKOUT / name, Path(name).expanduser()):
        if (directory / "config.json").is_file():
            return directory
    path = Path(name).expanduser()
    if path.is_file():
        raise CheckpointError(f"{name} is a file, not a checkpoint: give the directory with config.json and weights")
    if path.is_dir():
        raise CheckpointError(f"the directory {name} holds no config.json, so it is not a checkpoint")
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise CheckpointError(
            f"there is no checkpoint {name}: it comes neither with FaceGPT nor is it a directory here"
        )
    return _download(name)


def load_checkpoint(name: str = DEFAULT_CHECKPOINT, device: str | torch.device = "cpu") -> Checkpoint:
    """Load model and processor.

    Raises:
        CheckpointError: if the checkpoint is not found, is not FaceGPT's, is damaged, or its weights are not exactly
            those that its configuration asks for.
    """
    directory = find_checkpoint(name)
    try:
        check_settings(directory / "config.json")
        kind = FaceGPTConfig.get_config_dict(directory)[0].get("model_type")
        # Of no other kind is a configuration made, nor its code wanted.
        config = (
            FaceGPTConfig.from_pretrained(directory, trust_remote_code=False)
            if kind == FaceGPTConfig.model_type
            else None
        )
    except Exception as error:  # Configurations fail with nearly any exception.
        raise CheckpointError(f"the configuration of checkpoint {name} cannot be read ({_in_short(error)})") from error
    if config is None:
        raise CheckpointError(f"checkpoint {name} is a {str(kind)[:60]!r} model, and only FaceGPT's can be used here")
    model = _load_model(name, directory, config)
    try:
        processor = FaceGPTProcessor.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(f"the processor of checkpoint {name} cannot be loaded ({_in_short(error)})") from error
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"the device {device} cannot be used here ({_in_short(error)})") from error
    is_path = Path(name).expanduser() == directory
    return Checkpoint(directory.resolve().name if is_path else name, model, processor)


def _load_model(name: str, directory: Path, config: FaceGPTConfig) -> FaceGPTForConditionalGeneration:
    if not any(directory.glob("*.safetensors")):
        raise CheckpointError(f"checkpoint {name} has no weights: {directory / 'model.safetensors'} is missing")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # What it would warn of is refused below.
    try:
        check_amount(config, directory)
        loaded: Any = FaceGPTForConditionalGeneration.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise CheckpointError(f"the weights of checkpoint {name} cannot be loaded ({_in_short(error)})") from error
    finally:
        logging.set_verbosity(verbosity)
    model, report = loaded
    if different := weight_differences(model, report):
        raise CheckpointError(f"checkpoint {name} does not fit its configuration: {different}")
    return model.eval()


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except GatedRepoError as error:
        raise CheckpointError(f"access to {name} has to be asked for on the Hub first") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {name}: not here, and not on the Hub") from error
    except Exception as error:  # No network shows itself in many exceptions.
        raise CheckpointError(
            f"there is no checkpoint {name} here, and the Hub cannot be reached ({_in_short(error)})"
        ) from error


def _in_short(error: Exception) -> str:
    """What an error says, on one line, up to a whole word."""
    return textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" ...") or type(error).__name__
