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
"""Reconstruction of all faces in photographs by prefills alone: nothing is sampled.

Look one, at the whole photograph: the answer is laid out as slots, `<FACE>` after `<FACE>`. Slots are filled, from
left to right, while `<FACE>` is likelier than the end of the list; the state that predicts a slot gives a first face.
Look two, at a square crop around each of them: the same two-way choice (a crop without a face is dropped), and the
face itself. The crop carries its affine map, so that both looks speak of the camera of the whole photograph. A face of
which look two is not sure must be there from closer by too. Each is then centred and looked at again.

Where look one saw faces and look two confirms none of them, the whole photograph was too small to tell: both are
repeated on parts of it. So they are where look one saw several: each is small then, and among others some are missed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from .camera import Camera, default_focal
from .face_head import parameter_standard_deviation
from .face_parameters import FaceParameters, concatenate_faces, select_faces, vector_to_parameters
from .picture_frame import PictureFrame, frame_square
from .processing_facegpt import FaceGPTProcessor
from .prompt_checks import check_length
from .reconstruction import (
    Reconstruction,
    distinct_faces,
    face_boxes,
    landmarks_in_photo,
    poses_agree,
    select_reconstruction,
)
from .refinement import refine

PART, PARTS = 0.6, 3  # of the longer side that a part shows, and how many there are along it
SURE = 0.99  # a face that needs no closer look; or that only a part shows: of so many looks some would err at a half
CLOSER, CONFIRMED = 0.85, 0.9  # a look at a face that the second was not sure of: part of its crop, least probability
CENTRED = 2  # more looks at each face, each centred on what the one before has seen
NEARBY = 0.25  # intersection over union with a face that is known, from which a part shows that one again


class Look(NamedTuple):
    """What one look at one picture found: N faces."""

    code: Tensor  # (N, P) what the head says
    log_variance: Tensor  # (N, P) of the code
    parameters: FaceParameters  # N faces
    standard_deviation: FaceParameters  # N faces
    probability: Tensor  # (N,)


class Picture(NamedTuple):
    """A photograph and the focal length by which it is looked at."""

    image: Image.Image  # RGB, upright
    focal: float  # pixels


def reconstruct(
    model: Any,
    processor: Any,
    images: Sequence[Image.Image],
    *,
    focals: Sequence[float | None] | None = None,
    refine_steps: int = 0,
    batch_size: int = 8,
) -> list[Reconstruction]:
    """All faces of each photograph.

    Args:
        model (`FaceGPTForConditionalGeneration`): in evaluation mode.
        processor (`FaceGPTProcessor` or `None`): `None` loads the one saved beside the model.
        images (sequence of `PIL.Image.Image`): RGB, upright.
        focals (sequence of `float` or `None`, *optional*): focal lengths in pixels; default 1.2 times the longer side.
        refine_steps (`int`): of fitting each face to its pixels afterwards, see `refine`.
        batch_size (`int`): pictures looked at together.

    Raises:
        ValueError: if there are not as many focal lengths as images, or an image is not RGB.
    """
    if processor is None:
        processor = FaceGPTProcessor.from_pretrained(model.name_or_path)
    pictures = check_pictures(images, focals)
    first = locate(model, processor, pictures, batch_size)
    second = look_closer(model, processor, pictures, [look.parameters for look in first], batch_size)
    second = centre(model, processor, pictures, confirm(model, processor, pictures, second, batch_size), batch_size)
    for number, (seen, looks) in enumerate(zip(first, second, strict=True)):
        if len(seen.probability) and not looks:
            second[number] = look_at_parts(model, processor, pictures[number], SURE, batch_size)
        elif len(seen.probability) > 1:
            second[number] = look_for_others(model, processor, pictures[number], looks, batch_size)
    found = [_gather(picture, looks, model) for picture, looks in zip(pictures, second, strict=True)]
    return refine(model, processor, images, found, steps=refine_steps, batch_size=batch_size)


def check_pictures(images: Sequence[Image.Image], focals: Sequence[float | None] | None = None) -> list[Picture]:
    """Images with their focal lengths, 1.2 times the longer side where none is known; see `reconstruct`."""
    given = [None] * len(images) if focals is None else list(focals)
    if len(given) != len(images):
        raise ValueError(f"got {len(given)} focal lengths for {len(images)} images; give one per image, or None")
    for image in images:
        if image.mode != "RGB":
            raise ValueError(f"got an image of mode {image.mode}, wanted RGB; call image.convert('RGB') first")
    return [Picture(image, focal or default_focal(*image.size)) for image, focal in zip(images, given, strict=True)]


def locate(
    model: Any,
    processor: FaceGPTProcessor,
    pictures: Sequence[Picture],
    batch_size: int = 8,
) -> list[Look]:
    """Look one: the faces of each whole photograph."""
    frames = [processor.frame_photograph(picture.image, picture.focal) for picture in pictures]
    messages = [processor.reconstruct_messages()] * len(frames)
    return look_at(model, processor, frames, messages, model.config.max_faces, batch_size)


def look_closer(
    model: Any,
    processor: FaceGPTProcessor,
    pictures: Sequence[Picture],
    faces: Sequence[FaceParameters],
    batch_size: int = 8,
) -> list[list[Look]]:
    """Look two, at a crop around each of the `faces` of each photograph: of each one face, or none if it was none."""
    crops = [frame_crops(model, processor, picture, seen) for picture, seen in zip(pictures, faces, strict=True)]
    looks = iter(_look_at_crops(model, processor, [crop for part in crops for crop in part], batch_size))
    return [[next(looks) for _ in part] for part in crops]


def confirm(
    model: Any,
    processor: FaceGPTProcessor,
    pictures: Sequence[Picture],
    seen: Sequence[list[Look]],
    batch_size: int = 8,
) -> list[list[Look]]:
    """The second looks at each photograph, where they were sure of a face. Where not, a look from closer by must find
    one too: what is like a face from afar, such as a sleeve, then is none."""
    unsure = [
        (row, number)
        for row, looks in enumerate(seen)
        for number, look in enumerate(looks)
        if len(look.probability) and float(look.probability) < SURE
    ]
    frames = [
        crop
        for row, number in unsure
        for crop in frame_crops(model, processor, pictures[row], seen[row][number].parameters, share=CLOSER)
    ]
    closer = _look_at_crops(model, processor, frames, batch_size)
    lost = {place for place, look in zip(unsure, closer, strict=True) if not (look.probability > CONFIRMED).any()}
    return [
        [look for number, look in enumerate(looks) if (row, number) not in lost and len(look.probability)]
        for row, looks in enumerate(seen)
    ]


def centre(
    model: Any,
    processor: FaceGPTProcessor,
    pictures: Sequence[Picture],
    seen: Sequence[list[Look]],
    batch_size: int = 8,
) -> list[list[Look]]:
    """Looks at each photograph with one face each, looked at again with the face in the middle."""
    looks = [list(part) for part in seen]
    rows = [row for row, part in enumerate(looks) if part]
    for _ in range(CENTRED):
        faces = [concatenate_faces([look.parameters for look in looks[row]]) for row in rows]
        again = look_closer(model, processor, [pictures[row] for row in rows], faces, batch_size)
        for row, part in zip(rows, again, strict=True):
            looks[row] = [new if len(new.probability) else old for old, new in zip(looks[row], part, strict=True)]
    return looks


def look_at_parts(
    model: Any, processor: FaceGPTProcessor, picture: Picture, least: float, batch_size: int = 8
) -> list[Look]:
    """Both looks at squares that together cover a photograph: of each face that one of them shows, with a probability
    of more than `least`."""
    frames = frame_parts(picture, processor.render_size)
    messages = [processor.reconstruct_messages()] * len(frames)
    looks = look_at(model, processor, frames, messages, model.config.max_faces, batch_size)
    [closer] = look_closer(
        model, processor, [picture], [concatenate_faces([look.parameters for look in looks])], batch_size
    )
    return [look for look in closer if (look.probability > least).any()]


def look_for_others(
    model: Any, processor: FaceGPTProcessor, picture: Picture, known: list[Look], batch_size: int = 8
) -> list[Look]:
    """The looks at a photograph with one face each that are `known`, and those at others that only its parts show."""
    found = look_at_parts(model, processor, picture, CONFIRMED, batch_size)
    if not found:
        return known
    [found] = centre(model, processor, [picture], [found], batch_size)
    looks, count = [*known, *found], len(known)
    parameters = concatenate_faces([look.parameters for look in looks])
    camera = photo_camera(picture, parameters.translation)
    boxes = face_boxes(landmarks_in_photo(model.face_model, parameters, camera))
    probability = torch.cat([look.probability for look in looks])
    probability[:count] += 1  # they come first
    alike = torch.ones(len(boxes), len(boxes), dtype=torch.bool, device=boxes.device)
    alike[:count, :count] = False  # whether two of them are one face is told later, by their poses
    new = distinct_faces(boxes, probability, NEARBY, alike=alike)[count:]
    return [*known, *(look for look, keep in zip(found, new.tolist(), strict=True) if keep)]


def frame_parts(picture: Picture, size: int) -> list[PictureFrame]:
    """Overlapping squares, `PART` of the longer side wide, side by side and one below the other."""
    side = PART * max(picture.image.size)
    across, down = (_part_centres(length, side) for length in picture.image.size)
    return [frame_square(picture.image, (x, y), side, size=size, focal=picture.focal) for y in down for x in across]


def _part_centres(length: float, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    return [side / 2 + (length - side) * step / (PARTS - 1) for step in range(PARTS)]


def frame_crops(
    model: Any, processor: FaceGPTProcessor, picture: Picture, faces: FaceParameters, *, share: float = 1.0
) -> list[PictureFrame]:
    """The crop around each of the N `faces` of a photograph, or (`share`) the middle of it."""
    camera = photo_camera(picture, faces.translation)
    boxes = face_boxes(landmarks_in_photo(model.face_model, faces, camera))
    middle = (boxes[:, :2] + boxes[:, 2:]).repeat(1, 2) / 2
    boxes = middle + share * (boxes - middle)
    return [processor.frame_face(picture.image, box, picture.focal) for box in boxes.cpu()]


def _look_at_crops(
    model: Any, processor: FaceGPTProcessor, frames: Sequence[PictureFrame], batch_size: int
) -> list[Look]:
    """The one face in the middle of each of `frames`, or none."""
    messages = [processor.reconstruct_messages(close_up=True)] * len(frames)
    return look_at(model, processor, frames, messages, 1, batch_size)


def look_at(
    model: Any,
    processor: FaceGPTProcessor,
    frames: Sequence[PictureFrame],
    messages: Sequence[list[dict[str, Any]]],
    slots: int,
    batch_size: int,
) -> list[Look]:
    """Fill up to `slots` slots of the answer to each of `messages` about each of `frames`."""
    looks = []
    for start in range(0, len(frames), batch_size):
        part = slice(start, start + batch_size)
        pictures = torch.stack([frame.picture for frame in frames[part]])
        cameras = torch.stack([frame.camera for frame in frames[part]]).to(model.device)
        inputs = processor(pictures=pictures, messages=messages[part]).to(model.device)
        check_length(inputs["input_ids"], model.config.get_text_config(), slots)
        looks += _look_at_batch(model, inputs, cameras, slots)
    return looks


def _look_at_batch(model: Any, inputs: Any, cameras: Tensor, slots: int) -> list[Look]:
    inputs = append_tokens(inputs, [model.config.face_token_id] * slots)
    cameras = cameras.repeat_interleave(slots, dim=0)
    outputs = model(**inputs, picture_cameras=cameras, logits_to_keep=slots + 1)
    probability = slot_probabilities(outputs.logits[:, :slots], model.config)
    count = (probability > 0.5).long().cumprod(-1).sum(-1)
    parameters = vector_to_parameters(outputs.face_parameters, model.face_model.config)
    deviation = parameter_standard_deviation(outputs.face_log_variance, parameters, cameras, model.face_model.config)
    looks = []
    for row, filled in enumerate(count.tolist()):
        chosen = slice(row * slots, row * slots + filled)
        looks.append(
            Look(
                code=outputs.face_code[chosen],
                log_variance=outputs.face_log_variance[chosen],
                parameters=select_faces(parameters, chosen),
                standard_deviation=select_faces(deviation, chosen),
                probability=probability[row, :filled],
            )
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


def photo_camera(picture: Picture, like: Tensor) -> Camera:
    """The photograph's camera, once per row of `like`; the principal point is the middle of the photograph."""
    faces = like.shape[0]
    centre = torch.tensor([picture.image.width / 2, picture.image.height / 2], device=like.device)
    return Camera(torch.full((faces,), float(picture.focal), device=like.device), centre.expand(faces, 2))


def _gather(picture: Picture, looks: list[Look], model: Any) -> Reconstruction:
    """The faces of one photograph, from left to right, the likeliest if parts show more than an answer may hold. A
    second look may move two onto the same face: one stays."""
    if not looks:
        empty = vector_to_parameters(
            torch.zeros(0, model.face_head.code_size, device=model.device), model.face_model.config
        )
        nothing = torch.zeros(0, device=model.device)
        return Reconstruction(picture.image.size, photo_camera(picture, nothing), empty, empty, nothing)
    parameters = concatenate_faces([look.parameters for look in looks])
    deviation = concatenate_faces([look.standard_deviation for look in looks])
    probability = torch.cat([look.probability for look in looks])
    camera = photo_camera(picture, probability)
    kept = torch.ones_like(probability, dtype=torch.bool)
    left_out = 0
    if len(probability) > 1:
        boxes = face_boxes(landmarks_in_photo(model.face_model, parameters, camera))
        kept = distinct_faces(boxes, probability, alike=poses_agree(parameters, deviation))
        left_out = max(0, int(kept.sum()) - model.config.max_faces)
        likeliest = torch.where(kept, probability, -1.0).argsort(descending=True, stable=True)
        kept[likeliest[model.config.max_faces :]] = False
    order = (parameters.translation[:, 0] / parameters.translation[:, 2].clamp(min=1e-6)).argsort()
    faces = Reconstruction(picture.image.size, camera, parameters, deviation, probability, left_out)
    return select_reconstruction(faces, order[kept[order]])
