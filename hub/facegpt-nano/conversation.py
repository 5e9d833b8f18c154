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
"""Images in chat messages: where they are, whether there are enough, and how they are framed for the model."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from PIL import Image

from .photograph import Photograph, read_photograph
from .picture_frame import tensor_to_image

_PLACES = ("image", "url", "path", "base64")  # where chat templates look for an image
_READ_HERE = (str, PathLike, bytes, Image.Image, Photograph)  # not arrays: the VLM's own processor knows their axes


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
