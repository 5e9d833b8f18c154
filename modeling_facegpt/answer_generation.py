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
"""Answers with faces in them: tokens come from the vision-language model's own `generate`, whichever way it decodes.

Each `<FACE>` that was generated is decoded from the hidden state that predicted it. The states are those of the
decoding itself, so no further pass is made, and they are right for greedy decoding, sampling, beams (by the beam that
each token came from) and assisted decoding, with any cache. They are kept until the answer ends.

A model with the parts for dialogue also reads each face that it said, for what follows in the same answer, in greedy
decoding and sampling. With beams and assisted decoding, where rows move about and tokens are taken back, it reads the
faces of the prompt alone.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteriaList
from transformers.generation import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

from .flow_head import FaceSampling
from .module_state import evaluating
from .running_faces import FaceListener, start_faces, trace_faces

DEFAULT_NEW_TOKENS = 20  # what transformers generates where nobody says how much


@dataclass
class FaceGPTGenerateOutput(GenerateDecoderOnlyOutput):
    """As the base class's, and the N faces of the answers: row by row, in reading order."""

    face_code: Tensor | None = None  # (N, P)
    face_log_variance: Tensor | None = None  # (N, P) of the code; NaN for a face that was not read from a picture
    face_parameters: Tensor | None = None  # (N, P) see `vector_to_parameters`
    face_rows: Tensor | None = None  # (N,) which of `sequences` says the face
    face_references: Tensor | None = None  # (N,) which `<FACE>` of its row, from 0, it changes; -1 for a fresh face


@dataclass
class FaceGPTGenerateBeamOutput(GenerateBeamDecoderOnlyOutput):
    """As `FaceGPTGenerateOutput`, of beam search."""

    face_code: Tensor | None = None  # (N, P)
    face_log_variance: Tensor | None = None  # (N, P)
    face_parameters: Tensor | None = None  # (N, P)
    face_rows: Tensor | None = None  # (N,)
    face_references: Tensor | None = None  # (N,)


class FaceLogitsProcessor(LogitsProcessor):
    """Makes every answer say at least `min_faces` times `<FACE>`.

    Until then, what speaks for ending the answer speaks for `<FACE>` instead; when no more tokens are left than faces
    are missing, only `<FACE>` can be said.

    Args:
        face_token_id (`int`): id of `<FACE>`.
        end_token_ids (sequence of `int`): ids that end an answer.
        min_faces (`int`): how many faces an answer must have.
        prompt_length (`int`): tokens before the answer.
        max_new_tokens (`int`): most tokens of an answer.
    """

    def __init__(
        self, face_token_id: int, end_token_ids: Sequence[int], min_faces: int, prompt_length: int, max_new_tokens: int
    ):
        if not 0 <= min_faces <= max_new_tokens:
            raise ValueError(
                f"got min_faces={min_faces} for answers of at most {max_new_tokens} tokens; raise max_new_tokens or "
                "ask for as many faces as an answer can hold"
            )
        self.face_token_id = face_token_id
        self.end_token_ids = list(end_token_ids)
        self.min_faces = min_faces
        self.prompt_length = prompt_length
        self.max_new_tokens = max_new_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        answer = input_ids[:, self.prompt_length :]
        missing = self.min_faces - (answer == self.face_token_id).sum(-1, keepdim=True)
        onward = scores.clone()
        onward[:, self.face_token_id] = scores[:, [self.face_token_id, *self.end_token_ids]].logsumexp(-1)
        onward[:, self.end_token_ids] = -torch.inf
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.face_token_id] = 0.0
        scores = torch.where(missing > 0, onward, scores)
        last_chance = (missing > 0) & (missing >= self.max_new_tokens - answer.shape[1])
        return torch.where(last_chance, forced, scores)


def generate_answers(
    model: Any,
    inputs: Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    *,
    picture_cameras: Tensor | None = None,
    given_faces: Tensor | None = None,
    face_sampling: FaceSampling | None = None,
    min_faces: int = 0,
    **kwargs: Any,
) -> Any:
    """See `FaceGPTForConditionalGeneration.generate`."""
    settings = _Settings(kwargs, generation_config, model.generation_config)
    ids = _first_given(inputs, kwargs.get("input_ids"))
    faces = start_faces(
        model,
        ids,
        _count_prompts(_first_given(ids, kwargs.get("inputs_embeds")), picture_cameras),
        given_faces=given_faces,
        picture_cameras=picture_cameras,
        sampling=(face_sampling or FaceSampling()).checked(),
    )
    if min_faces:
        processors = LogitsProcessorList(kwargs.pop("logits_processor", None) or [])
        kwargs["logits_processor"] = [*processors, _face_processor(model, inputs, min_faces, settings, kwargs)]
    if isinstance(assistant := kwargs.get("assistant_model"), type(model)):
        kwargs["assistant_model"] = assistant.vlm  # type: ignore[attr-defined]
    dialogue = faces.offsets is not None
    if not settings["return_dict_in_generate"] and not dialogue:
        return _generate_words(model, inputs, generation_config, kwargs)
    at_once = dialogue and _rows_stay_in_place(settings)
    if at_once:
        listener = FaceListener(faces, model.config.face_token_id)
        kwargs["stopping_criteria"] = StoppingCriteriaList([listener, *(kwargs.get("stopping_criteria") or [])])
    needed = {"return_dict_in_generate": True, "output_hidden_states": True}
    if generation_config is None:
        kwargs |= needed
    else:  # transformers does not want both a configuration and single settings
        generation_config = copy.deepcopy(generation_config)
        generation_config.update(**needed)
        kwargs = {name: value for name, value in kwargs.items() if name not in needed}  # they would win
    with model.following(faces):
        output = _generate_words(model, inputs, generation_config, kwargs)
    if not settings["return_dict_in_generate"]:
        return output.sequences
    if not at_once:
        trace_faces(faces, output, model.config.face_token_id)
    fields = dict(output)
    if not settings["output_hidden_states"]:
        fields.pop("hidden_states")
    kind = FaceGPTGenerateBeamOutput if "beam_indices" in output else FaceGPTGenerateOutput
    return kind(**fields, **faces.said_until(output.sequences.shape[1])._asdict())


def _generate_words(
    model: Any, inputs: Tensor | None, generation_config: GenerationConfig | None, arguments: dict[str, Any]
) -> Any:
    if "pixel_values" in arguments:
        arguments = {**arguments, "pixel_values": model.cast_pixels(arguments["pixel_values"])}
    assistant = arguments.get("assistant_model")
    with evaluating(model, *([] if assistant is None else [assistant])):
        return model.vlm.generate(inputs, generation_config=generation_config, **arguments)


def _count_prompts(prompts: Tensor | None, picture_cameras: Tensor | None) -> int:
    count = 0 if prompts is None else prompts.shape[0]
    if picture_cameras is not None and picture_cameras.shape[0] != count:
        raise ValueError(
            f"got {picture_cameras.shape[0]} rows of picture_cameras for {count} prompts; give one row per prompt"
        )
    return max(count, 1)


def _rows_stay_in_place(settings: "_Settings") -> bool:
    """Whether a row of the batch is one answer from its beginning to its end, and no token is taken back."""
    assisted = settings["assistant_model"] is not None or settings["prompt_lookup_num_tokens"] is not None
    return (settings["num_beams"] or 1) == 1 and not assisted


class _Settings:
    """A setting of generation by name: of the call, else of the configuration given, else of the model."""

    def __init__(self, arguments: dict[str, Any], *configurations: GenerationConfig | None):
        self.sources = [dict(arguments), *(vars(config) for config in configurations if config is not None)]

    def __getitem__(self, name: str) -> Any:
        return _first_given(*(source.get(name) for source in self.sources))


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _face_processor(
    model: Any, inputs: Tensor | None, min_faces: int, settings: _Settings, arguments: dict[str, Any]
) -> FaceLogitsProcessor:
    ids = _first_given(inputs, arguments.get("input_ids"))
    embedded = arguments.get("inputs_embeds")
    length = 0 if ids is None else ids.shape[1]
    budget = settings["max_new_tokens"]
    if budget is None:
        whole = settings["max_length"]
        before = length if embedded is None else embedded.shape[1]
        budget = DEFAULT_NEW_TOKENS if whole is None else whole - before
    ends = settings["eos_token_id"]
    if ends is None:
        ends = model.config.end_token_id
    return FaceLogitsProcessor(
        model.config.face_token_id, [ends] if isinstance(ends, int) else list(ends), min_faces, length, budget
    )
