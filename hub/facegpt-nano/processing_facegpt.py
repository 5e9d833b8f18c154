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
"""From photographs and dialogue to what the model reads.

`FaceGPTProcessor` wraps the vision-language model's own processor, whichever that is. What it adds: the token
`<FACE>`, and square pictures of known camera, cut from a photograph.
"""

from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AddedToken, BatchFeature, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import PROCESSOR_NAME
from transformers.utils.auto_docstring import auto_docstring

from .conversation import check_image_count, frame_images, read_images
from .picture_frame import PictureFrame, PictureNormalization, frame_square, tensor_to_image

FACE_TOKEN = "<FACE>"
RECONSTRUCT_ALL = "Reconstruct every face, from left to right."
RECONSTRUCT_ONE = "Reconstruct the face in the middle."
RECONSTRUCT_NAMED = "Reconstruct {}."
_CACHES = ("end_token_id", "_normalization")  # of a processor
# Fast tokenizers set padding and truncation on themselves before they read a text, so one thread at a time uses them.
_TOKENIZING = RLock()


@auto_docstring(custom_intro="Wraps the processor of a vision-language model, whichever that is.")
class FaceGPTProcessor(ProcessorMixin):
    def __init__(self, vlm_processor: Any, render_size: int = 112, crop_scale: float = 1.6):
        r"""
        vlm_processor (`ProcessorMixin`):
            The model's own processor; its tokenizer must know `<FACE>`.
        render_size (`int`, *optional*, defaults to 112):
            Side in pixels of the square pictures.
        crop_scale (`float`, *optional*, defaults to 1.6):
            Side of the square around a face, in units of the longer side of the face's box.
        """
        self.vlm_processor = vlm_processor
        parts = {name: getattr(vlm_processor, name) for name in self.get_attributes()}
        super().__init__(**parts, chat_template=vlm_processor.chat_template)
        self.render_size = render_size
        self.crop_scale = crop_scale
        if self.face_token_id == self.tokenizer.unk_token_id:
            raise ValueError(
                f"got a tokenizer without the token {FACE_TOKEN}; make the processor by "
                "FaceGPTProcessor.from_vlm_processor, which adds it"
            )

    @classmethod
    def from_vlm_processor(
        cls, vlm_processor: Any, render_size: int = 112, crop_scale: float = 1.6
    ) -> "FaceGPTProcessor":
        """Wrap `vlm_processor`, whose tokenizer gets the token `<FACE>` if it has none.

        The model's embeddings must then be resized to `len(processor.tokenizer)` if they are fewer. `<FACE>` is no
        special token, so that a decoded answer shows where its faces are.
        """
        if FACE_TOKEN not in vlm_processor.tokenizer.get_vocab():
            vlm_processor.tokenizer.add_tokens([AddedToken(FACE_TOKEN, normalized=False)])
        return cls(vlm_processor, render_size, crop_scale)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> "FaceGPTProcessor":
        """Load a processor that `save_pretrained` wrote, or the files of one from the Hub. Code that lies beside them
        runs only with `trust_remote_code=True`; nobody is asked.

        Raises:
            ValueError: if `processor_config.json` is not that of a `FaceGPTProcessor`.
        """
        kwargs.setdefault("trust_remote_code", False)
        settings, _ = cls.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        name = settings.get("vlm_processor_class")
        processor_class = None if name is None else processor_class_from_name(name)
        if processor_class is None:
            raise ValueError(
                f"got {pretrained_model_name_or_path}, whose processor_config.json names vlm_processor_class={name}, "
                "wanted one that FaceGPTProcessor.save_pretrained wrote; a bare VLM's is wrapped by from_vlm_processor"
            )
        vlm_processor = processor_class.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return cls(vlm_processor, settings["render_size"], settings["crop_scale"])

    def save_pretrained(self, save_directory: str | PathLike, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Write the wrapped processor's files and, over its `processor_config.json`, one that names both classes."""
        self.vlm_processor.save_pretrained(save_directory)
        if self._auto_class is not None:
            # Not as the base class does, which also writes our class into the settings of tokenizer and image
            # processor, where it is none of theirs.
            custom_object_save(self, save_directory)
        files = [str(Path(save_directory) / PROCESSOR_NAME)]
        self.to_json_file(files[0])
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    def to_dict(self) -> dict[str, Any]:
        """The wrapped processor's settings and our own, side by side."""
        settings = self.vlm_processor.to_dict()
        settings["vlm_processor_class"] = type(self.vlm_processor).__name__
        settings["processor_class"] = type(self).__name__
        settings["render_size"] = self.render_size
        settings["crop_scale"] = self.crop_scale
        if self._auto_class is not None:
            settings["auto_map"] = {self._auto_class: f"{Path(__file__).stem}.{type(self).__name__}"}
        return settings

    def __getstate__(self) -> dict[str, Any]:
        """Without what was found out by trying: `datasets.map` must know a processor again after its first use."""
        return {name: value for name, value in self.__dict__.items() if name not in _CACHES}

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that every wrapped processor has, by the names that transformers knows them by."""
        return ["image_processor", "tokenizer"]

    @property
    def tokenizer(self) -> Any:
        return self.vlm_processor.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self.vlm_processor.tokenizer = tokenizer

    @property
    def image_processor(self) -> Any:
        return self.vlm_processor.image_processor

    @image_processor.setter
    def image_processor(self, image_processor: Any) -> None:
        self.vlm_processor.image_processor = image_processor

    def picture_settings(self) -> dict[str, Any]:
        """What a model's configuration must know of its pictures: `render_size`, and `image_mean` and `image_std` of
        sRGB, empty where the wrapped processor does not say."""
        settings = self.image_processor.to_dict()
        statistics = {name: list(settings.get(name) or []) for name in ("image_mean", "image_std")}
        return {"render_size": self.render_size, **statistics}

    @property
    def chat_template(self) -> Any:
        return self.vlm_processor.chat_template

    @chat_template.setter
    def chat_template(self, template: Any) -> None:
        self.vlm_processor.chat_template = template

    @property
    def image_token(self) -> str:
        return self.vlm_processor.image_token

    @property
    def image_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(self.image_token)

    @property
    def face_token(self) -> str:
        return FACE_TOKEN

    @property
    def face_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(FACE_TOKEN)

    @cached_property
    def end_token_id(self) -> int:
        """Id of the token that ends an answer, and with it a list of faces: the special token that the chat template
        writes right behind an answer, else the one that ends a text."""
        if self.chat_template is None:
            return self.tokenizer.eos_token_id
        answer = {"role": "assistant", "content": [{"type": "text", "text": FACE_TOKEN}]}
        written = self.apply_chat_template([*self.reconstruct_messages(), answer])
        with _TOKENIZING:
            behind = self.tokenizer(written.rpartition(FACE_TOKEN)[2], add_special_tokens=False)["input_ids"]
        special = behind and behind[0] in self.tokenizer.all_special_ids
        return behind[0] if special else self.tokenizer.eos_token_id

    @property
    def model_input_names(self) -> list[str]:
        return self.vlm_processor.model_input_names

    def apply_chat_template(self, conversation: Any, *args: Any, tokenize: bool = False, **kwargs: Any) -> Any:
        """As the wrapped processor's. With `tokenize=True`, images are framed as `reconstruct` frames photographs."""
        if tokenize:
            conversation = frame_images(conversation, self)
        with _TOKENIZING:
            return self.vlm_processor.apply_chat_template(conversation, *args, tokenize=tokenize, **kwargs)

    def _get_num_multimodal_tokens(self, *args: Any, **kwargs: Any) -> Any:
        """What inference servers ask a processor of transformers for: tokens of pictures, by their sizes alone."""
        return self.vlm_processor._get_num_multimodal_tokens(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> str:
        with _TOKENIZING:
            return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        with _TOKENIZING:
            return self.tokenizer.batch_decode(*args, **kwargs)

    def post_process_image_text_to_text(self, *args: Any, **kwargs: Any) -> list[str]:
        return self.vlm_processor.post_process_image_text_to_text(*args, **kwargs)

    def reconstruct_messages(self, close_up: bool = False, *, reference: str | None = None) -> list[dict[str, Any]]:
        """The question that `reconstruct` asks of one picture: every face, those that the words of `reference` name,
        or (`close_up`) the one in the middle."""
        question = RECONSTRUCT_ONE if close_up else RECONSTRUCT_ALL
        if reference is not None:
            question = RECONSTRUCT_NAMED.format(reference.rstrip(" ."))
        return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]

    @auto_docstring(custom_intro="Photographs and dialogue to the wrapped model's inputs.")
    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        *,
        messages: Sequence[Any] | None = None,
        pictures: Tensor | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        r"""
        messages (`list`, *optional*):
            In place of `text`, one dialogue or a list of them. A dialogue that ends with the user's turn is continued
            to where the answer begins. Tensors padded on the left are then the default, and with `pictures` too.
        pictures (`torch.Tensor` of shape `(B, 3, S, S)`, *optional*):
            In place of `images`, square sRGB pictures in [0, 1], such as `frame_photograph` cuts, one per image token.
        """
        if (images is not None and pictures is not None) or (text is not None and messages is not None):
            raise ValueError("got both images and pictures, or both text and messages; give one of each pair")
        if messages is not None:
            check_image_count(messages, images)
            text = self._write_dialogues(messages)
        prompts = [text] if isinstance(text, str) else list(text or [])
        if messages is not None or pictures is not None:
            kwargs = {"return_tensors": "pt", "padding": True, "padding_side": "left", **kwargs}
            # A dialogue's template may write the first token itself; it must not come twice.
            begin = self.tokenizer.bos_token
            begun = begin is not None and any(prompt.startswith(begin) for prompt in prompts)
            kwargs.setdefault("add_special_tokens", not begun)
        photographs = read_images(images)
        with _TOKENIZING:
            if pictures is not None:
                return self._read_pictures(pictures, prompts, kwargs)
            return self.vlm_processor(images=photographs, text=text, **kwargs)

    def _write_dialogues(self, messages: Sequence[Any]) -> list[str]:
        dialogues = [messages] if isinstance(messages[0], dict) else messages
        return [
            self.apply_chat_template(dialogue, add_generation_prompt=dialogue[-1]["role"] == "user")
            for dialogue in dialogues
        ]

    def _read_pictures(self, pictures: Tensor, text: list[str], settings: dict[str, Any]) -> BatchFeature:
        counts = [prompt.count(self.image_token) for prompt in text]
        tokens = sum(counts)
        if pictures.ndim != 4 or pictures.shape[1] != 3 or tokens != pictures.shape[0]:
            raise ValueError(
                f"got pictures of shape {tuple(pictures.shape)} for {tokens} image tokens; "
                "give one (3, S, S) picture per image token"
            )
        if not pictures.isfinite().all():
            raise ValueError("got pictures with pixels that are not finite; give sRGB values in [0, 1]")
        normalization = self._normalization
        if normalization is None or pictures.shape[2:] != (self.render_size, self.render_size):
            images = [[tensor_to_image(picture) for picture in part] for part in pictures.split(counts)]
            return self.vlm_processor(images=images, text=text, **settings)
        prompts = [prompt.replace(self.image_token, normalization.placeholder) for prompt in text]
        inputs = self.tokenizer(prompts, **settings)
        mean, deviation = normalization.mean.to(pictures), normalization.deviation.to(pictures)
        return BatchFeature({**inputs, "pixel_values": (pictures - mean) / deviation})

    @cached_property
    def _normalization(self) -> PictureNormalization | None:
        """How to do the wrapped processor's work on tensors, found by trying one picture; `None` if it does more.

        The wrapped processor takes milliseconds per picture and rounds to 8 bits; training draws pictures as tensors.
        """
        settings = self.image_processor.to_dict()
        if settings.get("image_mean") is None or settings.get("image_std") is None:
            return None
        side = self.render_size
        picture = (torch.arange(3 * side * side) % 256 / 255).view(3, side, side)
        theirs = self.vlm_processor(images=[tensor_to_image(picture)], text=[self.image_token], return_tensors="pt")
        if set(theirs) != {"input_ids", "attention_mask", "pixel_values"}:
            return None
        count = int((theirs["input_ids"] == self.image_token_id).sum())
        mean, deviation = (torch.tensor(settings[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
        normalization = PictureNormalization(mean, deviation, self.image_token * count)
        ours = (picture - mean) / deviation
        tokens = self.tokenizer([normalization.placeholder], return_tensors="pt")["input_ids"]
        same_picture = theirs["pixel_values"].shape == (1, 3, side, side) and torch.allclose(
            theirs["pixel_values"][0], ours, atol=1e-3
        )
        return normalization if same_picture and torch.equal(tokens, theirs["input_ids"]) else None

    def frame_photograph(self, image: Image.Image, focal: float | None = None) -> PictureFrame:
        """The whole photograph in the middle of a square picture, grey beside it.

        Args:
            image (`PIL.Image.Image`): RGB, upright.
            focal (`float`, *optional*): focal length in pixels of the photograph; default 1.2 times the longer side.
        """
        middle = (image.width / 2, image.height / 2)
        return frame_square(image, middle, max(image.size), size=self.render_size, focal=focal)

    def frame_face(self, image: Image.Image, box: Tensor, focal: float | None = None) -> PictureFrame:
        """The square around the middle of a face's box, grey where it leaves the photograph.

        Args:
            image (`PIL.Image.Image`): RGB, upright.
            box (`torch.Tensor` of shape `(4,)`): left, top, right, bottom in pixels of the photograph.
            focal (`float`, *optional*): focal length in pixels of the photograph; default 1.2 times the longer side.
        """
        left, top, right, bottom = (float(edge) for edge in box)
        side = max(right - left, bottom - top, 1.0) * self.crop_scale
        return frame_square(image, ((left + right) / 2, (top + bottom) / 2), side, size=self.render_size, focal=focal)
