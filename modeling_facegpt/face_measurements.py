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
"""Faces measured on their meshes: shape in millimetres and against other people, expression, gaze, pose and light.

Nothing here asks a language model, and shape and expression are read off points of the surface, so that the same
functions can make training data, answer questions and judge what a model made. Left and right are the subject's own,
but for light, which comes from the left or right of the picture.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .face_parameters import FaceParameters
from .facial_expressions import ACTIONS, EMOTIONS, recipe_activations
from .morphable_model import MorphableModel
from .person_faces import FaceCode, draw_anybody, knows_people
from .person_measurements import PersonMeasurer, PersonMeasures
from .rotations import matrix_to_yaw_pitch_roll, rotation_6d_to_matrix, viewing_rotation

PEOPLE = 4096  # random people that a face is compared with
USUAL_MOVEMENT = 3e-4  # metres; points that move less than this count as if they moved this much
PRESENT = 1.0  # standard deviations from the average at which an adjective holds
MILLIMETRES = 1000.0
EYE_OPENINGS = ((386, 374), (159, 145))  # upper and lower lid, subject's left eye first
BROWS_AND_LIDS = ((334, 386), (105, 159))
MOUTH_CORNERS = (291, 61)
INNER_LIPS = (13, 14)
CHEEKS = (425, 205)
# Six points of the ears follow the landmarks: left and right top, bottom and outermost.
EAR_TOP, EAR_BOTTOM, EAR_OUTER = (468, 469), (470, 471), (472, 473)


class ShapeMeasure(NamedTuple):
    """How one measure of a neutral face is taken.

    `kind`: mean of the pairs' `distance`, `height` (first over second) or `depth` (first before second), which is
    compared as a share of the mean distance of the pairs in `over`, because pictures do not tell how large a head is;
    or `slider`: along the named shape direction of the 3DMM that is called `slider`.
    """

    kind: str
    pairs: tuple[tuple[int, int], ...] = ()  # indices of the 468 landmarks, then of the ears' points
    over: tuple[tuple[int, int], ...] = ((234, 454), (10, 152))  # width and length of the face
    slider: str = ""


SHAPE_MEASURES: dict[str, ShapeMeasure] = {
    "nose width": ShapeMeasure("distance", ((129, 358),)),
    "nose length": ShapeMeasure("distance", ((168, 2),)),
    "nose depth": ShapeMeasure("depth", ((1, 129), (1, 358))),
    "nose tip height": ShapeMeasure("height", ((1, 2),)),
    "nose convexity": ShapeMeasure("depth", ((197, 168), (197, 1))),
    "nose bridge width": ShapeMeasure("distance", ((193, 417),)),
    "mouth width": ShapeMeasure("distance", ((61, 291),)),
    "lip thickness": ShapeMeasure("distance", ((0, 17),)),
    "upper lip thickness": ShapeMeasure("distance", ((0, 13),)),
    "lower lip thickness": ShapeMeasure("distance", ((14, 17),)),
    "eye size": ShapeMeasure("distance", ((33, 133), (362, 263), *EYE_OPENINGS)),
    "eye distance": ShapeMeasure("distance", ((133, 362),)),
    "eye depth": ShapeMeasure("depth", BROWS_AND_LIDS),
    "brow height": ShapeMeasure("height", BROWS_AND_LIDS),
    "brow arch": ShapeMeasure("height", ((105, 70), (105, 107), (334, 300), (334, 336))),
    "face length": ShapeMeasure("distance", ((10, 152),), over=((234, 454),)),
    "jaw width": ShapeMeasure("distance", ((172, 397),)),
    "chin length": ShapeMeasure("distance", ((17, 152),)),
    "chin depth": ShapeMeasure("depth", ((199, 2),)),
    "chin width": ShapeMeasure("distance", ((148, 377),)),
    "forehead height": ShapeMeasure("distance", ((10, 9),)),
    "forehead width": ShapeMeasure("distance", ((21, 251),)),
    "cheek width": ShapeMeasure("distance", ((213, 433),)),
    "cheekbone height": ShapeMeasure("height", ((117, 61), (346, 291))),
    "ear length": ShapeMeasure("distance", tuple(zip(EAR_TOP, EAR_BOTTOM, strict=True))),
    "ear span": ShapeMeasure("distance", (EAR_OUTER,)),
    "age": ShapeMeasure("slider", slider="age"),
    "masculinity": ShapeMeasure("slider", slider="masculine"),
}


# Of the 468 landmarks only those are computed that some measure needs, then the ears'.
_USED = sorted(
    {index for measure in SHAPE_MEASURES.values() for pair in (*measure.pairs, *measure.over) for index in pair}
    | {*MOUTH_CORNERS, *INNER_LIPS, *CHEEKS}
)
_LANDMARKS = [index for index in _USED if index < 468]


class ExpressionMeasures(NamedTuple):
    """What a face does, against itself at rest, measured on the mesh."""

    mouth_opening: Tensor  # (N,) millimetres between the inner lips
    eyes_closed: Tensor  # (N, 2) share of the lids' opening that is gone, subject's left eye first
    brow_raise: Tensor  # (N,) millimetres that the brows rose over the eyes' centres
    corner_raise: Tensor  # (N,) millimetres that the corners of the mouth rose
    mouth_narrowing: Tensor  # (N,) share of the mouth's width that is gone
    cheek_puff: Tensor  # (N,) millimetres that the cheeks came forward
    emotions: Tensor  # (N, E) correlation with the movement of each of EMOTIONS, in [-1, 1]
    movement: Tensor  # (N,) how much the face moves, in units of what points usually move


class Pose(NamedTuple):
    """Degrees as seen from the camera: a face with zero angles looks into it, wherever in the picture it is."""

    yaw: Tensor  # (N,) positive: turned to the subject's left
    pitch: Tensor  # (N,) positive: looks up
    roll: Tensor  # (N,) positive: tilted towards the subject's left shoulder


class Light(NamedTuple):
    """Where light comes from in the picture, as shares of what comes from everywhere, and how bright it is."""

    from_right: Tensor  # (N,) of the picture; negative: from its left
    from_above: Tensor  # (N,)
    from_front: Tensor  # (N,)
    brightness: Tensor  # (N,) radiance from everywhere; 1 shows the skin's own reflectance


class FaceMeasurer:
    """Takes measures of the faces of one 3DMM, and knows how people differ in them.

    Measures whose points or slider the 3DMM lacks are left out: `names` lists those that there are.

    Args:
        face_model (`MorphableModel`): on the CPU; coefficients ~ N(0, 1) over people.
    """

    def __init__(self, face_model: MorphableModel):
        self.face_model = face_model
        sliders, regions = face_model.config.direction_names or [], face_model.config.region_names or []
        self.has_ears = "ears" in regions
        self.measures = {
            name: measure
            for name, measure in SHAPE_MEASURES.items()
            if (measure.kind != "slider" or measure.slider in sliders) and (self.has_ears or "ear " not in name)
        }
        self.names = tuple(self.measures)
        self.template_points = self.points(face_model.template[None])[0]
        self.point_basis = self.points(face_model.identity_basis)  # (K, L, 3)
        # Hair, beard and folds lie on a face and are no part of its shape.
        self.shape_count = face_model.config.num_identity - len(face_model.config.offset_names)
        self.point_basis[self.shape_count :] = 0.0
        # Sliders stand at the end of the list of measures.
        found = [face_model.direction(measure.slider) for measure in self.measures.values() if measure.slider]
        self.sliders = torch.nn.functional.normalize(torch.stack(found), dim=-1) if found else None  # (sliders, K)
        self.pair_table = _PairTable(measure for measure in self.measures.values() if not measure.slider)
        identity = draw_anybody(torch.Generator().manual_seed(0), face_model, PEOPLE)[0].identity
        people = self._compared(self._neutral_points(identity), identity)
        self.mean, self.deviation = people.mean(0), people.std(0).clamp(min=1e-6)  # (A,)
        # Measures are linear in the coefficients to within a per cent of their variance.
        self.slopes = torch.linalg.lstsq(
            identity, (people - self.mean) / self.deviation
        ).solution.T  # (A, K) of the scores
        self.people = PersonMeasurer(face_model) if knows_people(face_model.config) else None
        self._prepare_expressions()

    def measure_people(self, identity: Tensor, albedo: Tensor) -> PersonMeasures | None:
        """Who N faces are, by shape and colours; `None` where the 3DMM does not know people."""
        return self.people.measure(FaceCode(identity, albedo)) if self.people else None

    def _prepare_expressions(self) -> None:
        face_model = self.face_model
        region = face_model.region("face").clone()
        for eye in {"left_eye", "right_eye"} & set(face_model.config.region_names or []):
            region = region * (1 - face_model.region(eye))  # gaze is no expression
        usual = face_model.expression_basis.square().sum(-1).mean(0)
        self.point_weights = region / (usual + USUAL_MOVEMENT**2) / region.sum()  # (V,)
        names = face_model.config.expression_names or []
        self.emotion_activations = torch.stack([recipe_activations(recipe, names) for recipe in EMOTIONS.values()])
        self.action_activations = torch.stack([recipe_activations(recipe, names) for recipe in ACTIONS.values()])
        weighted = (face_model.expression_basis * self.point_weights.sqrt()[:, None]).flatten(1)
        self.expression_products = weighted @ weighted.T  # (K, K)
        self.emotion_fields = torch.einsum("ek,kvc->evc", self.emotion_activations, face_model.expression_basis)
        self.expression_points = self.points(face_model.expression_basis)  # (K, L, 3)

    def points(self, vertices: Tensor) -> Tensor:
        """The points `(N, L, 3)` on surfaces `(N, V, 3)` between which measures are taken: landmarks, then ears."""
        landmarks = self.face_model.landmarks(vertices, "468")[:, _LANDMARKS]
        return torch.cat((landmarks, vertices[:, self._ear_vertices()]), dim=1) if self.has_ears else landmarks

    def _ear_vertices(self) -> list[int]:
        """Top, bottom and outermost vertex of both ears of the average head, the subject's left ear first."""
        template = self.face_model.template
        ears = self.face_model.region("ears") > 0.5
        sides = [(ears & (sign * template[:, 0] > 0)).nonzero()[:, 0] for sign in (1, -1)]
        extremes = ((1, 1.0), (1, -1.0), (0, None))
        chosen = []
        for axis, sign in extremes:
            for side, outward in zip(sides, (1.0, -1.0), strict=True):
                direction = outward if sign is None else sign
                chosen.append(int(side[(direction * template[side, axis]).argmax()]))
        return chosen

    def millimetres(self, vertices: Tensor) -> Tensor:
        """Lengths `(N, A)` in the order of `names` of neutral faces `(N, V, 3)`; NaN for what is none."""
        return self._lengths(self._bare_points(vertices)[0])

    def identity_millimetres(self, identity: Tensor) -> Tensor:
        """The same of identity coefficients `(N, K)`, without making meshes."""
        return self._lengths(self._neutral_points(identity))

    def _lengths(self, points: Tensor) -> Tensor:
        lengths, _ = self.pair_table.take(points)
        unknown = lengths.new_full((len(lengths), len(self.names) - lengths.shape[1]), float("nan"))
        return torch.cat((lengths, unknown), dim=-1)

    def scores(self, vertices: Tensor) -> Tensor:
        """Standard deviations `(N, A)` by which neutral faces `(N, V, 3)` lie above average people, by `names`."""
        return (self._compared(*self._bare_points(vertices)) - self.mean) / self.deviation

    def _bare_points(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Points `(N, L, 3)` of neutral faces `(N, V, 3)` without hair, beard and folds, and coefficients `(N, K)`."""
        identity, size = self._identity_of(vertices)
        basis = self.face_model.identity_basis.flatten(1)
        grown = (identity[:, self.shape_count :] @ basis[self.shape_count :]).unflatten(1, (-1, 3))
        return self.points(vertices - size * grown), identity

    def _identity_of(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients `(N, K)` of neutral faces `(N, V, 3)`, and by how much the heads are enlarged `(N, 1, 1)`."""
        template, basis = self.face_model.template.flatten()[None], self.face_model.identity_basis.flatten(1)
        rows = torch.cat((template, basis)).double()
        found = torch.linalg.solve(rows @ rows.T, rows @ vertices.flatten(1).double().T).T.float()
        return found[:, 1:] / found[:, :1], found[:, :1, None]

    def identity_scores(self, identity: Tensor) -> Tensor:
        """The same of identity coefficients `(N, K)`, without making meshes: points are linear in them."""
        return (self._compared(self._neutral_points(identity), identity) - self.mean) / self.deviation

    def _neutral_points(self, identity: Tensor) -> Tensor:
        return self.template_points + (identity @ self.point_basis.flatten(1)).unflatten(-1, (-1, 3))

    def _compared(self, points: Tensor, identity: Tensor) -> Tensor:
        _, shares = self.pair_table.take(points)
        if self.sliders is None:
            return shares
        return torch.cat((shares, identity @ self.sliders.T), dim=-1)

    def measure_expression(self, vertices: Tensor, neutral: Tensor) -> ExpressionMeasures:
        """What faces `(N, V, 3)` do, against the same faces `(N, V, 3)` at rest, both in metres."""
        moved = (vertices - neutral) * self.point_weights[:, None]
        fields = self.emotion_fields
        products = torch.einsum("nvc,evc->ne", moved, fields)
        size = (moved * (vertices - neutral)).sum((1, 2))
        field_size = (fields.square() * self.point_weights[:, None]).sum((1, 2))
        return self._expression(self.points(vertices), self.points(neutral), products, size, field_size)

    def measure_activations(self, identity: Tensor, expression: Tensor) -> ExpressionMeasures:
        """The same of coefficients `(N, num_identity)` and `(N, num_expression)`, without making meshes."""
        neutral = self._neutral_points(identity)
        moved = (expression @ self.expression_points.flatten(1)).unflatten(-1, (-1, 3))
        product = expression @ self.expression_products  # (N, K)
        emotions = self.emotion_activations
        field_size = ((emotions @ self.expression_products) * emotions).sum(1)
        return self._expression(
            neutral + moved, neutral, product @ emotions.T, (product * expression).sum(1), field_size
        )

    def _expression(
        self, points: Tensor, neutral: Tensor, products: Tensor, size: Tensor, field_size: Tensor
    ) -> ExpressionMeasures:
        opening, before = (_distances(part, EYE_OPENINGS) for part in (points, neutral))
        raised = MILLIMETRES * (points - neutral)
        brows = [pair[0] for pair in BROWS_AND_LIDS]
        width, width_before = (_distances(part, (MOUTH_CORNERS,)).mean(-1) for part in (points, neutral))
        gap, gap_before = (_distances(part, (INNER_LIPS,)).mean(-1) for part in (points, neutral))
        correlation = products / (size[:, None] * field_size).sqrt().clamp(min=1e-9)
        return ExpressionMeasures(
            mouth_opening=gap - gap_before,
            eyes_closed=1 - opening / before.clamp(min=1e-6),
            brow_raise=raised[:, _places(brows), 1].mean(-1),
            corner_raise=raised[:, _places(MOUTH_CORNERS), 1].mean(-1),
            mouth_narrowing=1 - width / width_before.clamp(min=1e-6),
            cheek_puff=raised[:, _places(CHEEKS), 2].mean(-1),
            emotions=correlation.clamp(-1.0, 1.0),
            movement=size.sqrt(),
        )


def strongest_emotion(measures: ExpressionMeasures, least_movement: float = 0.35) -> list[str | None]:
    """Name of the emotion whose movement each of N faces shows most; `None` where a face hardly moves."""
    names = list(EMOTIONS)
    best = measures.emotions.argmax(-1)
    moving = measures.movement > least_movement
    return [names[int(index)] if moves else None for index, moves in zip(best, moving, strict=True)]


def measure_pose(parameters: FaceParameters) -> Pose:
    """How heads are turned, as seen from the camera."""
    seen = viewing_rotation(parameters.translation).mT @ rotation_6d_to_matrix(parameters.rotation)
    return Pose(*(torch.rad2deg(angle) for angle in matrix_to_yaw_pitch_roll(seen)))


def measure_gaze(parameters: FaceParameters) -> tuple[Tensor, Tensor]:
    """Mean yaw and pitch of the eyes in the head, degrees `(N,)` each; zero where the 3DMM has no eyes."""
    if not parameters.gaze.shape[-1]:
        zero = parameters.identity.new_zeros(len(parameters.identity))
        return zero, zero
    angles = torch.rad2deg(parameters.gaze.unflatten(-1, (-1, 2)).mean(1))
    return angles[:, 0], angles[:, 1]


def measure_light(light: Tensor) -> Light:
    """Where light `(N, 27)` comes from."""
    bands = light.unflatten(-1, (9, 3)).mean(-1)
    everywhere = bands[:, 0].clamp(min=1e-3)
    return Light(bands[:, 3] / everywhere, bands[:, 1] / everywhere, bands[:, 2] / everywhere, everywhere / 3.5449)


class _PairTable:
    """Takes all measures between points at once: each is a mean over some of a list of pairs of points."""

    def __init__(self, measures: Iterable[ShapeMeasure]):
        measures = list(measures)
        pairs = list(dict.fromkeys(pair for measure in measures for pair in (*measure.pairs, *measure.over)))
        self.first, self.second = (_places(side) for side in zip(*pairs, strict=True))
        # Distance, height and depth of every pair, one behind the other.
        self.mean = torch.zeros(len(measures), 3 * len(pairs))
        self.over = torch.zeros(len(measures), len(pairs))
        for row, measure in enumerate(measures):
            start = ("distance", "height", "depth").index(measure.kind) * len(pairs)
            for pair in measure.pairs:
                self.mean[row, start + pairs.index(pair)] = 1 / len(measure.pairs)
            for pair in measure.over:
                self.over[row, pairs.index(pair)] = 1 / len(measure.over)

    def take(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Millimetres and per cent, each `(N, A)`, of points `(N, L, 3)` in metres."""
        apart = MILLIMETRES * (points[:, self.first] - points[:, self.second])
        distance = apart.norm(dim=-1)
        value = torch.cat((distance, apart[..., 1], apart[..., 2]), dim=-1) @ self.mean.T
        return value, 100 * value / (distance @ self.over.T).clamp(min=1e-6)


def _places(indices: Iterable[int]) -> list[int]:
    """Where points stand in the list that is computed."""
    return [_USED.index(index) for index in indices]


def _distances(points: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Millimetres `(N, pairs)`."""
    first, second = (_places(side) for side in zip(*pairs, strict=True))
    return MILLIMETRES * (points[:, first] - points[:, second]).norm(dim=-1)
