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
"""What a face tells of its person: sex and age by its shape, skin, beard, brows, lips, eyes and hair by its colours.

Colours are CIELAB in daylight, of the albedo and not of a picture. A contrast is a distance of log reflectances: what
takes the same share of light from dark skin as from light skin has the same contrast on both.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .morphable_model import MorphableModel
from .person import STUBBLE, Person, sample_people
from .person_faces import FaceCode, draw_code
from .skin_reflectance import hue_degrees, linear_to_lab

PEOPLE = 4096  # from whom sex and age are learned
RIDGE = 30.0
# Of the albedo, what time does to the skin itself; hair can be dyed.
AGEING = ("folds", "age-spots", "under-eye-darkness")
TOP_OF_HEAD = (-0.7, -0.25)  # reach of the hair from which on these vertices are covered
INSIDE = 0.8  # share of a mask from which on a vertex lies inside


class PersonMeasures(NamedTuple):
    """Measures of N people, `(N,)` each."""

    sex: Tensor  # -1 women's mean, 1 men's, by the shape
    age: Tensor  # years, by shape and skin
    lightness: Tensor  # L* of cheeks and forehead
    redness: Tensor  # a* of them
    hue: Tensor  # degrees: 0 red, 90 yellow
    beard: Tensor  # share of chin and jaw that hair hides, 0.25 for stubble
    moustache: Tensor  # the same over the lips
    brows: Tensor  # share of the skin that brows hide
    lip_redness: Tensor  # a* of the lips over that of the cheeks
    iris_lightness: Tensor  # L*
    iris_greenness: Tensor  # -a*
    iris_yellowness: Tensor  # b*: negative for blue
    hair: Tensor  # contrast between the top of the head and the cheeks; small on bald heads
    hair_lightness: Tensor  # L* of the sides of the head
    hair_redness: Tensor  # a* of them
    hair_chroma: Tensor  # colourfulness of them
    folds: Tensor  # depth of the lines, 1 for the deepest
    freckles: Tensor  # how much darker the spots of skin are where freckles lie, 1 for the darkest


class PersonMeasurer:
    """Measures people by the coefficients of a 3DMM that knows them.

    Args:
        face_model (`MorphableModel`): on the CPU; with layers and person features.
    """

    def __init__(self, face_model: MorphableModel):
        self.face_model = face_model
        config = face_model.config
        self.shape_count = config.num_identity - len(config.offset_names)
        self.fold_index = self.shape_count + config.offset_names.index("folds-depth")
        self.ageing = [config.albedo_names.index(name) for name in AGEING]
        masks = self._masks()
        used = torch.stack(list(masks.values())).any(0)
        self.vertices = used.nonzero()[:, 0]  # of which colours are needed
        self.areas = {name: mask[used].nonzero()[:, 0] for name, mask in masks.items()}
        spots = face_model.albedo_basis[config.albedo_names.index("freckles"), masks["freckles"]]
        self.spots = (spots - spots.mean(0)) / (spots - spots.mean(0)).square().sum()  # (P, 3)
        self.spots = self.spots * config.albedo_scales[config.albedo_names.index("freckles")]
        generator = torch.Generator().manual_seed(0)
        person = sample_people(generator, PEOPLE)
        self._learn(person, draw_code(generator, face_model, person))

    def _masks(self) -> dict[str, Tensor]:
        face_model = self.face_model
        layers = dict(zip(face_model.config.layer_names, face_model.layer_masks, strict=True))
        order = face_model.layer_orders[face_model.config.layer_names.index("hair")]
        scalp = layers["hair"] > INSIDE
        open_parts = face_model.region("cheeks") + face_model.region("nose") + face_model.region("forehead")
        covered = face_model.region("eyelids") + face_model.region("nostrils") + face_model.region("lips")
        bare = (layers["beard"] + layers["moustache"] + layers["brows"] + covered < 0.05) & (order > 0.9)
        return {
            "skin": (open_parts > 0.5) & bare,
            "cheeks": (face_model.region("cheeks") > 0.3) & bare,
            "lips": face_model.region("lips") > INSIDE,
            "iris": (face_model.region("iris") - face_model.region("pupil")) > INSIDE,
            "top": scalp & (order > TOP_OF_HEAD[0]) & (order < TOP_OF_HEAD[1]),
            "sides": scalp & (order < -1.0),
            "freckles": ((face_model.region("cheeks") > 0.3) | (face_model.region("nose") > 0.6)) & bare,
        }

    def _learn(self, person: Person, code: FaceCode) -> None:
        """Ridge regression of sex on the shape, and of age on shape, folds and ageing skin."""
        targets = torch.stack((2 * person.sex - 1, person.age), dim=-1)
        self.middle = targets.mean(0)
        self.weights = []
        for column, features in enumerate(self._features(code)):
            products = features.T @ features + RIDGE * torch.eye(features.shape[1])
            found = torch.linalg.solve(products, features.T @ (targets[:, column] - self.middle[column]))
            self.weights.append(found)

    def _features(self, code: FaceCode) -> tuple[Tensor, Tensor]:
        shape = code.identity[:, : self.shape_count]
        one = torch.ones(len(shape), 1)
        folds = code.identity[:, self.fold_index, None]
        skin = code.albedo[:, self.ageing]
        return torch.cat((shape, one), dim=1), torch.cat((shape, folds, skin, skin.square(), one), dim=1)

    def measure(self, code: FaceCode) -> PersonMeasures:
        """Measures of N faces."""
        sex, age = (
            features @ weights + middle
            for features, weights, middle in zip(self._features(code), self.weights, self.middle, strict=True)
        )
        colours = self.face_model.albedo(code.albedo, self.vertices)
        mean = {name: colours[:, area].clamp(min=1e-4).log().mean(1) for name, area in self.areas.items()}
        lab = {name: linear_to_lab(mean[name].exp()) for name in ("skin", "cheeks", "lips", "iris", "sides")}
        stubble = STUBBLE * self._quantity("stubble", code.albedo)
        spotted = colours[:, self.areas["freckles"]].clamp(min=1e-4).log()
        return PersonMeasures(
            sex=sex,
            age=age,
            lightness=lab["skin"][:, 0],
            redness=lab["skin"][:, 1],
            hue=hue_degrees(lab["skin"]),
            beard=stubble + (1 - STUBBLE) * self._quantity("beard", code.albedo),
            moustache=stubble + (1 - STUBBLE) * self._quantity("moustache", code.albedo),
            brows=self._quantity("brows", code.albedo),
            lip_redness=lab["lips"][:, 1] - lab["cheeks"][:, 1],
            iris_lightness=lab["iris"][:, 0],
            iris_greenness=-lab["iris"][:, 1],
            iris_yellowness=lab["iris"][:, 2],
            hair=(mean["top"] - mean["cheeks"]).norm(dim=-1),
            hair_lightness=lab["sides"][:, 0],
            hair_redness=lab["sides"][:, 1],
            hair_chroma=lab["sides"][:, 1:].norm(dim=-1),
            folds=code.identity[:, self.fold_index] * self.face_model.config.offset_scales[-1],
            freckles=torch.einsum("npc,pc->n", spotted, self.spots),
        )

    def _quantity(self, name: str, albedo: Tensor) -> Tensor:
        """A named quantity `(N,)` of the 3DMM's albedo."""
        config = self.face_model.config
        index = config.albedo_names.index(name)
        return config.albedo_centres[index] + config.albedo_scales[index] * albedo[:, index]
