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
"""FaceGPT: any vision-language model, a face head on the states that predict `<FACE>`, and a morphable model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.modeling_outputs import ModelOutput
from transformers.utils.auto_docstring import auto_docstring

from .configuration_facegpt import FaceGPTConfig
from .convolutional_vision import read_maps_as_tokens
from .face_head import FaceHead, decode
from .face_parameters import parameters_to_vector
from .face_supervision import FaceTargets, face_loss_terms, weighted_sum
from .generation_facegpt import reconstruct
from .morphable_model import MorphableModel
from .reconstruction import Reconstruction


@auto_docstring(custom_intro="What FaceGPT says: words, and one vector of parameters per `<FACE>`.")
@dataclass
class FaceGPTOutput(ModelOutput):
    r"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*):
        Weighted sum of `loss_terms`, when targets are given.
    loss_terms (`dict[str, torch.Tensor]`, *optional*):
        Each term by name, unweighted, the mean over faces or words.
    logits (`torch.Tensor` of shape `(B, T, vocabulary)`):
        Of the language model.
    face_code (`torch.Tensor` of shape `(N, P)`):
        What the head says of the N faces.
    face_log_variance (`torch.Tensor` of shape `(N, P)`):
        How unsure each number of the code is.
    face_parameters (`torch.Tensor` of shape `(N, P)`):
        The code decoded; `vector_to_parameters` names its groups.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    face_code: Tensor | None = None
    face_log_variance: Tensor | None = None
    face_parameters: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@auto_docstring(custom_intro="Weights of FaceGPT: how they are named, kept and loaded.")
class FaceGPTPreTrainedModel(PreTrainedModel):
    config_class = FaceGPTConfig
    base_model_prefix = "vlm"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = []
    _tied_weights_keys = {}
    # The 3DMM is millimetres on a head of 0.2 metres and codes carry fine differences: both stay in full precision.
    _keep_in_fp32_modules_strict = ["face_head", "face_model"]


@auto_docstring(
    custom_intro="""
    A vision-language model of any family that can say `<FACE>`: the hidden state that predicts a `<FACE>` of an
    answer is decoded into the parameters of a morphable model.
    """
)
class FaceGPTForConditionalGeneration(FaceGPTPreTrainedModel):
    def __init__(self, config: FaceGPTConfig):
        super().__init__(config)
        self.vlm: Any = AutoModelForImageTextToText.from_config(config.vlm_config)  # of any family
        read_maps_as_tokens(self.vlm)
        self.face_model = MorphableModel(config.face_model_config)
        self.face_head = FaceHead(config, config.get_text_config().hidden_size)
        self.post_init()

    @property
    def base_model(self) -> PreTrainedModel:
        return self.vlm.base_model

    def get_input_embeddings(self):
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.vlm.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.vlm.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings):
        self.vlm.set_output_embeddings(new_embeddings)

    def get_decoder(self):
        return self.vlm.get_decoder()

    @auto_docstring(custom_intro="Words and faces; with targets, also the losses.")
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        picture_cameras: Tensor | None = None,
        face_targets: Tensor | None = None,
        face_landmarks: Tensor | None = None,
        face_images: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> FaceGPTOutput:
        r"""
        labels (`torch.Tensor` of shape `(B, T)`, *optional*):
            Next-token targets, -100 where none. With labels, only the `<FACE>` tokens among them (those of answers)
            are decoded, else all of `input_ids`.
        picture_cameras (`torch.Tensor` of shape `(N, 3)`, *optional*):
            For each decoded face, focal length and principal point of the picture it is seen in, in units of its side.
            Default: (1.2, 0.5, 0.5). One row per `<FACE>`, here and below, else a `ValueError` says so.
        face_targets (`torch.Tensor` of shape `(N, P)`, *optional*):
            True parameters; rows of NaN are not known.
        face_landmarks (`torch.Tensor` of shape `(N, 468, 2)`, *optional*):
            MediaPipe landmarks in units of the picture's side; NaN where not known.
        face_images (`torch.Tensor` of shape `(N, 3, S, S)`, *optional*):
            sRGB pictures in [0, 1] to compare the renders with, seen by the same `picture_cameras`; NaN where a face
            has none.
        pixel_attention_mask (`torch.Tensor`, *optional*):
            For vision-language models that ask for it.
        logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
            Positions whose logits are computed; with labels, those that predict them.
        """
        optional = {
            "pixel_values": pixel_values,
            "pixel_attention_mask": pixel_attention_mask,
            "image_sizes": image_sizes,
            "image_grid_thw": image_grid_thw,
            "mm_token_type_ids": mm_token_type_ids,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "inputs_embeds": inputs_embeds,
        }
        outputs = self.vlm(
            input_ids=input_ids,
            attention_mask=attention_mask,
            logits_to_keep=logits_to_keep,
            output_hidden_states=True,
            return_dict=True,
            **{name: value for name, value in optional.items() if value is not None},
            **{name: value for name, value in kwargs.items() if name not in ("output_hidden_states", "return_dict")},
        )
        result = FaceGPTOutput(
            logits=outputs.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        terms = {} if labels is None else {"text": _text_loss(outputs.logits, labels, logits_to_keep)}
        if input_ids is not None and input_ids.shape[1] == outputs.hidden_states[-1].shape[1]:
            states = self._face_states(outputs.hidden_states[-1], input_ids, labels)
            targets = FaceTargets(picture_cameras, face_targets, face_landmarks, face_images)
            self._decode_faces(states, targets.checked(states.shape[0], states), terms, result)
        if terms:
            result.loss = weighted_sum(terms, self.config.loss_weights)
            result.loss_terms = terms
        return result

    def _face_states(self, hidden_states: Tensor, input_ids: Tensor, labels: Tensor | None) -> Tensor:
        """The states `(N, D)` that predict the `<FACE>` tokens of answers: those one position before them."""
        is_face = (input_ids if labels is None else labels) == self.config.face_token_id
        return hidden_states[:, :-1][is_face[:, 1:]]

    def _decode_faces(
        self, states: Tensor, targets: FaceTargets, terms: dict[str, Tensor], result: FaceGPTOutput
    ) -> None:
        # From the head's output on, everything runs in float32: a millimetre is 1/200 of a head.
        with torch.autocast(states.device.type, enabled=False):
            code, log_variance = self.face_head(states.float())
            cameras = cast(Tensor, targets.picture_cameras)  # `checked` gave every face one
            parameters = decode(code, cameras, self.face_model.config)
            terms |= face_loss_terms(self.face_model, code, log_variance, parameters, targets, self.config.render_size)
        result.face_code, result.face_log_variance = code, log_variance
        result.face_parameters = parameters_to_vector(parameters)

    @torch.no_grad()
    def reconstruct(
        self,
        images: Sequence[Image.Image],
        processor: Any = None,
        *,
        focals: Sequence[float | None] | None = None,
        batch_size: int = 8,
    ) -> list[Reconstruction]:
        """All faces of each photograph, from left to right; see `generation_facegpt.reconstruct`.

        Args:
            images (sequence of `PIL.Image.Image`): RGB, upright.
            processor (`FaceGPTProcessor`, *optional*): default: the one saved beside this model.
            focals (sequence of `float` or `None`, *optional*): focal lengths in pixels, where known.
            batch_size (`int`): pictures looked at together.
        """
        return reconstruct(self, processor, images, focals=focals, batch_size=batch_size)


def _text_loss(logits: Tensor, labels: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """Mean cross-entropy of the next token over labels other than -100."""
    if isinstance(logits_to_keep, Tensor):
        following = F.pad(labels[:, 1:], (0, 1), value=-100)[:, logits_to_keep]
    else:
        following = F.pad(labels[:, 1:], (0, 1), value=-100)[:, -logits.shape[1] :]
    count = (following != -100).sum().clamp(min=1)
    total = F.cross_entropy(logits.flatten(0, 1).float(), following.flatten(), ignore_index=-100, reduction="sum")
    return total / count
