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
"""Analysis by synthesis at test time: faces that a checkpoint found are fitted to the photograph itself.

What the face head says is a Gaussian for each face; here it is the prior, and the photograph, through the renderer,
is the evidence. Gradient descent goes from the head's mean towards the mode of the two together (Blanz and Vetter
1999, "A Morphable Model for the Synthesis of 3D Faces", with a prior that has seen the picture). What the photograph
does not show stays as the head said, and the surer the head is, the less it moves.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from PIL import Image
from torch import Tensor

from .camera import Camera
from .configuration_facegpt import MorphableModelConfig
from .face_head import decode, encode, parameter_standard_deviation
from .face_parameters import FaceParameters, concatenate_faces, parameters_to_vector, select_faces
from .losses import masked_photometric_loss
from .mesh import Mesh
from .morphable_model import MorphableModel
from .photograph import read_photographs
from .reconstruction import Reconstruction, face_boxes, landmarks_in_photo
from .renderer import render_mesh

LEARNING_RATE = 0.05  # standard deviations per step
# sRGB. Pixels of a face err together, so that thousands of them weigh as much as this one number says.
PHOTOMETRIC_DEVIATION = 0.001


class _Crops(NamedTuple):
    """N faces, each in a square picture of its own."""

    pictures: Tensor  # (N, 3, S, S) sRGB in [0, 1]
    cameras: Tensor  # (N, 3) in units of the picture's side
    parameters: FaceParameters  # N faces
    standard_deviation: FaceParameters  # N faces, in the parameters' units


def refine(
    model: Any,
    processor: Any,
    images: Any,
    reconstructions: Reconstruction | Sequence[Reconstruction],
    *,
    steps: int = 40,
    batch_size: int = 8,
    done: Callable[[int], None] = lambda faces: None,
) -> list[Reconstruction]:
    """Fit each face of each photograph to its pixels; a face never ends worse, by the objective, than it began.

    Args:
        model (`FaceGPTForConditionalGeneration`): the 3DMM and the device are its.
        processor (`FaceGPTProcessor`): cuts the square around a face, as for the second look.
        images: a photograph as `read_photograph` takes it, or a sequence of such.
        reconstructions (`Reconstruction`, or a sequence of such): what `reconstruct` found in each of them.
        steps (`int`): of gradient descent; 0 changes nothing.
        batch_size (`int`): faces fitted together.
        done (`Callable`): told of the number of faces of each batch that is done.

    Returns:
        `list[Reconstruction]`: with new parameters; probabilities and standard deviations stay.

    Raises:
        ValueError: if there are not as many reconstructions as images, `steps` is negative, or faces come without
            standard deviations.
    """
    photographs = [photograph.image for photograph in read_photographs(images)]
    reconstructions = [reconstructions] if isinstance(reconstructions, Reconstruction) else list(reconstructions)
    if len(photographs) != len(reconstructions):
        raise ValueError(
            f"got {len(reconstructions)} reconstructions of {len(photographs)} images; give one per image"
        )
    check_batch_size(batch_size)
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"got steps={steps} of refinement, wanted a whole number; give 0 for none, or such as 40")
    counts = [len(reconstruction.probability) for reconstruction in reconstructions]
    if steps == 0 or not sum(counts):
        return list(reconstructions)
    fitted = []
    for crops in _cut(model, processor, photographs, reconstructions, batch_size):
        fitted.append(_fit(model.face_model, crops, steps))
        done(len(crops.pictures))
    faces = concatenate_faces(fitted)
    starts = torch.tensor([0, *counts]).cumsum(0).tolist()
    return [
        reconstruction._replace(parameters=select_faces(faces, slice(start, start + count)))
        for reconstruction, start, count in zip(reconstructions, starts, counts, strict=False)
    ]


def check_batch_size(batch_size: Any) -> None:
    """A whole number of pictures, at least one."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"got batch_size={batch_size}, wanted a whole number of at least 1; give such as 8")


def _cut(
    model: Any, processor: Any, images: Sequence[Image.Image], found: Sequence[Reconstruction], batch_size: int
) -> Iterator[_Crops]:
    """The squares around all faces, in batches."""
    frames = []
    for image, reconstruction in zip(images, found, strict=True):
        points = landmarks_in_photo(model.face_model, reconstruction.parameters, reconstruction.camera)
        focals = reconstruction.camera.focal.tolist()
        boxes = face_boxes(points).cpu()
        frames += [processor.frame_face(image, box, focal) for box, focal in zip(boxes, focals, strict=True)]
    parameters = concatenate_faces([reconstruction.parameters for reconstruction in found])
    deviation = concatenate_faces([_known_deviation(reconstruction) for reconstruction in found])
    for start in range(0, len(frames), batch_size):
        chosen = slice(start, start + batch_size)
        yield _Crops(
            torch.stack([frame.picture for frame in frames[chosen]]).to(model.device),
            torch.stack([frame.camera for frame in frames[chosen]]).to(model.device),
            select_faces(parameters, chosen),
            select_faces(deviation, chosen),
        )


def _known_deviation(reconstruction: Reconstruction) -> FaceParameters:
    if reconstruction.standard_deviation is None:
        raise ValueError(
            "got faces without standard deviations, as those made from words are; give what reconstruct found"
        )
    return reconstruction.standard_deviation


def _fit(face_model: MorphableModel, crops: _Crops, steps: int) -> FaceParameters:
    """Adam on steps in units of the head's standard deviation, where the prior is round; the best step is kept."""
    # Whatever the caller has switched off or on: this needs gradients, and float32.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(crops.pictures.device.type, enabled=False),
    ):
        return _descend(face_model, _own_copy(crops), steps)


def _own_copy(crops: _Crops) -> _Crops:
    """The same numbers in tensors that were not made in inference mode, so that gradients can pass."""
    pictures, cameras, *faces = crops
    copies = (FaceParameters(*(group.clone() for group in face)) for face in faces)
    return _Crops(pictures.clone(), cameras.clone(), *copies)


def _descend(face_model: MorphableModel, crops: _Crops, steps: int) -> FaceParameters:
    config = face_model.config
    start = encode(crops.parameters, crops.cameras, config).detach()
    deviation = _deviation_of_code(crops, config)
    step = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([step], lr=LEARNING_RATE)
    best = start.new_full((len(start),), torch.inf)
    best_step = torch.zeros_like(start)
    for number in range(steps + 1):
        parameters = decode(start + step * deviation, crops.cameras, config)
        objective = _photometric_error(face_model, parameters, crops) / PHOTOMETRIC_DEVIATION
        objective = objective + 0.5 * step.square().sum(-1)
        better = objective.detach() < best
        best = torch.where(better, objective.detach(), best)
        best_step = torch.where(better[:, None], step.detach(), best_step)
        if number < steps:
            optimizer.zero_grad()
            objective.sum().backward()
            optimizer.step()
    # A face that did not move is the one that came in, to the last bit.
    moved = best_step.ne(0).any(-1, keepdim=True)
    found = decode(start + best_step * deviation, crops.cameras, config)
    pairs = zip(found, crops.parameters, strict=True)
    return FaceParameters(*(torch.where(moved, new, old).detach() for new, old in pairs))


def _deviation_of_code(crops: _Crops, config: MorphableModelConfig) -> Tensor:
    """Standard deviations `(N, P)` of the codes, from those of the parameters."""
    like = parameters_to_vector(crops.parameters)
    unit = parameter_standard_deviation(torch.zeros_like(like), crops.parameters, crops.cameras, config)
    groups = FaceParameters(*(known / one for known, one in zip(crops.standard_deviation, unit, strict=True)))
    # Numbers of a pose are no multiples of single numbers of its code: there, one ratio for all of a group.
    pose = {
        name: (
            getattr(crops.standard_deviation, name).norm(dim=-1, keepdim=True)
            / getattr(unit, name).norm(dim=-1, keepdim=True)
        ).expand_as(getattr(unit, name))
        for name in ("rotation", "translation")
    }
    return parameters_to_vector(groups._replace(**pose))


def _photometric_error(face_model: MorphableModel, parameters: FaceParameters, crops: _Crops) -> Tensor:
    """Mean colour difference `(N,)` over the skin that is seen, outliers trusted less."""
    side = crops.pictures.shape[-1]
    camera = Camera(crops.cameras[:, 0] * side, crops.cameras[:, 1:] * side)
    mesh = face_model(parameters)
    region = face_model.region("face")[None, :, None]
    drawn = Mesh(mesh.vertices, mesh.albedo, mesh.triangles)
    render = render_mesh(drawn, parameters, camera, (side, side), attributes=region)
    return masked_photometric_loss(render.image, crops.pictures, render.mask * cast(Tensor, render.attributes))
