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
"""What is told and shown to the model in chat messages, made fit for it.

Words that it could only misread are refused in one sentence; the rest is written as it was trained to read. Images are
found, counted, and framed.
"""

import re
from collections.abc import Sequence
from os import PathLike
from typing import Any

from PIL import Image
from torch import Tensor

from .photograph import Photograph, read_photograph
from .picture_frame import tensor_to_image

_PLACES = ("image", "url", "path", "base64")  # where chat templates look for an image
_READ_HERE = (str, PathLike, bytes, Image.Image, Photograph)  # not arrays: the VLM's own processor knows their axes
# What questions begin with, in English.
_QUESTIONS = frozenset(
    "am are can could did do does had has have how is may shall should was were "
    "what when where which who whom whose why will would".split()
)


def check_words(words: Any, tokenizer: Any) -> str:
    """The words of a person, without blanks around them. Half characters, as bytes of a command line that are no
    UTF-8 become, which no tokenizer takes, are question marks.

    Args:
        words (`str`): what a person wrote.
        tokenizer (`PreTrainedTokenizerBase`): whose control tokens, such as `<FACE>`, may not be spelt in them: they
            would be read as the tokens themselves.

    Raises:
        ValueError: if it is no text, there are no words, or they spell a control token.
    """
    if not isinstance(words, str):
        raise ValueError(f"got words of type {type(words).__name__}, wanted a text; write them as one string")
    words = words.encode(errors="replace").decode().strip()
    if not words:
        raise ValueError("got an empty prompt, wanted at least one word; say what to do")
    spelt = [token for token in tokenizer.get_added_vocab() if token in words]
    if spelt:
        raise ValueError(
            f"got {max(spelt, key=len)} in a prompt, which is a control token of this model; "
            "write it without its brackets, or leave it out"
        )
    return words


def as_sentence(words: str) -> str:
    """Words as they are written and not as they are typed: a capital first, a question mark or full stop last.

    Dialogues to train on are written so. A small model takes "who is this" for something else than "Who is this?".

    Args:
        words (`str`): at least one. What ends in anything but a Latin letter or a digit gets nothing at its end.
    """
    words = words[0].upper() + words[1:]
    if words[-1].isascii() and words[-1].isalnum():
        begins = re.match(r"\w*", re.split(r"[.?!]\s+", words)[-1])
        words += "?" if begins and begins[0].lower() in _QUESTIONS else "."
    return words


def check_length(input_ids: Tensor, text_config: Any, new_tokens: int = 0) -> None:
    """Refuse dialogues that are longer than the language model reads.

    Args:
        input_ids (`torch.Tensor` of shape `(B, T)`): the dialogues.
        text_config (`PreTrainedConfig`): of the language model.
        new_tokens (`int`): what is still to be written.

    Raises:
        ValueError: if there is not room for all tokens.
    """
    longest = text_config.to_dict().get("max_position_embeddings")
    wanted = input_ids.shape[1] + new_tokens
    if longest is not None and wanted > longest:
        raise ValueError(
            f"got a dialogue of {input_ids.shape[1]} tokens and an answer of up to {new_tokens}, but this model reads "
            f"{longest} in all; say it in fewer words, or begin a new dialogue"
        )


def check_image_count(messages: Sequence[Any], images: Any) -> None:
    """Refuse images that are more or fewer than the messages have places for.

    Args:
        messages (`list`): one dialogue or a list of them.
        images (`Any`): one image, a list of them, a list of lists, or `None`: then they are given in another way.

    Raises:
        ValueError: if the numbers differ.
    """
    if images is None:
        return
    dialogues = [messages] if isinstance(messages[0], dict) else messages
    places = sum(_is_image(part) for dialogue in dialogues for message in dialogue for part in _parts(message))
    given = _count(images)
    if places != given:
        raise ValueError(
            f"got {given} images for {places} places of images in the messages; "
            'give one image per {"type": "image"}, in reading order'
        )


def frame_images(conversation: Any, processor: Any) -> Any:
    """A conversation, or several, whose images are the squares that `processor.frame_photograph` makes of them.

    Args:
        conversation (`list`): messages, or lists of messages; images are given as PIL images, URLs, paths or base64.
            Those given in any other way are left to the wrapped processor.
        processor (`FaceGPTProcessor`): frames the images.
    """
    if isinstance(conversation, dict):
        parts = _parts(conversation)
        if not any(_is_image(part) for part in parts):
            return conversation
        framed = [_frame(part, processor) if _is_image(part) else part for part in parts]
        return {**conversation, "content": framed}
    return [frame_images(part, processor) for part in conversation]


def read_images(images: Any) -> Any:
    """Images, or lists of them to any depth, upright and in sRGB; arrays and tensors are left as they are."""
    if isinstance(images, list | tuple) and not isinstance(images, Photograph):
        return [read_images(image) for image in images]
    return read_photograph(images).image if isinstance(images, _READ_HERE) else images


def _frame(part: dict[str, Any], processor: Any) -> dict[str, Any]:
    source = next((part[place] for place in _PLACES if part.get(place) is not None), None)
    if not isinstance(source, _READ_HERE):
        return part
    photograph = read_photograph(source)
    return {"type": "image", "image": tensor_to_image(processor.frame_photograph(photograph.image).picture)}


def _parts(message: dict[str, Any]) -> list[Any]:
    """What a message consists of; words alone are no list."""
    content = message.get("content")
    return list(content) if isinstance(content, list | tuple) else []


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image"


def _count(images: Any) -> int:
    return sum(_count(image) for image in images) if isinstance(images, list | tuple) else 1
