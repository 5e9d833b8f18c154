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
"""A vision tower, what stands in for the language model between it and the heads, and the heads."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from modeling_facegpt.configuration_facegpt import FaceGPTConfig, MorphableModelConfig
from modeling_facegpt.face_head import FaceHead
from modeling_facegpt.landmark_head import LandmarkHead

PLACE_CHANNELS = 96  # of each place of the tower's last map, as the state reads it
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "network.json"


class FaceReading(NamedTuple):
    """What is read of B crops."""

    landmarks: Tensor  # (B, 468, 2) in sides of the crop
    landmark_log_variance: Tensor  # (B, 468) of either coordinate
    code: Tensor  # (B, P)
    code_log_variance: Tensor  # (B, P)


class PortraitNetwork(nn.Module):
    """Crops of faces to landmarks and codes.

    Args:
        vision (`dict`): `model_type`, `image_size` and settings of a vision model of transformers that answers with a
            map `(B, C, H, W)`.
        face_model (`MorphableModelConfig`): the 3DMM whose codes are read.
        state_size (`int`): of the state that the heads read; that of the language model's hidden states, so that
            heads carry over.
    """

    def __init__(self, vision: dict[str, Any], face_model: MorphableModelConfig, state_size: int):
        super().__init__()
        self.settings = {"vision": dict(vision), "state_size": state_size}
        options = dict(vision)
        side = options.pop("image_size")
        self.tower = AutoModel.from_config(AutoConfig.for_model(options.pop("model_type"), **options))
        with torch.no_grad():
            _, channels, height, width = self.tower.eval()(torch.zeros(1, 3, side, side)).last_hidden_state.shape
        self.mix = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, PLACE_CHANNELS), nn.GELU())
        self.state = nn.Sequential(
            nn.Linear(PLACE_CHANNELS * height * width, state_size), nn.GELU(), nn.Linear(state_size, state_size)
        )
        heads = FaceGPTConfig(face_model_config=face_model, face_head_hidden_size=512)
        self.face_head = FaceHead(heads, state_size)
        self.landmark_head = LandmarkHead(state_size)
        self.train()

    def forward(self, crops: Tensor, fast: bool = False) -> FaceReading:
        """Read crops `(B, 3, S, S)` in [0, 1]; `fast`: the tower computes in bfloat16."""
        pixels = (2 * crops - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(crops.device.type, torch.bfloat16, enabled=fast):
            places = self.tower(pixels).last_hidden_state
        places = places.float().flatten(2).mT  # (B, places, C)
        state = self.state(self.mix(places).flatten(1))
        return FaceReading(*self.landmark_head(state), *self.face_head(state))


def save_network(network: PortraitNetwork, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Weights in half precision and what `load_network` needs beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.to(dtype).contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    save_file(state, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(network.settings, indent=1))


def load_network(folder: Path, face_model: MorphableModelConfig) -> PortraitNetwork:
    """A network that `save_network` wrote, in float32.

    Raises:
        ValueError: if there is none, or it was taught codes of another 3DMM's size.
    """
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text())
        state = load_file(folder / WEIGHTS_FILE)
    except OSError as error:
        raise ValueError(f"got {folder}, which holds no warmed-up network; name the folder of a run") from error
    network = PortraitNetwork(settings["vision"], face_model, settings["state_size"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"got {folder}, whose codes are of another 3DMM; name the 3DMM that it was taught") from error
    return network.eval()
