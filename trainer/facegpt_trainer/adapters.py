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
"""LoRA by PEFT (Hu et al. 2022): the language model's linear layers get adapters, the row of `<FACE>` and the heads
are trained whole, and all else stays as it is. A run then saves megabytes, not the vision-language model."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration

from .recipe_checks import check_names
from .start import Start, load_start


def check_lora(settings: Mapping[str, Any]) -> None:
    """Raise `ValueError` where `settings` are not those of `peft.LoraConfig`."""
    check_names(
        settings, [setting.name for setting in fields(LoraConfig) if setting.init], "lora", "settings of LoraConfig"
    )
    for name in ("r", "lora_alpha"):
        value = settings.get(name, 1)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"got lora setting {name}={value!r}, wanted a whole number of at least 1")


def add_adapters(model: FaceGPTForConditionalGeneration, settings: Mapping[str, Any]) -> PeftModel:
    """The model with new adapters, which change no output yet; it is changed in place.

    Args:
        model (`FaceGPTForConditionalGeneration`): over a vision-language model of any family.
        settings (`Mapping`): of `peft.LoraConfig`. By default all linear layers of the language model get adapters,
            and the heads and the row of `<FACE>`, in both embeddings, are trained and saved whole.
    """
    chosen = {
        "target_modules": linear_layers(model),
        "modules_to_save": whole_parts(model),
        "trainable_token_indices": dict.fromkeys(token_layers(model), [model.config.face_token_id]),
    }
    return get_peft_model(model, LoraConfig(**{**chosen, **settings}))  # pyright: ignore[reportArgumentType, reportReturnType]


def linear_layers(model: FaceGPTForConditionalGeneration) -> str:
    """A regular expression of the names of the linear layers inside the language model, without its output layer and
    without the vision tower."""
    decoder, prefix = model.get_decoder(), _name_of(model, model.get_decoder())
    output = model.get_output_embeddings()
    layers = [
        name for name, module in decoder.named_modules() if isinstance(module, nn.Linear) and module is not output
    ]
    kinds = sorted({name.rpartition(".")[2] for name in layers})
    return rf"{re.escape(prefix)}\..*\.({'|'.join(kinds)})"


def whole_parts(model: FaceGPTForConditionalGeneration) -> list[str]:
    """The heads and whatever else stands beside the vision-language model and the 3DMM."""
    beside = {name: part for name, part in model.named_children() if name not in ("vlm", "face_model")}
    return [name for name, part in beside.items() if list(part.parameters())]


def token_layers(model: FaceGPTForConditionalGeneration) -> list[str]:
    """The names of the layers that have a row per token: one where the output shares it with the input, else two."""
    embeddings, output = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [embeddings] if output is None or output.weight is embeddings.weight else [embeddings, output]
    return [_name_of(model, layer) for layer in layers]


def load_adapters(run: str | Path) -> PeftModel:
    """The model of a run that saved adapters, or of one of its checkpoints, in evaluation mode.

    Raises:
        ValueError: if there are no adapters, or it is not said what they belong to.
    """
    if not (Path(run) / "adapter_config.json").is_file():
        raise ValueError(f"got {run}, which has no adapter_config.json; name a run that was trained with lora")
    model, _ = load_start(Start.read(Path(run)))
    return PeftModel.from_pretrained(model, run).eval()


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)
