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

from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers import initialization as init
from transformers.utils.auto_docstring import auto_docstring
from transformers.utils.generic import can_return_tuple

from .configuration_facegpt import FaceGPTConfig
from .dialogue_supervision import DecodedFaces, FaceOutcome, find_decoded_faces, supervise_faces
from .face_editing import EditHead, ReferencePointer
from .face_encoder import FaceEncoder, FaceHook, FaceOffsets, check_given_faces, find_faces
from .face_head import FaceHead, decode
from .face_parameters import parameters_to_vector
from .face_supervision import FaceTargets
from .flow_head import FlowHead
from .generation_mixin import FaceGPTGenerationMixin
from .image_supervision import ImageComparison
from .module_state import CompactlySavedModule, PicklableModule
from .morphable_model import MorphableModel
from .output_facegpt import FaceGPTOutput, LossTerm, choose_layers, text_loss, weighted_sum
from .pipeline_facegpt import CUSTOM_PIPELINES
from .pretrained_mixin import LoadsProcessor, TrainedByOthers
from .processing_facegpt import FaceGPTProcessor
from .running_faces import RunningFaces
from .vision_tower import ask_no_attention, read_maps_as_tokens, vision_features

_AS_DATA: Any = {"trust_remote_code": False}  # none of a checkpoint's code runs, and nobody is asked whether it may
_NO_DIALOGUE = (
    "got {} for a checkpoint without the parts for dialogue about faces; build it with a dialogue_hidden_size, "
    "and train it on such dialogues"
)


@auto_docstring(custom_intro="Weights of FaceGPT: how they are named, kept and loaded.")
class FaceGPTPreTrainedModel(PicklableModule, CompactlySavedModule, PreTrainedModel):
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
    # Codes carry fine differences and stay in full precision. The 3DMM says the same of itself, name by name: what is
    # named here as a whole would get its integers turned into float32 too.
    _keep_in_fp32_modules_strict = ["face_head", "face_encoder", "reference_pointer", "edit_head", "flow_head"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in every model of the library; what a new face encoder adds is zero."""
        super()._init_weights(module)
        if isinstance(module, FaceEncoder):
            init.zeros_(module.output.weight)

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: all weights are initialised by `transformers.initialization`, as in the library's own models. For other
        code the library skips what a module without weights of its own would initialise in those below it."""
        return False


@auto_docstring(
    custom_intro="""
    A vision-language model of any family that can say `<FACE>`: the hidden state that predicts a `<FACE>` of an
    answer is decoded into the parameters of a morphable model.
    """
)
class FaceGPTForConditionalGeneration(FaceGPTGenerationMixin, LoadsProcessor, TrainedByOthers, FaceGPTPreTrainedModel):
    def __init__(
        self, config: FaceGPTConfig, vlm: PreTrainedModel | None = None, face_model: MorphableModel | None = None
    ):
        r"""
        vlm (`PreTrainedModel`, *optional*):
            The model that `config.vlm_config` is of, taken as it is; default: a new one.
        face_model (`MorphableModel`, *optional*):
            The model that `config.face_model_config` is of, taken as it is; default: a new one.
        """
        super().__init__(config)
        config.vlm_config.tie_word_embeddings = config.tie_word_embeddings
        config.custom_pipelines = CUSTOM_PIPELINES
        ask_no_attention(config)
        config.face_model_config._attn_implementation = None
        if vlm is None:
            vlm = AutoModelForImageTextToText.from_config(config.vlm_config, **_AS_DATA)
        self.vlm: Any = vlm  # of any family, hence of no type
        read_maps_as_tokens(self.vlm)
        self.face_model = MorphableModel(config.face_model_config) if face_model is None else face_model
        hidden_size, width = config.get_text_config().hidden_size, config.dialogue_hidden_size
        self.face_head = FaceHead(config, hidden_size)
        self.face_encoder = FaceEncoder(config, hidden_size, width) if width else None
        self.reference_pointer = ReferencePointer(hidden_size, width) if width else None
        self.edit_head = EditHead(config, hidden_size, width) if width else None
        self.flow_head = FlowHead(config, hidden_size, width) if width else None
        # Registered once: a hook that comes later would make a compiled model compile again.
        self.face_hook = FaceHook(self.vlm, self.vlm.get_input_embeddings()) if width else None
        self.post_init()

    @classmethod
    def from_vlm(
        cls,
        vlm: PreTrainedModel | str | PathLike,
        face_model: MorphableModel | str | PathLike,
        *,
        processor: FaceGPTProcessor | None = None,
        **settings: Any,
    ) -> "FaceGPTForConditionalGeneration":
        """FaceGPT over a trained vision-language model; the face head alone is new, with random weights.

        The VLM's weights and their type are kept. Its embeddings grow only where the tokenizer has more tokens than
        they have rows (many have spare ones); a new row is the mean of the others.

        Args:
            vlm (`PreTrainedModel`, `str` or `PathLike`): any model of `AutoModelForImageTextToText`, which becomes
                part of the result; or the name or directory of one.
            face_model (`MorphableModel`, `str` or `PathLike`): the 3DMM; or the name or directory of one.
            processor (`FaceGPTProcessor`, *optional*): the VLM's, wrapped by `FaceGPTProcessor.from_vlm_processor`.
                Default: the one beside the VLM; wrapping it again for use gives the same token ids.
            settings: fields of `FaceGPTConfig`, such as `face_head_hidden_size` or `loss_weights`.

        Raises:
            ValueError: if the VLM is a FaceGPT already.
        """
        if not isinstance(vlm, PreTrainedModel):
            vlm = AutoModelForImageTextToText.from_pretrained(vlm, **_AS_DATA)
        if isinstance(vlm, FaceGPTPreTrainedModel):
            raise ValueError(
                "got a FaceGPT to wrap, wanted a bare vision-language model; load a FaceGPT itself instead"
            )
        if not isinstance(face_model, MorphableModel):
            face_model = MorphableModel.from_pretrained(face_model, dtype=torch.float32, **_AS_DATA)
        if processor is None:
            own = AutoProcessor.from_pretrained(vlm.name_or_path, **_AS_DATA)
            processor = FaceGPTProcessor.from_vlm_processor(own)
        _give_rows(vlm, len(processor.tokenizer))
        config = FaceGPTConfig(
            vlm_config=vlm.config.to_dict(),
            face_model_config=face_model.config.to_dict(),
            face_token_id=processor.face_token_id,
            end_token_id=processor.end_token_id,
            **{**processor.picture_settings(), **settings},
        )
        # Not given above: a new configuration resets the attention of those inside it.
        config.vlm_config = vlm.config
        model = cls(config, vlm, face_model)
        model.face_model.to(vlm.device)  # pyright: ignore[reportArgumentType]
        for name, part in model.named_children():
            if name not in ("vlm", "face_model"):
                part.to(vlm.device)
        return model.train(vlm.training)

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

    @can_return_tuple
    @auto_docstring(custom_intro="As the vision-language model's.")
    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        return self.vlm.get_image_features(self.cast_pixels(pixel_values), **kwargs, return_dict=True)

    def cast_pixels(self, pixel_values: Tensor | None) -> Any:
        """Pixel values in the type that the vision-language model computes in; a processor gives float32."""
        return None if pixel_values is None else pixel_values.to(self.vlm.dtype)

    @can_return_tuple
    @auto_docstring(custom_intro="Words and faces; with targets, also the losses.")
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        picture_cameras: Tensor | None = None,
        face_targets: Tensor | None = None,
        given_faces: Tensor | None = None,
        face_references: Tensor | None = None,
        face_landmarks: Tensor | None = None,
        face_images: Tensor | None = None,
        typical_faces: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
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
        given_faces (`torch.Tensor` of shape `(M, P)`, *optional*):
            For each `<FACE>` of `input_ids`, of questions and answers, the parameters that are added to its embedding;
            rows of NaN are not known, and nothing is added.
        face_references (`torch.Tensor` of shape `(N,)`, *optional*):
            For each decoded face, the number of the `<FACE>` of its row that it refers to and changes, counted from 0
            in reading order; -1 for a fresh face. Default: all are fresh.
        face_landmarks (`torch.Tensor` of shape `(N, 468, 2)`, *optional*):
            MediaPipe landmarks in units of the picture's side; NaN where not known.
        face_images (`torch.Tensor` of shape `(N, 3, S, S)`, *optional*):
            sRGB pictures in [0, 1] to compare the renders with, seen by the same `picture_cameras`; NaN where a face
            has none.
        typical_faces (`torch.Tensor` of shape `(N, P)`, *optional*):
            For each decoded face that words alone describe, the mean of all faces that they fit; rows of NaN are not
            known, and `face_targets` take their place.
        pixel_attention_mask (`torch.Tensor`, *optional*):
            For vision-language models that ask for it.
        past_key_values (`Cache`, *optional*):
            Keys and values of the tokens before, as transformers before 5.24 calls them.
        cache (`Cache`, *optional*):
            The same, as transformers from 5.24 on calls them.
        logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
            Positions whose logits are computed; with labels, those that predict them.
        """
        optional = {
            "pixel_values": self.cast_pixels(pixel_values),
            "pixel_attention_mask": pixel_attention_mask,
            "image_sizes": image_sizes,
            "image_grid_thw": image_grid_thw,
            "mm_token_type_ids": mm_token_type_ids,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "cache": cache,
            "inputs_embeds": inputs_embeds,
        }
        shown = kwargs.pop("output_hidden_states", None)
        shown = self.config.output_hidden_states if shown is None else shown
        following = kwargs.pop("shift_labels", None)
        with self.encoding_faces(input_ids, given_faces):
            outputs = self.vlm(
                input_ids=input_ids,
                attention_mask=attention_mask,
                logits_to_keep=logits_to_keep,
                output_hidden_states=True,
                return_dict=True,
                **{name: value for name, value in optional.items() if value is not None},
                **kwargs,
            )
        result = FaceGPTOutput.of(outputs, choose_layers(outputs.hidden_states, shown))
        if labels is not None and following is None:
            following = F.pad(labels[:, 1:], (0, 1), value=-100)
        text = None if following is None else text_loss(outputs.logits, following, logits_to_keep)
        terms = {} if text is None else {"text": text}
        states, token = outputs.hidden_states[-1], self.config.face_token_id
        if input_ids is not None and input_ids.shape[1] == states.shape[1]:
            faces = find_decoded_faces(states, input_ids, labels, token, self.face_head.device)
            targets = FaceTargets(
                picture_cameras, face_targets, face_landmarks, face_images, face_references, typical_faces
            )
            outcome = self._decode_faces(faces, input_ids, given_faces, targets, text)
            if outcome is not None:
                terms, result.face_references = outcome.terms, outcome.references
                if len(faces.states):
                    result.face_code, result.face_log_variance, result.face_parameters = outcome[1:4]
        if terms:
            result.loss_terms = {name: term.mean for name, term in terms.items()}
            result.loss_counts = {name: term.count for name, term in terms.items()}
            result.loss = weighted_sum(result.loss_terms, self.config.loss_weights)
        return result

    def encode_given_faces(self, input_ids: Tensor | None, given_faces: Tensor) -> FaceOffsets:
        """What `given_faces` `(M, P)` add to the embeddings of the `<FACE>` tokens of `input_ids` `(B, T)`.

        Raises:
            ValueError: if this model has no face encoder, there are no ids, or there is not one row per `<FACE>`.
        """
        if self.face_encoder is None:
            raise ValueError(_NO_DIALOGUE.format("given_faces"))
        if input_ids is None:
            raise ValueError("got given_faces without input_ids; give the ids, which say where the faces are")
        places = find_faces(input_ids, self.config.face_token_id)
        check_given_faces(given_faces, len(places.rows), self.config.face_model_config)
        device = self.face_head.device
        with torch.autocast(device.type, enabled=False):
            values = self.face_encoder(given_faces.to(device, torch.float32))
        return FaceOffsets(places, values.to(input_ids.device), input_ids.shape[0])

    def encoding_faces(self, input_ids: Tensor | None, given_faces: Tensor | None) -> AbstractContextManager[None]:
        """The context in which the vision-language model reads the faces that `<FACE>` tokens stand for, if any."""
        if given_faces is None:
            return nullcontext()
        offsets = self.encode_given_faces(input_ids, given_faces)
        return cast(FaceHook, self.face_hook).adding(offsets, self.get_input_embeddings())

    def following(self, faces: RunningFaces) -> AbstractContextManager[None]:
        """The context in which `faces` are read and told what the vision-language model makes of them."""
        if faces.offsets is None:
            return nullcontext()
        return cast(FaceHook, self.face_hook).adding(faces.offsets, self.get_input_embeddings(), faces.read_states)

    def decode_states(self, states: Tensor, picture_cameras: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Faces of the states that predict their `<FACE>`.

        Args:
            states (`torch.Tensor` of shape `(N, D)`): last hidden states of the language model.
            picture_cameras (`torch.Tensor` of shape `(N, 3)`, *optional*): as in `forward`.

        Returns:
            Three `torch.Tensor` of shape `(N, P)`: code, its log-variance, and the parameters of the code.
        """
        states = states.to(self.face_head.device)
        cameras = FaceTargets(picture_cameras, None, None, None).checked(states.shape[0], states).picture_cameras
        # From the head's output on, everything runs in float32: a millimetre is 1/200 of a head.
        with torch.autocast(states.device.type, enabled=False):
            code, log_variance = self.face_head(states.float())
            parameters = decode(code, cast(Tensor, cameras).to(code), self.face_model.config)
        return code, log_variance, parameters_to_vector(parameters)

    def compare_images(self) -> ImageComparison:
        """How renders are compared with photographs: features of pictures come with a gradient to these alone."""

        def see(pictures: Tensor) -> tuple[Tensor, ...]:
            return vision_features(self.vlm, pictures, self.config.image_mean, self.config.image_std)

        return ImageComparison(self.config.render_size, self.config.loss_weights, see)

    def _decode_faces(
        self,
        faces: DecodedFaces,
        input_ids: Tensor,
        given_faces: Tensor | None,
        targets: FaceTargets,
        text: LossTerm | None,
    ) -> FaceOutcome | None:
        """What the faces of answers are and, where there is something to learn from, what they and the words cost;
        `None` where there is neither."""
        targets = targets.checked(len(faces.states), faces.states)
        learns = text is not None or targets.are_given
        if not learns and not len(faces.states):
            return None
        decoded = FaceOutcome({}, *self.decode_states(faces.states, targets.picture_cameras), None)
        if not learns:
            return decoded
        # CODEPATH: facegpt-nano, from nano_words.yaml on, reads and edits faces; what nano_polish.yaml and earlier
        # recipes train, and a VLM just wrapped without the setting, only see them.
        if targets.references is not None and self.config.dialogue_hidden_size is None:
            raise ValueError(_NO_DIALOGUE.format("face_references"))
        has_picture = (input_ids == self.config.image_token_id).any(-1).to(decoded.code.device)
        with torch.autocast(decoded.code.device.type, enabled=False):
            outcome, touched = supervise_faces(self, decoded, faces, given_faces, targets, has_picture)
        if text is None:
            return outcome
        # Every head has a gradient in every batch: distributed training waits for it from every process.
        return outcome._replace(terms={"text": LossTerm(text.total + 0.0 * touched, text.count), **outcome.terms})


@torch.no_grad()
def _give_rows(vlm: Any, tokens: int) -> None:
    """Embeddings for at least `tokens` tokens; a new row is the mean of the old ones, the same at every call."""
    rows = vlm.get_input_embeddings().weight.shape[0]
    if rows >= tokens:
        return
    vlm.resize_token_embeddings(tokens, mean_resizing=False)
    for layer in (vlm.get_input_embeddings(), vlm.get_output_embeddings()):
        layer.weight[rows:] = layer.weight[:rows].mean(0, dtype=torch.float32)
