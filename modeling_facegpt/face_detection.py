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
"""From photos to their faces: detect, crop, confirm, recentre, search tiles.

Every step shows the model pictures and asks for faces. A whole photo or a tile may hold several: the answer is laid
out as slots, `<FACE>` after `<FACE>`, filled from left to right while `<FACE>` is likelier than the end of the list. A
crop holds one face or none. The state that predicts a slot gives the face, in the camera of the whole photo: each
picture carries its affine map.

All pictures that a step needs are read together, so that one photo of one face costs four calls of the model and any
number of photos at most five for each `batch_size` pictures.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from .argument_checks import check_positive
from .camera import Camera, default_focal
from .configuration_facegpt import DetectionSettings
from .conversation import check_length
from .face_head import parameter_standard_deviation
from .face_parameters import FaceParameters, concatenate_faces, select_faces, vector_to_parameters
from .module_state import evaluating
from .photograph import read_photographs
from .picture_frame import PictureFrame, frame_square
from .processing_facegpt import FaceGPTProcessor
from .reconstruction import Reconstruction, distinct_faces, face_boxes, landmarks_in_photo, poses_agree
from .refinement import check_batch_size, refine


class Photo(NamedTuple):
    """A photo and the focal length by which it is read."""

    image: Image.Image  # RGB, upright
    focal: float  # pixels


class View(NamedTuple):
    """A picture of a photo that the model is shown."""

    frame: PictureFrame
    slots: int  # most faces that it is asked for; 1 asks for the face in the middle


class Detections(NamedTuple):
    """The N faces that one view shows, in the camera of the whole photo."""

    code: Tensor  # (N, P) of the face head
    log_variance: Tensor  # (N, P) of the code
    parameters: FaceParameters  # N faces
    standard_deviation: FaceParameters  # N faces
    probability: Tensor  # (N,)

    def select(self, index: slice | Tensor) -> "Detections":
        return Detections(
            code=self.code[index],
            log_variance=self.log_variance[index],
            parameters=select_faces(self.parameters, index),
            standard_deviation=select_faces(self.standard_deviation, index),
            probability=self.probability[index],
        )

    def split(self) -> "list[Detections]":
        """N detections of one face each."""
        return [self.select(slice(face, face + 1)) for face in range(len(self.probability))]


RECENTRINGS = 2  # crops after the first, each around the face that the last one showed

# One entry for each photo: the faces found in it, each by itself.
PhotoFaces = list[list[Detections]]


def reconstruct(
    model: Any,
    processor: Any,
    images: Any,
    *,
    focals: Any = None,
    refine_steps: int = 0,
    batch_size: int = 16,
) -> list[Reconstruction]:
    """All faces of each photo.

    Args:
        model (`FaceGPTForConditionalGeneration`): finds them, as in evaluation mode.
        processor (`FaceGPTProcessor` or `None`): `None` loads the one saved beside the model.
        images: a photo as `read_photograph` takes it (path, URL, bytes, `PIL.Image.Image`, array), or many.
        focals (`float`, or a sequence of `float` or `None`, *optional*): focal lengths in pixels; default EXIF's, else
            1.2 times the longer side.
        refine_steps (`int`): of fitting each face to its pixels afterwards, see `refine`.
        batch_size (`int`): pictures read together.

    Raises:
        ValueError: if a number or a photo makes no sense, or there are not as many focal lengths as images.
    """
    if processor is None:
        processor = model.load_processor()
    photos = check_photos(images, focals)
    check_batch_size(batch_size)
    faces = FaceDetector(model, processor, batch_size).detect(photos)
    found = [gather_faces(model, photo, part) for photo, part in zip(photos, faces, strict=True)]
    pixels = [photo.image for photo in photos]
    return refine(model, processor, pixels, found, steps=refine_steps, batch_size=batch_size)


def check_photos(images: Any, focals: Any = None) -> list[Photo]:
    """Photos, one or many, with their focal lengths: those given, else EXIF's, else 1.2 times the longer side.

    Args:
        images: whatever `read_photograph` takes; or a list or other iterable of such.
        focals (*optional*): in pixels, one for each photo, `None` where not known; or the one of one photo.

    Raises:
        ValueError: if there is none, a photo cannot be read, or a focal length is no finite number above 0.
    """
    read = read_photographs(images)
    given = [None] * len(read) if focals is None else list(focals) if isinstance(focals, Iterable) else [focals]
    if len(given) != len(read):
        raise ValueError(f"got {len(given)} focal lengths for {len(read)} images; give one per image, or None")
    for focal in given:
        if focal is not None:
            check_positive("a focal length of", focal)
    return [
        Photo(photo.image, float(focal or photo.focal or default_focal(*photo.image.size)))
        for photo, focal in zip(read, given, strict=True)
    ]


class FaceDetector:
    """Finds the faces of photos.

    Args:
        model (`FaceGPTForConditionalGeneration`): finds them, as in evaluation mode.
        processor (`FaceGPTProcessor`): cuts the pictures.
        batch_size (`int`): pictures read together.
    """

    def __init__(self, model: Any, processor: FaceGPTProcessor, batch_size: int = 16):
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self.settings: DetectionSettings = model.config.detection_settings

    def detect(self, photos: Sequence[Photo]) -> PhotoFaces:
        """The faces of each photo. They may overlap: `gather_faces` tells which are one.

        A face counts once its own crop shows it. Tiles are searched where the whole photo shows several faces, each of
        them small, or where no crop confirms any. A face that only a tile shows must be likelier than others, since of
        so many pictures some show what is none.
        """
        settings = self.settings
        # 1. Detect, in each whole photo.
        [whole] = self.read([[self.view_photo(photo)] for photo in photos])
        seen = [part.split() for [part] in whole]
        # 2. Crop around each detection; tiles of photos with several.
        several = [len(part) > 1 for part in seen]
        crops, tiles = self.read(self.view_crops(photos, seen), self.view_tiles(photos, several))
        faces = [_nonempty(part) for part in crops]
        others = self.distinct(photos, tiles)
        # 3. Confirm, closer by, what the crop left unsure; recentre; crop around what tiles show.
        unsure = [_below(part, settings.sure_probability) for part in faces]
        doubtful = [[part[number] for number in some] for part, some in zip(faces, unsure, strict=True)]
        closer, centred, others = self.read(
            self.view_crops(photos, doubtful, settings.confirmation_share),
            self.view_crops(photos, faces),
            self.view_crops(photos, others),
        )
        faces = _drop_unconfirmed(_replace(faces, centred), unsure, closer, settings.confirmed_probability)
        others = [_likelier(part, settings.confirmed_probability) for part in others]
        # 4. Recentre again; tiles of photos whose detections were all lost.
        missed = [bool(first) and not part for first, part in zip(seen, faces, strict=True)]
        centred, again, tiles = self.read(
            self.view_crops(photos, faces), self.view_crops(photos, others), self.view_tiles(photos, missed)
        )
        faces, others = _replace(faces, centred), _replace(others, again)
        # 5. The same for what tiles show.
        again, late = self.read(self.view_crops(photos, others), self.view_crops(photos, self.distinct(photos, tiles)))
        others = _replace(others, again)
        late = [_likelier(part, settings.sure_probability) for part in late]
        return [
            [*known, *self.new_faces(photo, known, [*more, *last])]
            for photo, known, more, last in zip(photos, faces, others, late, strict=True)
        ]

    def refind(self, photo: Photo, faces: FaceParameters) -> list[Detections]:
        """The N `faces` of a photo as their own crops show them: of each one face, recentred, or none."""
        [[crops]] = self.read([[View(frame, 1) for frame in self.frame_crops(photo, faces)]])
        found = [_nonempty(crops)]
        for _ in range(RECENTRINGS):
            [centred] = self.read(self.view_crops([photo], found))
            found = _replace(found, centred)
        centred = iter(found[0])
        return [next(centred) if len(crop.probability) else crop for crop in crops]

    def read(self, *groups: list[list[View]]) -> list[PhotoFaces]:
        """What the model detects in groups of views, each with a list for each photo; all are read together."""
        views = [view for group in groups for part in group for view in part]
        detections = iter(read_views(self.model, self.processor, views, self.batch_size))
        return [[[next(detections) for _ in part] for part in group] for group in groups]

    def view_photo(self, photo: Photo) -> View:
        """The whole photo."""
        return View(self.processor.frame_photograph(photo.image, photo.focal), self.model.config.max_faces)

    def view_tiles(self, photos: Sequence[Photo], chosen: Sequence[bool]) -> list[list[View]]:
        """Overlapping squares that cover each of the `chosen` photos."""
        slots, size = self.model.config.max_faces, self.processor.render_size
        return [
            [View(frame, slots) for frame in frame_tiles(photo, size, self.settings)] if search else []
            for photo, search in zip(photos, chosen, strict=True)
        ]

    def view_crops(self, photos: Sequence[Photo], faces: PhotoFaces, share: float = 1.0) -> list[list[View]]:
        """The crop around each face of each photo, or (`share`) the middle of it."""
        return [
            [View(frame, 1) for frame in self.frame_crops(photo, _joined(part), share)] if part else []
            for photo, part in zip(photos, faces, strict=True)
        ]

    def frame_crops(self, photo: Photo, faces: FaceParameters, share: float = 1.0) -> list[PictureFrame]:
        """The square around each of N faces of a photo, or (`share`) the middle of it."""
        boxes = self.boxes(photo, faces)
        middle = (boxes[:, :2] + boxes[:, 2:]).repeat(1, 2) / 2
        boxes = (middle + share * (boxes - middle)).cpu()
        return [self.processor.frame_face(photo.image, box, photo.focal) for box in boxes]

    def boxes(self, photo: Photo, faces: FaceParameters) -> Tensor:
        """Left, top, right, bottom `(N, 4)` of N faces, in pixels of their photo."""
        camera = photo_camera(photo, faces.translation)
        return face_boxes(landmarks_in_photo(self.model.face_model, faces, camera))

    def distinct(self, photos: Sequence[Photo], views: PhotoFaces) -> PhotoFaces:
        """The faces that the views of each photo show, each once where several views show it."""
        parts = []
        for photo, part in zip(photos, views, strict=True):
            faces = [face for seen in part for face in seen.split()]
            if len(faces) > 1:
                boxes = self.boxes(photo, _joined(faces))
                kept = distinct_faces(boxes, torch.cat([face.probability for face in faces]))
                faces = [face for face, keep in zip(faces, kept.tolist(), strict=True) if keep]
            parts.append(faces)
        return parts

    def new_faces(self, photo: Photo, known: list[Detections], found: list[Detections]) -> list[Detections]:
        """Those of the `found` faces of a photo that are none of the `known` ones, each once."""
        if not found:
            return []
        faces, count = [*known, *found], len(known)
        boxes = self.boxes(photo, _joined(faces))
        probability = torch.cat([face.probability for face in faces])
        probability[:count] += 1  # known faces come first
        alike = torch.ones(len(boxes), len(boxes), dtype=torch.bool, device=boxes.device)
        alike[:count, :count] = False  # gather_faces tells by their poses whether two of them are one
        new = distinct_faces(boxes, probability, self.settings.tile_overlap, alike=alike)[count:]
        return [face for face, keep in zip(found, new.tolist(), strict=True) if keep]


def frame_tiles(photo: Photo, size: int, settings: DetectionSettings) -> list[PictureFrame]:
    """Overlapping squares, side by side and one below the other, that cover a photo; `size` in pixels."""
    side = settings.tile_share * max(photo.image.size)
    across, down = (_tile_centres(length, side, settings.tiles_per_side) for length in photo.image.size)
    return [frame_square(photo.image, (x, y), side, size=size, focal=photo.focal) for y in down for x in across]


def _tile_centres(length: float, side: float, count: int) -> list[float]:
    if length <= side:
        return [length / 2]
    return [side / 2 + (length - side) * step / (count - 1) for step in range(count)]


def read_views(
    model: Any, processor: FaceGPTProcessor, views: Sequence[View], batch_size: int = 16
) -> list[Detections]:
    """What the model detects in each of `views`, `batch_size` of them together."""
    found = []
    for start in range(0, len(views), batch_size):
        part = views[start : start + batch_size]
        pictures = torch.stack([view.frame.picture for view in part])
        cameras = torch.stack([view.frame.camera for view in part]).to(model.device)
        messages = [processor.reconstruct_messages(close_up=view.slots == 1) for view in part]
        inputs = processor(pictures=pictures, messages=messages).to(model.device)
        slots = max(view.slots for view in part)
        check_length(inputs["input_ids"], model.config.get_text_config(), slots)
        faces = _fill_slots(model, inputs, cameras, slots)
        found += [detections.select(slice(view.slots)) for view, detections in zip(part, faces, strict=True)]
    return found


def _fill_slots(model: Any, inputs: Any, cameras: Tensor, slots: int) -> list[Detections]:
    """The faces of each row, from its first slots until the end of the list is likelier than another `<FACE>`."""
    inputs = append_tokens(inputs, [model.config.face_token_id] * slots)
    cameras = cameras.repeat_interleave(slots, dim=0)
    with evaluating(model):
        outputs = model(**inputs, picture_cameras=cameras, logits_to_keep=slots + 1)
    probability = slot_probabilities(outputs.logits[:, :slots], model.config)
    filled = (probability > 0.5).long().cumprod(-1).sum(-1)
    parameters = vector_to_parameters(outputs.face_parameters, model.face_model.config)
    deviation = parameter_standard_deviation(outputs.face_log_variance, parameters, cameras, model.face_model.config)
    every = Detections(outputs.face_code, outputs.face_log_variance, parameters, deviation, probability.flatten())
    return [every.select(slice(row * slots, row * slots + count)) for row, count in enumerate(filled.tolist())]


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


def photo_camera(photo: Photo, like: Tensor) -> Camera:
    """The photo's camera, once per row of `like`; the principal point is the middle of the photo."""
    faces = like.shape[0]
    centre = torch.tensor([photo.image.width / 2, photo.image.height / 2], device=like.device)
    return Camera(torch.full((faces,), float(photo.focal), device=like.device), centre.expand(faces, 2))


def gather_faces(model: Any, photo: Photo, faces: list[Detections]) -> Reconstruction:
    """The faces of one photo, from left to right, the likeliest if there are more than an answer may hold. Where crops
    of two detections show the same face, one stays."""
    if not faces:
        return _no_faces(model, photo)
    parameters, deviation = _joined(faces), concatenate_faces([face.standard_deviation for face in faces])
    probability = torch.cat([face.probability for face in faces])
    camera = photo_camera(photo, probability)
    landmarks = landmarks_in_photo(model.face_model, parameters, camera)
    kept = distinct_faces(face_boxes(landmarks), probability, alike=poses_agree(parameters, deviation))
    left_out = max(0, int(kept.sum()) - model.config.max_faces)
    likeliest = torch.where(kept, probability, -1.0).argsort(descending=True, stable=True)
    kept[likeliest[model.config.max_faces :]] = False
    order = (parameters.translation[:, 0] / parameters.translation[:, 2].clamp(min=1e-6)).argsort()
    chosen = order[kept[order]]
    return Reconstruction(
        photo.image.size,
        photo_camera(photo, chosen),
        select_faces(parameters, chosen),
        select_faces(deviation, chosen),
        probability[chosen],
        left_out,
    )


def _no_faces(model: Any, photo: Photo) -> Reconstruction:
    none = torch.zeros(0, model.face_head.code_size, device=model.device)
    empty = vector_to_parameters(none, model.face_model.config)
    return Reconstruction(photo.image.size, photo_camera(photo, none), empty, empty, none[:, 0])


def _joined(faces: Sequence[Any]) -> FaceParameters:
    return concatenate_faces([face.parameters for face in faces])


def _nonempty(faces: list[Detections]) -> list[Detections]:
    return [face for face in faces if len(face.probability)]


def _likelier(faces: list[Detections], least: float) -> list[Detections]:
    return [face for face in faces if (face.probability > least).any()]


def _below(faces: list[Detections], least: float) -> list[int]:
    """Numbers of those that are not as likely as `least`, or are none."""
    return [number for number, face in enumerate(faces) if not (face.probability >= least).any()]


def _drop_unconfirmed(faces: PhotoFaces, unsure: list[list[int]], closer: PhotoFaces, least: float) -> PhotoFaces:
    """The faces but those whose numbers are `unsure` and that crops from closer by show less likely than `least`."""
    kept = []
    for part, numbers, views in zip(faces, unsure, closer, strict=True):
        lost = {numbers[row] for row in _below(views, least)}
        kept.append([face for number, face in enumerate(part) if number not in lost])
    return kept


def _replace(faces: PhotoFaces, again: PhotoFaces) -> PhotoFaces:
    """Detections as they are found again; those that are not found again stay as they were."""
    return [
        [new if len(new.probability) else old for old, new in zip(*parts, strict=True)]
        for parts in zip(faces, again, strict=True)
    ]
