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
"""Reconstruction of all faces of photographs, by prefills alone: no token is sampled.

Look one, at the whole photograph: the answer is laid out as slots, `<FACE>` after `<FACE>`. Slots are filled, from
left to right, while `<FACE>` is likelier than the end of the list; the state that predicts a slot gives a first face.
Look two, at a square crop around each of them: the same two-way choice (a crop without a face is dropped), and the
face itself. The crop carries its affine map, so that both looks speak of the camera of the whole photograph.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from .camera import Camera, default_focal
from .face_head import parameter_standard_deviation
from .face_parameters import FaceParameters, concatenate_faces, select_faces, vector_to_parameters
from .processing_facegpt import FaceGPTProcessor
from .reconstruction import Reconstruction, distinct_faces, face_boxes, landmarks_in_photo


class Look(NamedTuple):
    """What one look at one picture found."""

    parameters: FaceParameters  # N faces
    standard_deviation: FaceParameters  # N faces
    probability: Tensor  # (N,)


def reconstruct(
    model: Any,
    processor: Any,
    images: Sequence[Image.Image],
    *,
    focals: Sequence[float | None] | None = None,
    batch_size: int = 8,
) -> list[Reconstruction]:
    """All faces of each photograph.

    Args:
        model (`FaceGPTForConditionalGeneration`): in evaluation mode.
        processor (`FaceGPTProcessor` or `None`): `None` loads the one saved beside the model.
        images (sequence of `PIL.Image.Image`): RGB, upright.
        focals (sequence of `float` or `None`, *optional*): focal lengths in pixels; default 1.2 times the longer side.
        batch_size (`int`): pictures looked at together.

    Raises:
        ValueError: if there are not as many focal lengths as images, or an image is not RGB.
    """
    if processor is None:
        processor = FaceGPTProcessor.from_pretrained(model.name_or_path)
    given = [None] * len(images) if focals is None else list(focals)
    if len(given) != len(images):
        raise ValueError(f"got {len(given)} focal lengths for {len(images)} images; give one per image, or None")
    for image in images:
        if image.mode != "RGB":
            raise ValueError(f"got an image of mode {image.mode}, wanted RGB; call image.convert('RGB') first")
    known = [focal or default_focal(*image.size) for image, focal in zip(images, given, strict=True)]
    frames = [processor.frame_photograph(image, focal) for image, focal in zip(images, known, strict=True)]
    first = _look(model, processor, frames, batch_size, slots=model.config.max_faces, close_up=False)
    crops, owners = [], []
    for number, look in enumerate(first):
        camera = _photo_camera(images[number], known[number], look.probability)
        boxes = face_boxes(landmarks_in_photo(model.face_model, look.parameters, camera))
        crops += [processor.frame_face(images[number], box, known[number]) for box in boxes.cpu()]
        owners += [number] * len(boxes)
    second = _look(model, processor, crops, batch_size, slots=1, close_up=True)
    return [
        _gather(image, focal, [look for look, owner in zip(second, owners, strict=True) if owner == number], model)
        for number, (image, focal) in enumerate(zip(images, known, strict=True))
    ]


def _look(model: Any, processor: Any, frames: list, batch_size: int, *, slots: int, close_up: bool) -> list[Look]:
    looks = []
    for start in range(0, len(frames), batch_size):
        batch = frames[start : start + batch_size]
        pictures = torch.stack([frame.picture for frame in batch])
        cameras = torch.stack([frame.camera for frame in batch])
        looks += _look_at_batch(model, processor, pictures, cameras, slots=slots, close_up=close_up)
    return looks


def _look_at_batch(
    model: Any, processor: Any, pictures: Tensor, cameras: Tensor, *, slots: int, close_up: bool
) -> list[Look]:
    messages = processor.reconstruct_messages(close_up)
    inputs = processor(pictures=pictures, messages=[messages] * len(pictures)).to(model.device)
    inputs = append_tokens(inputs, [model.config.face_token_id] * slots)
    cameras = cameras.to(model.device).repeat_interleave(slots, dim=0)
    outputs = model(**inputs, picture_cameras=cameras, logits_to_keep=slots + 1)
    probability = slot_probabilities(outputs.logits[:, :slots], model.config)
    count = (probability > 0.5).long().cumprod(-1).sum(-1)
    parameters = vector_to_parameters(outputs.face_parameters, model.face_model.config)
    deviation = parameter_standard_deviation(outputs.face_log_variance, parameters, cameras, model.face_model.config)
    looks = []
    for row, filled in enumerate(count.tolist()):
        chosen = slice(row * slots, row * slots + filled)
        looks.append(
            Look(select_faces(parameters, chosen), select_faces(deviation, chosen), probability[row, :filled])
        )
    return looks


def append_tokens(inputs: Any, tokens: list[int]) -> Any:
    """`inputs` with `tokens` at the end of every row; rows must be padded on the left or not at all."""
    rows = inputs["input_ids"].shape[0]
    tail = inputs["input_ids"].new_tensor(tokens).expand(rows, -1)
    ones = inputs["attention_mask"].new_ones(tail.shape)
    inputs["input_ids"] = torch.cat((inputs["input_ids"], tail), dim=1)
    inputs["attention_mask"] = torch.cat((inputs["attention_mask"], ones), dim=1)
    return inputs


def slot_probabilities(logits: Tensor, config: Any) -> Tensor:
    """P(`<FACE>`) against P(end), as a two-way choice, from logits `(B, slots, vocabulary)`: `(B, slots)`."""
    return torch.sigmoid(logits[..., config.face_token_id].float() - logits[..., config.end_token_id].float())


def _photo_camera(image: Image.Image, focal: float, like: Tensor) -> Camera:
    """The photograph's camera, once per row of `like`; the principal point is the middle of the photograph."""
    faces = like.shape[0]
    centre = torch.tensor([image.width / 2, image.height / 2], device=like.device)
    return Camera(torch.full((faces,), float(focal), device=like.device), centre.expand(faces, 2))


def _gather(image: Image.Image, focal: float, looks: list[Look], model: Any) -> Reconstruction:
    """The faces of one photograph, from left to right. A second look may move two onto the same face: one stays."""
    if not looks:
        empty = vector_to_parameters(
            torch.zeros(0, model.face_head.code_size, device=model.device), model.face_model.config
        )
        looks = [Look(empty, empty, torch.zeros(0, device=model.device))]
    parameters = concatenate_faces([look.parameters for look in looks])
    deviation = concatenate_faces([look.standard_deviation for look in looks])
    probability = torch.cat([look.probability for look in looks])
    camera = _photo_camera(image, focal, probability)
    kept = torch.ones_like(probability, dtype=torch.bool)
    if len(probability) > 1:
        boxes = face_boxes(landmarks_in_photo(model.face_model, parameters, camera))
        kept = distinct_faces(boxes, probability)
    order = (parameters.translation[:, 0] / parameters.translation[:, 2].clamp(min=1e-6)).argsort()
    order = order[kept[order]]
    return Reconstruction(
        size=image.size,
        camera=_photo_camera(image, focal, probability[order]),
        parameters=select_faces(parameters, order),
        standard_deviation=select_faces(deviation, order),
        probability=probability[order],
    )
