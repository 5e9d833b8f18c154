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
"""The 3D morphable face model (3DMM): coefficients to a mesh with colours.

A point of the mesh is `template + identity @ identity_basis + expression @ expression_basis`, then the eyeballs turn
about their centres. A closing eye (`config.closing_names`) takes its lids off the person's own shape and onto the
eyeball, where the lids of everybody meet. Reflectance is `exp(albedo_mean + albedo @ albedo_basis)`: pigments absorb
light, so they add up in log space (Beer-Lambert). What hides the skin (brows, beard, hair, lipstick) lies over it in
layers, each with a colour of its own: colour and amount of each layer are linear in the albedo coefficients, too.
"""

import math
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_facegpt import MorphableModelConfig
from .face_parameters import FaceParameters, parameter_sizes
from .mesh import Mesh
from .module_state import CompactlySavedModule, FullPrecisionModule
from .rotations import yaw_pitch_roll_to_matrix

LANDMARK_KINDS = {"68": 68, "468": 468, "7": 7}
# Large bases lose nothing that a picture shows at half precision: below 0.05 mm and 0.1 % of reflectance.
HALF_PRECISION_BUFFERS = (
    "identity_basis",
    "expression_basis",
    "albedo_mean",
    "albedo_basis",
    "region_masks",
    "shape_directions",
    "closing_weights",
    "layer_masks",
    "layer_orders",
)
# Of 3DMMs with layers, and of those that know how faces follow from a `Person`. Older ones have neither.
LAYER_BUFFERS = ("layer_softness", "layer_amounts", "layer_colours")
PERSON_BUFFERS = ("person_slopes", "person_spread")
LEARNED_BUFFERS = ("albedo_mean", "albedo_basis")  # what photographs can tell without telling of shape


# Of checkpoints that come with FaceGPT: where it is installed, and in a checkout.
PACKAGED_PLACES = (
    Path(__file__).parents[1] / "facegpt_hub" / "checkpoints",
    Path(__file__).parents[1] / "hub",
)


def locate_checkpoint(name: str) -> str:
    """The directory of a checkpoint that comes with FaceGPT; any other name, of a directory or the Hub, as it is."""
    found = (place / name for place in PACKAGED_PLACES if name and (place / name / "config.json").is_file())
    return str(next(found, name))


class MorphableModel(FullPrecisionModule, CompactlySavedModule, PreTrainedModel):
    """A 3D morphable face model as buffers, nothing of it trainable unless `learn_albedo` is called.

    Args:
        config (`MorphableModelConfig`): sizes and names.
    """

    config_class = MorphableModelConfig
    config: MorphableModelConfig
    base_model_prefix = "face_model"
    main_input_name = "parameters"
    # Millimetres on a head 0.2 m wide need float32, whatever the rest of a larger model runs in.
    _keep_in_fp32_modules_strict = [
        *HALF_PRECISION_BUFFERS,
        "template",
        "uv_coordinates",
        "eye_centres",
        "eye_centre_basis",
        *LAYER_BUFFERS,
        *PERSON_BUFFERS,
        *(f"landmarks_{kind}_barycentrics" for kind in LANDMARK_KINDS),
    ]

    # 3DMMs from before lids closed for everybody have none.
    _keys_to_ignore_on_load_missing = [r"closing_weights$"]

    template: Tensor  # (V, 3) metres
    identity_basis: Tensor  # (num_identity, V, 3)
    expression_basis: Tensor  # (num_expression, V, 3)
    albedo_mean: Tensor  # (V, 3)
    albedo_basis: Tensor  # (num_albedo, V, 3)
    triangles: Tensor  # (F, 3) int64
    uv_coordinates: Tensor  # (V_uv, 2)
    uv_triangles: Tensor  # (F, 3) int64
    region_masks: Tensor  # (R, V)
    shape_directions: Tensor  # (D, num_identity)
    eye_centres: Tensor  # (num_eyes, 3)
    eye_centre_basis: Tensor  # (num_identity, num_eyes, 3)
    eyeball_vertices: Tensor  # (num_eyes, E) int64
    closing_weights: Tensor  # (len(closing_names), V) how much each vertex belongs to the lids of each eye
    layer_masks: Tensor  # (L, V) the most that a layer hides of each vertex
    layer_orders: Tensor  # (L, V) amount of the layer from which on it reaches each vertex
    layer_softness: Tensor  # (L,) amount between first reaching a vertex and hiding it
    layer_amounts: Tensor  # (L, 1 + num_albedo) amount of a layer: constant, and per coefficient
    layer_colours: Tensor  # (L, 1 + num_albedo, 3) its log reflectance: constant, and per coefficient
    person_slopes: Tensor  # (F, num_identity) mean identity per unit of each of a person's features
    person_spread: Tensor  # (num_identity, num_identity) what unit noise becomes around that mean

    def __init__(self, config: MorphableModelConfig):
        super().__init__(config)
        for name, value in _placeholder_buffers(config).items():
            self.register_buffer(name, value)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike | None, *model_args: Any, **kwargs: Any
    ) -> "MorphableModel":
        """As of any model of transformers; `"anny-head"` comes with FaceGPT."""
        if isinstance(pretrained_model_name_or_path, str):
            pretrained_model_name_or_path = locate_checkpoint(pretrained_model_name_or_path)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    # The base class asks the parameters for both, and there are only buffers here.
    @property
    def dtype(self) -> torch.dtype:
        return self.template.dtype

    @property
    def device(self) -> torch.device:
        return self.template.device

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module):
        """A ball with smooth deterministic bases: not a face, but a mesh that every later step can work with."""
        if not isinstance(module, MorphableModel):
            return
        for name, value in _placeholder_buffers(module.config).items():
            init.copy_(module.get_buffer(name), value.to(module.get_buffer(name)))

    @cached_property
    @torch.inference_mode(False)  # what is kept serves training later
    @torch.no_grad()
    def component_visibility(self) -> Tensor:
        """How much each number of `FaceParameters` changes the face region, `(P,)`: the root mean square change of
        position or colour over the average of its group; 1 for groups that are no basis."""
        region = self.region("face").float()
        groups = FaceParameters(*(region.new_ones(size) for size in parameter_sizes(self.config)))
        bases = {"identity": self.identity_basis, "expression": self.expression_basis, "albedo": self.albedo_basis}
        if self.config.layer_names:
            bases["albedo"] = self._albedo_changes()
            region = torch.maximum(region, self.layer_masks.amax(0))
        for name, basis in bases.items():
            change = (basis.float().square().sum(-1) @ region).sqrt()
            groups = groups._replace(**{name: change / change.mean().clamp(min=1e-12)})
        return torch.cat(groups)

    @cached_property
    @torch.inference_mode(False)  # what is kept serves training later
    @torch.no_grad()
    def mirrored_vertices(self) -> Tensor:
        """For each vertex of the mean face the one nearest to its mirror image, `(V,)` int64."""
        mirror = self.template * self.template.new_tensor([-1.0, 1.0, 1.0])
        # Few at a time: all pairs of a large mesh would not fit into memory.
        return torch.cat([torch.cdist(part, self.template).argmin(-1) for part in mirror.split(512)])

    def learn_albedo(self) -> None:
        """Make mean and basis of the albedo parameters, which an optimizer moves; all else stays as it is.

        They are saved under the same names and loaded as buffers again. What was measured of the basis before, such
        as `component_visibility`, keeps its values, so that a resumed training weighs its losses as an uninterrupted
        one: call this before weights of an interrupted training are loaded.
        """
        measured = self.component_visibility
        for name in LEARNED_BUFFERS:
            value = self.get_buffer(name)
            delattr(self, name)
            self.register_parameter(name, torch.nn.Parameter(value.clone()))
        self.component_visibility = measured

    def forward(self, parameters: FaceParameters) -> Mesh:
        """Faces in model space: no head pose, no camera.

        Args:
            parameters (`FaceParameters`): N faces; identity, expression, albedo and gaze are used.

        Returns:
            `Mesh` of N faces.
        """
        with torch.autocast(self.device.type, enabled=False):
            return Mesh(self.shape(parameters), self.albedo(parameters.albedo), self.triangles)

    def shape(self, parameters: FaceParameters) -> Tensor:
        """Vertices `(N, V, 3)` of N faces; identity, expression and gaze are used."""
        vertices = self.neutral(parameters.identity)
        closing = self._lid_closing(vertices, parameters.identity, parameters.expression)
        if self.config.num_expression:
            vertices = _combine(vertices, parameters.expression, self.expression_basis)
        vertices = vertices + closing
        if self.config.num_eyes:
            vertices = self.turn_eyes(vertices, parameters.identity, parameters.gaze)
        return vertices

    def _lid_closing(self, neutral: Tensor, identity: Tensor, expression: Tensor) -> Tensor | float:
        """What closing eyes add to the linear shapes, `(N, V, 3)`, or 0 where none close.

        Lids of different openings meet only if each person's own opening is taken back as far as the eye closes.

        Args:
            neutral (`torch.Tensor` of shape `(N, V, 3)`): the faces without expression.
            identity (`torch.Tensor` of shape `(N, num_identity)`): of the same faces.
            expression (`torch.Tensor` of shape `(N, num_expression)`): activations.
        """
        names = self.config.closing_names
        if not names:
            return 0.0
        amount = expression[:, [self.config.expression_names.index(name) for name in names]]  # (N, eyes)
        # Their own shape is gone sooner than the eye is shut: the straight way between both would cut the eyeball.
        shares = (1 - (1 - amount).square())[:, :, None] * self.closing_weights  # (N, eyes, V)
        centres = torch.einsum("nk,kec->nec", identity, self.eye_centre_basis)  # (N, eyes, 3)
        return torch.einsum("nev,nec->nvc", shares, centres) - shares.sum(1)[..., None] * (neutral - self.template)

    def expression_moves(self, identity: Tensor) -> Tensor:
        """What each expression at full activation adds to the neutral faces, `(N, num_expression, V, 3)`.

        Args:
            identity (`torch.Tensor` of shape `(N, num_identity)`): people; they say what closing eyes have to do.
        """
        moves = self.expression_basis.expand(len(identity), *self.expression_basis.shape)
        if not self.config.closing_names:
            return moves
        neutral, moves = self.neutral(identity), moves.clone()
        for name in self.config.closing_names:
            index = self.config.expression_names.index(name)
            activation = (
                torch.zeros(len(identity), self.config.num_expression)
                .to(identity)
                .index_fill(1, torch.tensor([index], device=identity.device), 1.0)
            )
            moves[:, index] += self._lid_closing(neutral, identity, activation)
        return moves

    def neutral(self, identity: Tensor) -> Tensor:
        """Vertices `(N, V, 3)` of faces without expression that look straight ahead.

        Args:
            identity (`torch.Tensor` of shape `(N, num_identity)`): coefficients, each ~ N(0, 1) over people.
        """
        return _combine(self.template, identity, self.identity_basis)

    def albedo(self, albedo: Tensor, vertices: Tensor | slice = slice(None)) -> Tensor:
        """Linear RGB reflectance `(N, V, 3)` in [0, 1] of coefficients `(N, num_albedo)`, or of some vertices only."""
        skin = _combine(self.albedo_mean[vertices], albedo, self.albedo_basis[:, vertices])
        values = self._layered(skin, albedo, vertices)
        if self.config.albedo_space == "log":
            values = values.exp()
        return values.clamp(0.0, 1.0)

    def _layered(self, values: Tensor, albedo: Tensor, vertices: Tensor | slice = slice(None)) -> Tensor:
        """Skin `(N, V, 3)` under the layers that coefficients `(N, num_albedo)` ask for."""
        for layer in range(len(self.config.layer_names)):
            amounts, colours = self.layer_amounts[layer], self.layer_colours[layer]
            amount = amounts[0] + albedo @ amounts[1:]  # (N,)
            colour = colours[0] + albedo @ colours[1:]  # (N, 3)
            reached = (amount[:, None] - self.layer_orders[layer, vertices]) / self.layer_softness[layer]
            cover = self.layer_masks[layer, vertices] * reached.clamp(0.0, 1.0)  # (N, V)
            values = values + cover[..., None] * (colour[:, None] - values)
        return values

    def _albedo_changes(self) -> Tensor:
        """Change `(num_albedo, V, 3)` of log reflectance per coefficient around average people, layers included."""
        steps = torch.eye(self.config.num_albedo).to(self.albedo_basis)
        bare = self._layered(_combine(self.albedo_mean, 0 * steps, self.albedo_basis), 0 * steps)
        return self._layered(_combine(self.albedo_mean, steps, self.albedo_basis), steps) - bare

    def turn_eyes(self, vertices: Tensor, identity: Tensor, gaze: Tensor) -> Tensor:
        """Rotate each eyeball about its centre; signs as for the head: yaw to the subject's left, pitch up.

        Args:
            vertices (`torch.Tensor` of shape `(N, V, 3)`): in model space, eyes looking straight ahead.
            identity (`torch.Tensor` of shape `(N, num_identity)`): they say where the centres are.
            gaze (`torch.Tensor` of shape `(N, 2 * num_eyes)`): yaw, pitch in radians, subject's left eye first.
        """
        angles = gaze.unflatten(-1, (self.config.num_eyes, 2))
        yaw, pitch = angles.unbind(-1)
        rotation = yaw_pitch_roll_to_matrix(yaw, pitch, torch.zeros_like(yaw))  # (N, eyes, 3, 3)
        centres = _combine(self.eye_centres, identity, self.eye_centre_basis).unsqueeze(2)  # (N, eyes, 1, 3)
        turned = (vertices[:, self.eyeball_vertices] - centres) @ rotation.transpose(-1, -2) + centres
        return vertices.index_copy(1, self.eyeball_vertices.flatten(), turned.flatten(1, 2))

    def landmarks(self, vertices: Tensor, kind: str = "68") -> Tensor:
        """Landmarks on the surface.

        Args:
            vertices (`torch.Tensor` of shape `(N, V, C)`): positions in any space, or any other vertex attribute.
            kind (`"68"`, `"468"` or `"7"`): iBUG's, MediaPipe's, or those of the NoW benchmark.

        Returns:
            `torch.Tensor` of shape `(N, L, C)`.
        """
        if kind not in LANDMARK_KINDS:
            raise ValueError(
                f"got landmarks of kind {kind!r}, but there are {list(LANDMARK_KINDS)}; choose one of them"
            )
        corners = self.triangles[self.get_buffer(f"landmarks_{kind}_triangles")].mT  # (3, L)
        weights = self.get_buffer(f"landmarks_{kind}_barycentrics").mT  # (3, L)
        points = vertices.index_select(1, corners.flatten()).unflatten(1, corners.shape)  # faster than `[:, corners]`
        return (points * weights.unsqueeze(-1)).sum(1)

    def region(self, name: str) -> Tensor:
        """Mask `(V,)` in [0, 1] of a region named in `config.region_names`."""
        names = self.config.region_names or []
        if name not in names:
            raise ValueError(f"got region {name!r}, but this 3DMM has {names}; choose one of them")
        return self.region_masks[names.index(name)]

    def direction(self, name: str) -> Tensor:
        """Change of the identity coefficients `(num_identity,)` that moves a named slider from 0 to 1."""
        names = self.config.direction_names or []
        if name not in names:
            raise ValueError(f"got shape direction {name!r}, which this 3DMM lacks; see config.direction_names")
        return self.shape_directions[names.index(name)]


def save_morphable_model(model: MorphableModel, directory: str | Path) -> None:
    """Write `config.json` and `model.safetensors`, the large bases at half precision.

    `MorphableModel.from_pretrained(directory)` gives float32 buffers back.
    """
    state = {
        name: value.half() if name in HALF_PRECISION_BUFFERS else value for name, value in model.state_dict().items()
    }
    model.save_pretrained(directory, state_dict=state)


def _combine(start: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
    """`start` `(..., 3)` or `(N, ..., 3)` plus `(N, K)` times `(K, ..., 3)` in one product -> `(N, ..., 3)`."""
    start = start.reshape(-1, math.prod(basis.shape[1:]))
    return torch.addmm(start, coefficients, basis.flatten(1)).unflatten(-1, basis.shape[1:])


def _placeholder_buffers(config: MorphableModelConfig) -> dict[str, Tensor]:
    vertices, triangles = config.num_vertices, config.num_triangles
    eyeballs = (config.num_eyes, config.num_eyeball_vertices)
    corners = torch.arange(triangles)[:, None] + torch.arange(3)
    buffers = {
        "template": 0.1 * _fibonacci_sphere(vertices),
        "identity_basis": 1e-3 * _waves(config.num_identity, vertices),
        "expression_basis": 1e-3 * _waves(config.num_expression, vertices),
        "albedo_mean": torch.full((vertices, 3), -1.0 if config.albedo_space == "log" else 0.4),
        "albedo_basis": 1e-1 * _waves(config.num_albedo, vertices),
        "uv_coordinates": torch.zeros(config.num_uv_coordinates, 2),
        "region_masks": torch.ones(len(config.region_names or []), vertices),
        "shape_directions": torch.zeros(len(config.direction_names or []), config.num_identity),
        "eye_centres": torch.zeros(config.num_eyes, 3),
        "eye_centre_basis": torch.zeros(config.num_identity, config.num_eyes, 3),
        "triangles": corners % vertices,
        "uv_triangles": corners % max(config.num_uv_coordinates, 1),
        "closing_weights": torch.zeros(len(config.closing_names), vertices),
        "eyeball_vertices": torch.arange(eyeballs[0] * eyeballs[1]).reshape(eyeballs) % vertices,
    }
    if config.layer_names:
        buffers |= _placeholder_layers(len(config.layer_names), config)
    if config.num_person_features:
        buffers["person_slopes"] = torch.zeros(config.num_person_features, config.num_identity)
        buffers["person_spread"] = torch.eye(config.num_identity)
    for kind, count in LANDMARK_KINDS.items():
        buffers[f"landmarks_{kind}_triangles"] = torch.arange(count) % triangles
        buffers[f"landmarks_{kind}_barycentrics"] = torch.full((count, 3), 1 / 3)
    return buffers


def _placeholder_layers(layers: int, config: MorphableModelConfig) -> dict[str, Tensor]:
    """Layers of nothing."""
    return {
        "layer_masks": torch.zeros(layers, config.num_vertices),
        "layer_orders": torch.zeros(layers, config.num_vertices),
        "layer_softness": torch.ones(layers),
        "layer_amounts": torch.zeros(layers, 1 + config.num_albedo),
        "layer_colours": torch.zeros(layers, 1 + config.num_albedo, 3),
    }


def _fibonacci_sphere(count: int) -> Tensor:
    """Points `(count, 3)` spread evenly over the unit sphere, from the pole at +z down."""
    z = 1 - (2 * torch.arange(count) + 1) / count
    azimuth = torch.arange(count) * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - z.square()).sqrt()
    return torch.stack((radius * azimuth.cos(), radius * azimuth.sin(), z), dim=-1)


def _waves(count: int, vertices: int) -> Tensor:
    """Values `(count, vertices, 3)` in [-1, 1], different for every component."""
    frequency = torch.arange(1, count + 1)[:, None, None]
    phase = torch.arange(3) + 0.1 * torch.arange(vertices)[:, None]
    return (frequency * phase).sin()
