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
"""The data engine: an endless, seeded stream of pictures with faces whose parameters are known, and without faces.

A batch is a pure function of (seed, batch number): resuming is exact, and workers need not talk to each other. The
3DMM, sampled people, light, camera, background, clothes, hair, glasses and hands are combined for a batch at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.camera import place_in_camera, project
from modeling_facegpt.face_head import HEAD_SIZE
from modeling_facegpt.face_parameters import FaceParameters, parameter_sizes, parameters_to_vector, select_faces
from modeling_facegpt.mesh import Mesh
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.person import Person
from modeling_facegpt.person_faces import SIDE_HAIR_FROM
from modeling_facegpt.reconstruction import true_camera
from modeling_facegpt.renderer import RenderOutput, render_mesh
from modeling_facegpt.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, rotation_about_axis
from modeling_facegpt.shading import linear_to_srgb

from .appearance import Appearance, dress_heads
from .face_sampler import (
    ExpressionSampler,
    Placement,
    chance,
    normal,
    picture_camera_in_pixels,
    sample_bystanders,
    sample_close_ups,
    sample_parameters,
    sample_picture_cameras,
    sample_scenes,
    uniform,
)
from .scenery import (
    HeadFrame,
    draw_body,
    draw_glasses,
    draw_hair_behind,
    draw_hair_in_front,
    draw_occluders,
    expose,
    roll_in_picture,
    sample_backgrounds,
)

CLOSE_UP_SHARE = 0.6
FACES_IN_CLOSE_UPS = (0.1, 0.9)
FACES_IN_SCENES = (0.25, 0.5, 0.14, 0.07, 0.04)
GLASSES_SHARE, LONG_HAIR_SHARE, STRANDS_SHARE = 0.18, 0.4, 0.3  # where the 3DMM does not tell whose head it is
LONG_HAIR_OF_COVERED_EARS = 0.7
COVERED = 0.12  # change of colour from which something counts as drawn over a landmark
SEEN_FROM_BEHIND = 0.4  # of the pictures without a face: a head all the same, turned away
LEAST_SEEN = 0.2  # of a face's landmarks: with fewer it is hidden behind others, and none that the picture shows
PORTRAIT_ZOOM = 0.8
TURNED_SHARE = 0.15  # of portraits
LARGEST_TURN = 0.9  # radians, beyond what other pictures show
BEHIND = 0.008  # metres behind the surface that is seen, from which on a landmark counts as hidden
BYSTANDER_SHARE = 0.12  # of the close-ups of a face: another one, partly shown, that nobody asks for


class PictureBatch(NamedTuple):
    """B pictures and the N faces in them, in reading order. NaN: not known."""

    pictures: Tensor  # (B, 3, S, S) sRGB in [0, 1]
    close_up: Tensor  # (B,) bool: a crop around one face, or a whole photograph
    counts: Tensor  # (B,) faces in each picture
    picture_cameras: Tensor  # (N, 3) as assumed, in picture sides
    face_targets: Tensor  # (N, P) true parameters
    face_landmarks: Tensor  # (N, 468, 2) in picture sides
    face_images: Tensor  # (N, 3, S, S) to compare renders with
    landmarks_seen: Tensor  # (N, 68) 1 where nothing is drawn over a landmark, 0 where something is
    glasses: Tensor  # (N,) 1 for faces with glasses, 0 for those without


class PortraitBatch(NamedTuple):
    """B pictures of one face each, several of each person, as the lens sees them: no exposure, blur or noise yet."""

    pictures: Tensor  # (B, 3, S, S) sRGB in [0, 1]
    person: Tensor  # (B,) the same number: the same identity and albedo
    picture_cameras: Tensor  # (B, 3) as assumed, in picture sides
    face_targets: Tensor  # (B, P) true parameters
    landmarks: Tensor  # (B, 468, 2) in picture sides
    landmarks_seen: Tensor  # (B, 468) 1 where neither the head itself nor anything drawn over it hides a landmark
    frame: Tensor  # (B, 4) position x, y and apparent size of the head in picture sides, lean to the right in radians


class _Heads(NamedTuple):
    """Heads to draw, faces and others."""

    parameters: FaceParameters  # (H, ...)
    picture_cameras: Tensor  # (H, 3)
    owners: Tensor  # (H,) picture
    is_face: Tensor  # (H,) bool: one of the faces that the picture shows, from left to right; the last head may not be
    rank: Tensor  # (H,) place within the picture, from the farthest to the nearest
    person: Person | None  # (H,) whose heads they are; None where the 3DMM does not know people


class _Drawn(NamedTuple):
    """Pictures, and what is known of the heads in them."""

    canvas: Tensor  # (B, 3, S, S)
    landmarks_seen: Tensor  # (H, 68)
    glasses: Tensor  # (H,)
    dense_seen: Tensor  # (H, 468)


class DataEngine:
    """Draws batches of rendered faces.

    Args:
        face_model (`MorphableModel`): the 3DMM; its regions `skin`, `face`, `scalp`, `lips` and `beard` are used.
        side (`int`): side of the pictures in pixels.
        seed (`int`): of the whole stream.
    """

    def __init__(self, face_model: MorphableModel, side: int = 112, seed: int = 0):
        self.face_model = face_model.eval()
        self.expressions = ExpressionSampler(face_model.config)
        self.side = side
        self.seed = seed
        self.parameter_count = sum(parameter_sizes(face_model.config))

    def generator(self, number: int) -> torch.Generator:
        """The source of chance of the `number`-th batch."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + number)

    @torch.no_grad()
    def batch(self, number: int, pictures: int) -> PictureBatch:
        """The `number`-th batch of the stream, of `pictures` pictures."""
        generator = self.generator(number)
        close_up = chance(generator, CLOSE_UP_SHARE, pictures)
        counts = torch.where(
            close_up,
            _choose(generator, FACES_IN_CLOSE_UPS, pictures),
            _choose(generator, FACES_IN_SCENES, pictures),
        )
        return self.compose(generator, close_up, counts)

    @torch.no_grad()
    def compose(self, generator: torch.Generator, close_up: Tensor, counts: Tensor) -> PictureBatch:
        """Pictures with given numbers of faces `(B,)`, as close-ups or whole photographs `(B,)`.

        Of several faces, those that others hide are drawn and not counted, so that there may be fewer.
        """
        heads = self._sample_heads(generator, close_up, counts)
        canvas = sample_backgrounds(generator, len(counts), self.side)
        drawn = _Drawn(canvas, torch.zeros(0, 68), torch.zeros(0), torch.zeros(0, 468))
        if len(heads.owners):
            drawn = self._draw_heads(generator, canvas, heads)
        faces = _shown_faces(heads, drawn.landmarks_seen)
        vector = parameters_to_vector(heads.parameters)[faces]
        unknown = float("nan")
        return PictureBatch(
            pictures=expose(generator, drawn.canvas),
            close_up=close_up,
            counts=torch.bincount(heads.owners[faces], minlength=len(counts)),
            picture_cameras=heads.picture_cameras[faces],
            face_targets=vector,
            face_landmarks=torch.full((len(vector), 468, 2), unknown),
            face_images=torch.full((len(vector), 3, self.side, self.side), unknown),
            landmarks_seen=drawn.landmarks_seen[faces],
            glasses=drawn.glasses[faces],
        )

    @torch.no_grad()
    def portraits(self, generator: torch.Generator, people: int, each: int) -> PortraitBatch:
        """`each` pictures of each of `people` people: one identity and albedo; other expression, pose, light, camera.

        A face is a little smaller in its picture than in close-ups, so that crops may turn and shift.
        """
        count = people * each
        ones = torch.ones(count, dtype=torch.long)
        heads = _repeat_people(self._sample_heads(generator, ones > 0, ones), each)
        heads = _turn_some_away(generator, _zoom_out(heads))
        drawn = self._draw_heads(generator, sample_backgrounds(generator, count, self.side), heads)
        heads = _select_heads(heads, heads.is_face)
        position, size, lean = self._frames(heads)
        return PortraitBatch(
            pictures=drawn.canvas,
            person=torch.arange(count) // each,
            picture_cameras=heads.picture_cameras,
            face_targets=parameters_to_vector(heads.parameters),
            landmarks=self._landmarks(self.face_model.shape(heads.parameters), heads, "468")[..., :2],
            landmarks_seen=drawn.dense_seen,
            frame=torch.cat((position, size[:, None], lean[:, None]), dim=-1),
        )

    @torch.no_grad()
    def imagine(self, generator: torch.Generator, close_up: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The faces that `compose` would draw, without a picture: cameras `(N, 3)` and true parameters `(N, P)`."""
        heads = self._sample_heads(generator, close_up, counts)
        return heads.picture_cameras[heads.is_face], parameters_to_vector(heads.parameters)[heads.is_face]

    def _sample_heads(self, generator: torch.Generator, close_up: Tensor, counts: Tensor) -> _Heads:
        behind = (counts == 0) & chance(generator, SEEN_FROM_BEHIND, len(counts))
        beside = close_up & (counts == 1) & chance(generator, BYSTANDER_SHARE, len(counts))
        heads = counts + (behind | beside).long()
        owners = torch.repeat_interleave(torch.arange(len(counts)), heads)
        first = (heads.cumsum(0) - heads)[owners]
        is_face = torch.arange(len(owners)) - first < counts[owners]
        near = sample_close_ups(generator, len(owners))
        bystander = (~is_face & beside[owners]).nonzero()[:, 0]
        added = sample_bystanders(generator, Placement(near.position[first[bystander]], near.size[first[bystander]]))
        near = Placement(*(part.index_copy(0, bystander, new) for part, new in zip(near, added, strict=True)))
        far = sample_scenes(generator, heads)
        is_near = close_up[owners]
        placement = Placement(
            torch.where(is_near[:, None], near.position, far.position), torch.where(is_near, near.size, far.size)
        )
        cameras = sample_picture_cameras(generator, placement, is_near)
        parameters, person = sample_parameters(generator, placement, cameras, self.expressions, self.face_model)
        away = behind[owners]
        turn = torch.where(away, torch.pi + normal(generator, 0.4, len(owners)).clamp(-0.8, 0.8), 0.0)
        rotation = rotation_6d_to_matrix(parameters.rotation) @ rotation_about_axis(turn, 1)
        light = parameters.light * self._exposure(parameters.albedo)
        parameters = parameters._replace(rotation=matrix_to_rotation_6d(rotation), light=light)
        return _Heads(parameters, cameras, owners, is_face, _rank_by_size(owners, placement.size), person)

    def _exposure(self, albedo: Tensor) -> Tensor:
        """How much more light falls on faces of skin `(H, K)`, `(H, 1)`: photographers expose for the face, dark skin
        gets more light than light skin does."""
        skin = self.face_model.albedo(albedo)[:, self.face_model.region("face") > 0.5]
        return (0.3 / skin.mean((1, 2)).clamp(min=0.02)[:, None]) ** 0.35

    def _draw_heads(self, generator: torch.Generator, canvas: Tensor, heads: _Heads) -> _Drawn:
        mesh = self.face_model(heads.parameters)
        dressed = dress_heads(generator, self.face_model, mesh.vertices, mesh.albedo, heads.person)
        render = self._render(generator, dressed, heads)
        points = torch.cat([self._landmarks(mesh.vertices, heads, kind) for kind in ("68", "468")], dim=1)
        landmarks, depth = points[..., :2], points[..., 2]
        local = self._frames(heads)
        brightness = (heads.parameters.light[:, :3] / 3.545).clamp(0.2, 2.0)
        # Necks and hands are as bright as the face came out.
        shown = render.mask * (render.attributes > 0)
        skin_colour = (render.image * shown).sum((2, 3), keepdim=True) / shown.sum((2, 3), keepdim=True).clamp(min=1)
        hair_colour = linear_to_srgb((dressed.hair * brightness).clamp(0, 1))[..., None, None]
        bare = torch.zeros(*landmarks.shape[:2], 3)
        glasses_worn = torch.zeros(len(landmarks))
        worn_hair, worn_strands, worn_glasses = _worn(heads)
        for rank in range(int(heads.rank.max()) + 1):
            index = (heads.rank == rank).nonzero()[:, 0]
            picture = canvas[heads.owners[index]]
            layers = _Layers(generator, self.side, tuple(part[index] for part in local))
            picture = layers.draw(worn_hair[index], draw_hair_behind, picture, hair_colour[index])
            picture = layers.draw(1.0, draw_body, picture, skin_colour[index])
            picture = picture + render.mask[index] * (render.image[index] - picture)
            bare = bare.index_copy(0, index, _values_at(picture, landmarks[index]))
            worn = (torch.rand(len(index), generator=generator) < worn_glasses[index]).nonzero()[:, 0]
            glasses_worn = glasses_worn.index_fill(0, index[worn], 1.0)
            glasses = draw_glasses(generator, picture[worn], _eye_centres(landmarks[index[worn], :68]))
            picture = picture.index_copy(0, worn, glasses)
            picture = layers.draw(worn_strands[index], draw_hair_in_front, picture, hair_colour[index])
            picture = layers.draw(0.12, draw_occluders, picture, skin_colour[index])
            canvas = canvas.index_copy(0, heads.owners[index], picture.clamp(0, 1))
        covered = (_values_at(canvas[heads.owners], landmarks) - bare).abs().amax(-1) > COVERED
        inside = ((landmarks > 0) & (landmarks < 1)).all(-1)
        seen = inside & ~covered
        surface = _values_at(render.depth, landmarks)[..., 0]
        facing = (surface == 0) | (depth < surface + BEHIND)
        dense_seen = (seen & facing)[heads.is_face, 68:].float()
        return _Drawn(canvas, seen[:, :68].float(), glasses_worn, dense_seen)

    def _render(self, generator: torch.Generator, dressed: Appearance, heads: _Heads) -> RenderOutput:
        """The heads with a highlight of the main lamp on skin and eyes."""
        camera = picture_camera_in_pixels(heads.picture_cameras, self.side)
        mesh = Mesh(dressed.vertices, dressed.albedo, self.face_model.triangles)
        render = render_mesh(mesh, heads.parameters, camera, (self.side, self.side), attributes=dressed.gloss)
        bands = heads.parameters.light.unflatten(-1, (9, 3)).mean(-1)
        lamp = torch.nn.functional.normalize(bands[:, [3, 1, 2]] + 1e-4, dim=-1)
        half = torch.nn.functional.normalize(lamp + lamp.new_tensor([0.0, 0.0, 1.0]), dim=-1)
        aligned = (render.normals * half[..., None, None]).sum(1, keepdim=True).clamp(min=0)
        sharpness = uniform(generator, 6, 40, len(half), 1, 1, 1)
        highlight = render.attributes * aligned**sharpness * bands[:, :1, None, None] * 0.4
        return render._replace(image=(render.image + highlight).clamp(0, 1))

    def _landmarks(self, vertices: Tensor, heads: _Heads, kind: str) -> Tensor:
        """Landmarks `(H, L, 3)`: in picture sides, and depth in metres."""
        points = self.face_model.landmarks(vertices, kind)
        camera = true_camera(heads.parameters, picture_camera_in_pixels(heads.picture_cameras, 1))
        placed = place_in_camera(points, heads.parameters.rotation, heads.parameters.translation)
        return torch.cat((project(placed, camera), placed[..., 2:]), dim=-1)

    def _frames(self, heads: _Heads) -> tuple[Tensor, Tensor, Tensor]:
        """Position, apparent size and lean of each head in its picture."""
        camera = true_camera(heads.parameters, picture_camera_in_pixels(heads.picture_cameras, 1))
        position = project(heads.parameters.translation[:, None], camera)[:, 0]
        size = camera.focal * HEAD_SIZE / heads.parameters.translation[:, 2]
        return position, size, roll_in_picture(rotation_6d_to_matrix(heads.parameters.rotation))


class _Layers:
    """Draws layers over some of the pictures only: what few wear costs little."""

    def __init__(self, generator: torch.Generator, side: int, frames: tuple[Tensor, ...]):
        self.generator, self.side, self.frames = generator, side, frames

    def draw(self, probability: float | Tensor, draw: Callable, picture: Tensor, colour: Tensor) -> Tensor:
        """`picture` with a layer over each of its rows with the given probability, of each row or of all."""
        chosen = (torch.rand(len(picture), generator=self.generator) < probability).nonzero()[:, 0]
        frame = HeadFrame(self.side, *(part[chosen] for part in self.frames))
        return picture.index_copy(0, chosen, draw(self.generator, picture[chosen], frame, colour[chosen]))


def _worn(heads: _Heads) -> tuple[Tensor, Tensor, Tensor]:
    """How likely each head `(H,)` has long hair behind it, strands before the face, and glasses."""
    if heads.person is None:
        everybody = torch.ones(len(heads.owners))
        return LONG_HAIR_SHARE * everybody, STRANDS_SHARE * everybody, GLASSES_SHARE * everybody
    covers_ears = (heads.person.hair_length > SIDE_HAIR_FROM).float()
    return LONG_HAIR_OF_COVERED_EARS * covers_ears, STRANDS_SHARE * covers_ears, heads.person.glasses


def _select_heads(heads: _Heads, chosen: Tensor) -> _Heads:
    """The heads where `chosen` `(H,)` is true."""
    person = None if heads.person is None else Person(*(value[chosen] for value in heads.person))
    cameras, owners, is_face, rank = (
        part[chosen] for part in (heads.picture_cameras, heads.owners, heads.is_face, heads.rank)
    )
    return _Heads(select_faces(heads.parameters, chosen), cameras, owners, is_face, rank, person)


def _repeat_people(heads: _Heads, each: int) -> _Heads:
    """Faces of pictures in a row get identity and albedo of the first of each `each` of them; bystanders stay."""
    faces = heads.is_face.nonzero()[:, 0]
    first = faces[::each].repeat_interleave(each)
    same = {
        name: group.index_copy(0, faces, group[first])
        for name, group in (("identity", heads.parameters.identity), ("albedo", heads.parameters.albedo))
    }
    source = torch.arange(len(heads.owners)).index_copy(0, faces, first)
    person = None if heads.person is None else Person(*(value[source] for value in heads.person))
    return heads._replace(parameters=heads.parameters._replace(**same), person=person)


def _zoom_out(heads: _Heads) -> _Heads:
    """The same heads in pictures that show more around them."""
    focal, centre = heads.picture_cameras.split([1, 2], dim=-1)
    cameras = torch.cat((PORTRAIT_ZOOM * focal, 0.5 + PORTRAIT_ZOOM * (centre - 0.5)), dim=-1)
    return heads._replace(picture_cameras=cameras)


def _turn_some_away(generator: torch.Generator, heads: _Heads) -> _Heads:
    """Some heads turn further to a side than people do who look at the camera."""
    count = len(heads.owners)
    turn = torch.where(
        chance(generator, TURNED_SHARE, count), uniform(generator, -LARGEST_TURN, LARGEST_TURN, count), 0.0
    )
    rotation = rotation_6d_to_matrix(heads.parameters.rotation) @ rotation_about_axis(turn, 1)
    return heads._replace(parameters=heads.parameters._replace(rotation=matrix_to_rotation_6d(rotation)))


def _rank_by_size(owners: Tensor, size: Tensor) -> Tensor:
    """How many of the heads `(H,)` of the same picture are smaller: what looks larger stands in front."""
    return ((owners[:, None] == owners) & (size[:, None] > size)).sum(-1)


def _shown_faces(heads: _Heads, landmarks_seen: Tensor) -> Tensor:
    """Which of the heads `(H,)` are faces that a picture shows: enough of them is seen, or more than of any other."""
    seen = torch.where(heads.is_face, landmarks_seen.mean(-1), -1.0)
    order = torch.arange(len(seen))
    better = (seen > seen[:, None]) | ((seen == seen[:, None]) & (order < order[:, None]))
    best = ~(better & (heads.owners == heads.owners[:, None])).any(-1)
    return heads.is_face & (best | (seen >= LEAST_SEEN))


def _eye_centres(landmarks: Tensor) -> Tensor:
    """Centres `(N, 2, 2)` of the eyes of 68 landmarks, from the left of the picture to the right."""
    return torch.stack((landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)), dim=1)


def _values_at(pictures: Tensor, points: Tensor) -> Tensor:
    """Colours or other values `(N, L, C)` of pictures `(N, C, S, S)` at points `(N, L, 2)` in picture sides; outside,
    those of the rim."""
    side = pictures.shape[-1]
    column, row = (points * side).long().clamp(0, side - 1).unbind(-1)
    flat = (row * side + column)[:, None].expand(-1, pictures.shape[1], -1)
    return pictures.flatten(2).gather(2, flat).mT


def _choose(generator: torch.Generator, frequencies: tuple[float, ...], count: int) -> Tensor:
    return torch.multinomial(torch.tensor(frequencies), count, replacement=True, generator=generator)
