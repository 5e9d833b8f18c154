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
"""What FaceGPT generates: answers with faces in them, faces of photographs, and faces from words."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from .answer_generation import generate_answers
from .camera import default_picture_cameras
from .chat_session import ChatSession
from .conversation import check_words
from .dialogue import Dialogue, answer_dialogues, give_faces, no_faces, place_imagined
from .face_detection import check_photos, reconstruct
from .face_head import decode
from .face_parameters import FaceParameters
from .flow_head import FLOW_STEPS, GUIDANCE_SCALE, FaceSampling, draw_noise, sample_codes, seeded_generator
from .gltf import encode_glb
from .module_state import evaluating
from .reconstruction import Reconstruction, select_reconstruction
from .refinement import refine


class ImaginedFaces(FaceParameters):
    """Faces that words describe, and the seed that makes them again."""

    seed: int


class FaceGPTGenerationMixin(GenerationMixin):
    """The generating half of `FaceGPTForConditionalGeneration`. Words come from its vision-language model, `vlm`."""

    config: Any
    face_model: Any
    vlm: Any

    @property
    def generation_config(self) -> GenerationConfig:
        """The vision-language model's, which is the one that generates."""
        return self.vlm.generation_config

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        # The base class sets one before there is a model that could keep it.
        if hasattr(self, "vlm"):
            self.vlm.generation_config = value

    def adjust_generation_fn(self, *args: Any, **kwargs: Any) -> None:
        """As the base class's, which for a checkpoint without `generation_config.json` looks for the ids of special
        tokens one level too high in `config.json`."""
        super().adjust_generation_fn(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        text_config = self.config.get_text_config()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(self.generation_config, name) is None:
                setattr(self.generation_config, name, getattr(text_config, name))

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        """As the vision-language model's: positions and pictures are its own affair."""
        return self.vlm.prepare_inputs_for_generation(*args, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        picture_cameras: Tensor | None = None,
        given_faces: Tensor | None = None,
        face_sampling: FaceSampling | None = None,
        min_faces: int = 0,
        **kwargs: Any,
    ) -> Any:
        r"""As `generate` of any model of transformers; with `return_dict_in_generate=True`, faces come back too.

        Args:
            inputs (`torch.Tensor` of shape `(B, T)`, *optional*): the prompts' ids.
            generation_config (`GenerationConfig`, *optional*): how to decode.
            picture_cameras (`torch.Tensor` of shape `(B, 3)`, *optional*): for each prompt, focal length and
                principal point of the picture that its faces are seen in; see `forward`.
            given_faces (`torch.Tensor` of shape `(M, P)`, *optional*): for each `<FACE>` of the prompts, the
                parameters of the face it stands for; see `forward`.
            face_sampling (`FaceSampling`, *optional*): how a face is drawn that words leave open. Default: the same
                face at every call.
            min_faces (`int`): how often every answer must say `<FACE>`; a request for a face sets 1.
            kwargs: of the vision-language model's `generate`, such as `pixel_values`, `num_beams` or `streamer`.

        Returns:
            `torch.Tensor` of token ids or, with `return_dict_in_generate=True`, `FaceGPTGenerateOutput` or
            `FaceGPTGenerateBeamOutput` with one row of `face_parameters` for each `<FACE>` in the answers: an earlier
            face of the dialogue and an edit, or a fresh one.

        Raises:
            ValueError: if `min_faces` are more than the answer may have tokens, or there is not one row of
                `picture_cameras` per prompt.
        """
        return generate_answers(
            self,
            inputs,
            generation_config,
            picture_cameras=picture_cameras,
            given_faces=given_faces,
            face_sampling=face_sampling,
            min_faces=min_faces,
            **kwargs,
        )

    @torch.no_grad()
    def reconstruct(
        self,
        images: Any,
        processor: Any = None,
        *,
        focals: float | Sequence[float | None] | None = None,
        reference: str | Sequence[str | None] | None = None,
        refine_steps: int = 0,
        batch_size: int = 16,
    ) -> list[Reconstruction]:
        """All faces of each photograph, or those that words name, from left to right, one record per photograph; see
        `face_detection.reconstruct` and `reconstruct_named`.

        Args:
            images: a photograph (path, URL, bytes, `PIL.Image.Image` of any mode, array; see `read_photograph`), or a
                list of such.
            processor (`FaceGPTProcessor`, *optional*): default: the one saved beside this model.
            focals (`float`, or a sequence of `float` or `None`, *optional*): focal lengths in pixels, where known;
                default EXIF's, else 1.2 times the longer side.
            reference (`str`, or a sequence of `str` or `None`, *optional*): words that name faces, such as "the woman
                on the left"; for all images, or for each of them.
            refine_steps (`int`): of fitting each face to its pixels afterwards, see `refinement.refine`.
            batch_size (`int`): pictures read together.
        """
        settings = {"focals": focals, "refine_steps": refine_steps, "batch_size": batch_size}
        if reference is None:
            return reconstruct(self, processor, images, **settings)
        return reconstruct_named(self, processor, images, reference, **settings)

    def chat(self, processor: Any = None, *, photograph: Any = None, **settings: Any) -> ChatSession:
        """A chat about faces that remembers what was told and shown; `say` continues it.

        Args:
            processor (`FaceGPTProcessor`, *optional*): default: the one saved beside this model.
            photograph (*optional*): what the chat is about; see `ChatSession`.
            settings: `focal`, `faces`, `seed` of `ChatSession`, and those of `generate`.

        Raises:
            ValueError: if the photograph cannot be read, or faces are given and this checkpoint reads none.
        """
        return ChatSession(self, processor, photograph=photograph, **settings)

    def encode_glb(self, faces: Reconstruction | FaceParameters, *, neutral: bool = False) -> bytes:
        """The content of a GLB file with a mesh for each face, its expressions as morph targets.

        Args:
            faces (`Reconstruction` or `FaceParameters`): those of a photograph, of an answer, or of `imagine`.
            neutral (`bool`): without expression, turn of the eyes, and turn of the head.

        Raises:
            ValueError: if there is no face, or a number is not finite.
        """
        placed = place_imagined(faces) if isinstance(faces, FaceParameters) else faces
        return encode_glb(self.face_model, placed, neutral=neutral)

    def imagine(
        self,
        prompts: Any,
        processor: Any = None,
        *,
        count: int = 1,
        guidance_scale: float = GUIDANCE_SCALE,
        steps: int = FLOW_STEPS,
        seed: int | None = None,
    ) -> ImaginedFaces:
        """Different faces that words describe, each drawn by the flow head from the state where the answer begins.

        The same seed gives the same faces, whichever prompts come together and however many faces are drawn; with it,
        faces of the same number of different prompts start from the same noise and are alike where words allow.

        Args:
            prompts (`str`, `list` or `dict`): a sentence, a dialogue that ends with the user's turn, or a list of
                either; or the inputs that a processor made of them.
            processor (`FaceGPTProcessor`, *optional*): default: the one saved beside this model.
            count (`int`): faces per prompt.
            guidance_scale (`float`): 1 draws as trained; more stays closer to the words and differs less.
            steps (`int`): of the integration from noise to faces.
            seed (`int`, *optional*): of the noise. Default: drawn from PyTorch's global generator, so that each call
                makes other faces; `transformers.set_seed` fixes it.

        Returns:
            `ImaginedFaces`: `FaceParameters` of `count` faces for each prompt, prompt by prompt, as the default camera
            sees them; its `seed` makes them again.

        Raises:
            ValueError: if this checkpoint makes no faces from words, a prompt is empty, or a number makes no sense.
        """
        return imagine(self, processor, prompts, count=count, guidance_scale=guidance_scale, steps=steps, seed=seed)


def reconstruct_named(
    model: Any,
    processor: Any,
    images: Any,
    reference: str | Sequence[str | None],
    *,
    focals: Any = None,
    refine_steps: int = 0,
    batch_size: int = 16,
) -> list[Reconstruction]:
    """The faces of each photograph that words name: all are found first, and the words then choose among them.

    To tell who laughs, every face has to be seen in a crop of its own; words that came with the whole photograph would
    have to choose before that.

    Args:
        model (`FaceGPTForConditionalGeneration`): with the parts for dialogue.
        processor (`FaceGPTProcessor` or `None`): `None` loads the one saved beside the model.
        images: a photograph as `read_photograph` takes it, or many.
        reference (`str`, or a sequence of `str` or `None`): words such as "the woman on the left", for all images or
            for each of them; `None` keeps all faces.
        focals, refine_steps, batch_size: as in `reconstruct`.

    Raises:
        ValueError: if the model has no parts for dialogue, there are not as many references as images, a reference
            has no words or spells a control token; and as `reconstruct`.
    """
    if model.face_encoder is None:
        raise ValueError(
            "got words that name faces for a checkpoint that was not trained on dialogues; take one that was, or "
            "reconstruct all faces"
        )
    if processor is None:
        processor = model.load_processor()
    pictures = check_photos(images, focals)
    given = [reference] * len(pictures) if isinstance(reference, str) else list(reference)
    if len(given) != len(pictures):
        raise ValueError(f"got {len(given)} references for {len(pictures)} images; give one for all, or one per image")
    photographs, lengths = [picture.image for picture in pictures], [picture.focal for picture in pictures]
    references = [None if words is None else check_words(words, processor.tokenizer) for words in given]
    found = reconstruct(model, processor, photographs, focals=lengths, batch_size=batch_size)
    asked = [row for row, words in enumerate(references) if words is not None and len(found[row].probability)]
    for start in range(0, len(asked), batch_size):
        rows = asked[start : start + batch_size]
        dialogues = [
            give_faces(
                Dialogue(
                    tuple(processor.reconstruct_messages(reference=references[row])), no_faces(model), pictures[row]
                ),
                found[row].parameters,
            )
            for row in rows
        ]
        for row, answer in zip(rows, answer_dialogues(model, processor, dialogues), strict=True):
            # A face of the answer that repeats one before it refers to that one, which is chosen already.
            chosen = sorted({face for face in answer.references if 0 <= face < len(found[row].probability)})
            found[row] = select_reconstruction(found[row], torch.tensor(chosen, dtype=torch.long))
    return refine(model, processor, photographs, found, steps=refine_steps, batch_size=batch_size)


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
        faces = ImaginedFaces(
            *decode(codes, default_picture_cameras(len(codes), codes), model.config.face_model_config)
        )
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
