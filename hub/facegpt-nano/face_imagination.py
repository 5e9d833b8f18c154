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
"""Faces from words alone: several different ones for each prompt, without decoding a word."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .face_head import decode, default_cameras
from .face_parameters import FaceParameters
from .flow_head import FaceSampling, draw_noise, sample_codes, seeded_generator
from .module_state import evaluating


class ImaginedFaces(FaceParameters):
    """Faces that words describe, and the seed that makes them again."""

    seed: int


@torch.no_grad()
def imagine(
    model: Any,
    processor: Any,
    prompts: Any,
    *,
    count: int,
    guidance_scale: float,
    steps: int,
    seed: int | None,
) -> ImaginedFaces:
    """See `FaceGPTForConditionalGeneration.imagine`."""
    if model.flow_head is None:
        raise ValueError(
            "got a checkpoint that makes no faces from words, as it was built without dialogue_hidden_size; "
            "use one that was trained on descriptions of faces"
        )
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"got count={count}, wanted a whole number of faces from 1 on")
    sampling = FaceSampling(generator := seeded_generator(seed), steps, guidance_scale).checked()
    inputs = prompts if isinstance(prompts, Mapping) else _read_prompts(model, processor, prompts)
    states = _answer_states(model, inputs)
    noise = draw_noise(count, model.flow_head.code_size, generator)
    with torch.autocast(states.device.type, enabled=False):
        codes = sample_codes(
            model.flow_head,
            states.repeat_interleave(count, 0),
            noise.repeat(len(states), 1),
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
        )
        faces = ImaginedFaces(*decode(codes, default_cameras(len(codes), codes), model.config.face_model_config))
    faces.seed = generator.initial_seed()
    return faces


def _read_prompts(model: Any, processor: Any, prompts: Any) -> Mapping[str, Any]:
    """Inputs of one prompt or several, each a sentence or a dialogue that ends with the user's turn."""
    one = isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], Mapping))
    dialogues = [_as_dialogue(prompt) for prompt in ([prompts] if one else prompts)]
    if not dialogues:
        raise ValueError("got no prompts; give a sentence, a dialogue, or a list of them")
    if processor is None:
        processor = model.load_processor()
    return processor(messages=dialogues).to(model.device)


def _as_dialogue(prompt: str | Sequence[Any]) -> Sequence[Any]:
    if not isinstance(prompt, str):
        return prompt
    if not prompt.strip():
        raise ValueError("got an empty prompt; describe the face in a few words")
    return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]


def _answer_states(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """The states `(B, D)` that predict the first token of each answer, which is to be a `<FACE>`; in float32."""
    with evaluating(model):
        states = model(**inputs, output_hidden_states=[-1], logits_to_keep=1).hidden_states[-1]
    mask = inputs.get("attention_mask")
    last = states.shape[1] - 1
    ends = torch.full((len(states),), last) if mask is None else last - mask.flip(1).argmax(1)
    rows = torch.arange(len(states), device=states.device)
    return states[rows, ends.to(states.device)].to(model.face_head.device, torch.float32)
