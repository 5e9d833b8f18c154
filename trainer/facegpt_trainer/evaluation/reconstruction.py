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
"""How good a checkpoint is: on photographs with landmarks, on renders with known faces, on pictures without a face.

Nothing here is seen in training: the photographs are those that recipes exclude, the renders come from other seeds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from modeling_facegpt.camera import Camera, default_camera
from modeling_facegpt.face_parameters import (
    FaceParameters,
    concatenate_faces,
    select_faces,
    vector_to_parameters,
)
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.photograph import read_photograph
from modeling_facegpt.processing_facegpt import FaceGPTProcessor
from modeling_facegpt.reconstruction import Reconstruction, face_boxes, landmarks_in_photo
from modeling_facegpt.renderer import render_mesh
from modeling_facegpt.rotations import rotation_6d_to_matrix

from ..pictures.data_engine import DataEngine, PictureBatch
from .held_out import face_model_on_cpu, held_out_seed, on_cpu
from .morphable_model import similarity_between

# Eye corners, nose wings, subnasale, mouth corners and lip centres: where people click and machines agree.
WELL_DEFINED_POINTS = (36, 39, 42, 45, 48, 54, 51, 57, 31, 35, 33)
OUTER_EYE_CORNERS = (36, 45)
HELD_OUT_CONGRESS = ("8", "9")
PICTURES_TOGETHER = 16
EXPRESSIVE = ("expression", "gaze")
RENDERED_SIDE = 2  # of held-out renders, over that of the picture that the model sees: photographs are larger too


def evaluate_photographs(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    data: Path,
    *,
    subset: str = "held-out",
    refine_steps: int = 0,
) -> dict[str, float]:
    """Landmark errors and faces found, whole photographs in.

    Args:
        model, processor: the checkpoint.
        data (`Path`): a folder with `landmarks.npz` (`files`, `mediapipe68` and, for some, `human_files`,
            `human68_approx`; pixels) and the pictures that it names.
        subset (`str`): `"held-out"` photographs (those that training excludes), or `"all"`, for faces found alone.
        refine_steps (`int`): of fitting faces to their pixels, see `reconstruct`.

    Returns:
        `dict`: errors are mean distances over the outer-eye distance, in per cent; shares in per cent; colours
        are those of the rendered face against the photograph.
    """
    with np.load(data / "landmarks.npz") as arrays:
        machine = dict(zip(arrays["files"].tolist(), arrays["mediapipe68"][..., :2], strict=True))
        human = dict(zip(arrays["human_files"].tolist(), arrays["human68_approx"], strict=True))
    names = [name for name in machine if subset == "all" or _is_held_out(name)]
    errors: dict[str, list[float]] = {}
    faces_found = []
    face_model = face_model_on_cpu(model)
    for name, image, reconstruction in _reconstruct_files(model, processor, data, names, refine_steps):
        faces_found.append(len(reconstruction.probability))
        if not faces_found[-1] or subset == "all":
            continue
        points = _largest_face_landmarks(face_model, reconstruction)
        group = name.split("/")[0]
        if _is_held_out(name):
            errors.setdefault(f"{group}: colour of the face, % of white", []).append(
                _colour_error(face_model, processor, image, reconstruction)
            )
            errors.setdefault(f"{group}: 68 machine points, % of outer-eye distance", []).append(
                _error(points, torch.as_tensor(machine[name]), range(68))
            )
        if name in human:
            errors.setdefault(f"{group}: 11 human points, % of outer-eye distance", []).append(
                _error(points, torch.as_tensor(human[name]), WELL_DEFINED_POINTS)
            )
    found = torch.tensor(faces_found)
    return {name: float(np.mean(values)) for name, values in sorted(errors.items())} | {
        "photographs": float(len(names)),
        "a face found, % of photographs": 100 * float((found > 0).float().mean()),
        "more than one found, % of photographs": 100 * float((found > 1).float().mean()),
    }


class ShapeErrors(NamedTuple):
    """Mean distances over the face region after similarity alignment, in metres, one per face that was found."""

    ours: list[float]
    without_identity: list[float]  # of ours with the identity set to zero: what expression alone reaches
    mean_face: list[float]
    neutral: list[float]  # without expression, of ours and of the truth
    neutral_mean_face: list[float]

    def add(self, face_model: MorphableModel, found: FaceParameters, true: FaceParameters) -> None:
        """The errors of one face."""
        face = face_model.region("face") > 0.5
        mean, unknown = face_model.template[face], torch.zeros_like(found.identity)
        calm = {name: torch.zeros_like(values) for name, values in found._asdict().items() if name in EXPRESSIVE}
        target, neutral = (face_model(faces).vertices[0, face] for faces in (true, true._replace(**calm)))
        shapes = (found, found._replace(identity=unknown), found._replace(**calm))
        mine, nobody, still = (face_model(faces).vertices[0, face] for faces in shapes)
        pairs = ((mine, target), (nobody, target), (mean, target), (still, neutral), (mean, neutral))
        for errors, pair in zip(self, pairs, strict=True):
            errors.append(_aligned_error(*pair))

    def figures(self) -> dict[str, float]:
        """Millimetres, and how far ours are below each baseline in per cent."""
        ours, without, mean, neutral, neutral_mean = (1000 * float(np.mean(errors)) for errors in self)
        return {
            "vertex error, mm": ours,
            "vertex error of the mean face, mm": mean,
            "below the mean face, %": 100 * (1 - ours / mean),
            "the same with the identity set to zero, mm": without,
            "the same with the identity set to zero, below the mean face, %": 100 * (1 - without / mean),
            "vertex error of neutral shapes, mm": neutral,
            "vertex error of the mean face to neutral shapes, mm": neutral_mean,
            "neutral shapes below the mean face, %": 100 * (1 - neutral / neutral_mean),
        }


def evaluate_renders(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    *,
    pictures: int = 200,
    refine_steps: int = 0,
    seed: int = 0,
) -> dict[str, float]:
    """Geometry, pose and appearance of held-out renders of one face each, drawn as whole photographs.

    Args:
        model, processor: the checkpoint.
        pictures (`int`): how many.
        refine_steps (`int`): of fitting faces to their pixels, see `reconstruct`.
        seed (`int`): from 0 on; another one draws other pictures.

    Returns:
        `dict`: mean vertex errors over the face region in millimetres, pose-free after similarity alignment: of the
        checkpoint, of the mean face, of the checkpoint's faces with the identity set to zero, and of shapes without
        expression; mean angle between head rotations in degrees; how much of the variance of each group of parameters
        is explained, in per cent (0: no better than the average).
    """
    face_model = face_model_on_cpu(model)
    engine = DataEngine(face_model, RENDERED_SIDE * model.config.render_size, held_out_seed(seed))
    shapes = ShapeErrors([], [], [], [], [])
    landmarks, angles = [], []
    found: list[FaceParameters] = []
    wanted: list[FaceParameters] = []
    for batch in held_out_batches(engine, pictures, faces=1):
        images = to_images(batch.pictures)
        true = vector_to_parameters(batch.face_targets, face_model.config)
        side = float(engine.side)
        camera = default_camera(len(images), side, batch.face_targets)
        points = landmarks_in_photo(face_model, true, camera)
        reconstructions = model.reconstruct(images, processor, refine_steps=refine_steps, batch_size=PICTURES_TOGETHER)
        for row, reconstruction in enumerate(on_cpu(reconstructions)):
            if not len(reconstruction.probability):
                continue
            found.append(select_faces(reconstruction.parameters, reconstruction.probability.argmax()[None]))
            wanted.append(select_faces(true, torch.tensor([row])))
            shapes.add(face_model, found[-1], wanted[-1])
            landmarks.append(_error(_largest_face_landmarks(face_model, reconstruction), points[row], range(68)))
            angles.append(_angle_between(found[-1].rotation, wanted[-1].rotation))
    if not found:
        return {"renders with one face": float(pictures), "not found, %": 100.0}
    return {
        "renders with one face": float(pictures),
        "not found, %": 100 * (1 - len(found) / pictures),
        **shapes.figures(),
        "68 landmarks, % of outer-eye distance": float(np.mean(landmarks)),
        "head rotation, degrees off": float(np.mean(angles)),
    } | _explained(concatenate_faces(found), concatenate_faces(wanted))


def evaluate_presence(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    data: Path | None = None,
    *,
    pictures: int = 400,
    seed: int = 0,
) -> dict[str, float]:
    """How often no face is found where there is none: in held-out drawn pictures and, with `data`, in the lowest part
    of portraits (clothes, hands, backgrounds)."""
    engine = DataEngine(face_model_on_cpu(model), model.config.render_size, held_out_seed(seed) + 1)
    drawn = [image for batch in held_out_batches(engine, pictures, faces=0) for image in to_images(batch.pictures)]
    results = {"drawn pictures without a face": float(pictures)}
    results["none found, % of them"] = _share_without_face(model, processor, drawn)
    if data is not None:
        pieces = list(_faceless_pieces(data))
        results["pieces of photographs without a face"] = float(len(pieces))
        results["none found, % of the pieces"] = _share_without_face(model, processor, pieces)
    return results


def _share_without_face(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, images: list[Image.Image]
) -> float:
    found = model.reconstruct(images, processor, batch_size=PICTURES_TOGETHER)
    return 100 * float(np.mean([len(reconstruction.probability) == 0 for reconstruction in found]))


def _faceless_pieces(data: Path) -> Iterator[Image.Image]:
    """What lies below the chin, and beside the head, of held-out photographs."""
    with np.load(data / "landmarks.npz") as arrays:
        known = dict(zip(arrays["files"].tolist(), arrays["mediapipe68"][..., :2], strict=True))
    for name, points in known.items():
        if not _is_held_out(name):
            continue
        image = read_photograph(data / name).image
        below = int(points[:, 1].max() + 0.15 * np.ptp(points[:, 1]))
        if image.height - below >= 32:
            yield image.crop((0, below, image.width, image.height))
        beside = int(points[:, 0].min() - 0.6 * np.ptp(points[:, 0]))
        if beside >= 32:
            yield image.crop((0, 0, beside, image.height))


def _is_held_out(name: str) -> bool:
    return not name.startswith("congress/") or Path(name).stem.endswith(HELD_OUT_CONGRESS)


def _reconstruct_files(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    data: Path,
    names: list[str],
    refine_steps: int,
) -> Iterator[tuple[str, Image.Image, Reconstruction]]:
    for start in tqdm(range(0, len(names), PICTURES_TOGETHER), desc="photographs", unit="batch", disable=None):
        chosen = names[start : start + PICTURES_TOGETHER]
        photographs = [read_photograph(data / name) for name in chosen]
        images = [photograph.image for photograph in photographs]
        focals = [photograph.focal for photograph in photographs]
        found = model.reconstruct(
            images, processor, focals=focals, refine_steps=refine_steps, batch_size=PICTURES_TOGETHER
        )
        yield from zip(chosen, images, on_cpu(found), strict=True)


def _colour_error(
    face_model: MorphableModel,
    processor: FaceGPTProcessor,
    image: Image.Image,
    reconstruction: Reconstruction,
) -> float:
    """Mean difference of sRGB values between the largest face as rendered and the photograph, in per cent."""
    points = landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera)
    largest = _largest(points)
    face = select_faces(reconstruction.parameters, largest[None])
    frame = processor.frame_face(image, face_boxes(points)[largest], focal=float(reconstruction.camera.focal[largest]))
    side = frame.picture.shape[-1]
    camera = Camera(frame.camera[None, 0] * side, frame.camera[None, 1:] * side)
    region = face_model.region("face")[None, :, None]
    render = render_mesh(face_model(face), face, camera, (side, side), attributes=region)
    weight = render.mask[0] * (cast(Tensor, render.attributes)[0] > 0.5)
    return 100 * float(((render.image[0] - frame.picture).abs().mean(0) * weight).sum() / weight.sum().clamp(min=1))


def _largest_face_landmarks(face_model: MorphableModel, reconstruction: Reconstruction) -> Tensor:
    points = landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera)
    return points[_largest(points)]


def _largest(points: Tensor) -> Tensor:
    """Index of the largest face of landmarks `(N, L, 2)`."""
    return (points.amax(1) - points.amin(1)).prod(-1).argmax()


def _error(points: Tensor, target: Tensor, chosen: tuple[int, ...] | range) -> float:
    """Mean distance of the chosen points over the outer-eye distance, in per cent."""
    eyes = (target[OUTER_EYE_CORNERS[0]] - target[OUTER_EYE_CORNERS[1]]).norm()
    index = list(chosen)
    return 100 * float((points[index] - target[index]).norm(dim=-1).mean() / eyes)


def _angle_between(rotation: Tensor, other: Tensor) -> float:
    """Degrees between rotations `(1, 6)`."""
    relative = rotation_6d_to_matrix(rotation) @ rotation_6d_to_matrix(other).mT
    return float(torch.rad2deg(((relative.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()))


def _explained(found: FaceParameters, wanted: FaceParameters) -> dict[str, float]:
    """Explained variance of the groups that do not depend on the camera, in per cent."""
    results = {}
    for name in ("identity", "expression", "albedo", "light"):
        mine, true = getattr(found, name), getattr(wanted, name)
        unexplained = (mine - true).square().sum() / (true - true.mean(0)).square().sum()
        results[f"{name} explained, %"] = 100 * float(1 - unexplained)
    return results


def _aligned_error(points: Tensor, target: Tensor) -> float:
    """Mean distance of points `(V, 3)` to `target` after the best similarity."""
    scale, rotation, translation = similarity_between(points, target)
    return float((scale * points @ rotation.T + translation - target).norm(dim=-1).mean())


def held_out_batches(engine: DataEngine, pictures: int, *, faces: int) -> Iterator[PictureBatch]:
    """Whole photographs of `faces` people each; whom the others hide is not counted."""
    for start in tqdm(range(0, pictures, PICTURES_TOGETHER), desc="pictures", unit="batch", disable=None):
        count = min(PICTURES_TOGETHER, pictures - start)
        generator = torch.Generator().manual_seed(engine.seed + start)
        yield engine.compose(generator, torch.zeros(count, dtype=torch.bool), torch.full((count,), faces))


def to_images(pictures: Tensor) -> list[Image.Image]:
    """Pictures `(B, 3, S, S)` in [0, 1] as files hold them."""
    pixels = (255 * pictures).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]
