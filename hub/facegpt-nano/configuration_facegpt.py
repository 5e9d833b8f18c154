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
"""Configurations of the morphable model and of FaceGPT."""

from dataclasses import field
from typing import Any, Literal, NamedTuple

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import logging
from transformers.utils.auto_docstring import auto_docstring

from .eight_bit_weights import register_eight_bit_weights

logger = logging.get_logger(__name__)

# Where a saved model's code copy has the classes, for loading without this package installed.
AUTO_MAP = {
    "AutoConfig": "configuration_facegpt.FaceGPTConfig",
    "AutoModel": "modeling_facegpt.FaceGPTForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_facegpt.FaceGPTForConditionalGeneration",
    "AutoProcessor": "processing_facegpt.FaceGPTProcessor",
}


@auto_docstring(
    custom_intro="Sizes and names of a 3D morphable face model; its numbers are buffers of `MorphableModel`."
)
@strict
class MorphableModelConfig(PreTrainedConfig):
    r"""
    face_model_id (`str`, *optional*, defaults to `"facegpt/anny-head"`):
        Name of the 3DMM, written into every result.
    num_vertices (`int`, *optional*, defaults to 5027):
        Vertices of the mesh.
    num_triangles (`int`, *optional*, defaults to 9880):
        Triangles of the mesh.
    num_uv_coordinates (`int`, *optional*, defaults to 5244):
        Size of the texture map's own vertex list (seams duplicate vertices).
    num_identity (`int`, *optional*, defaults to 120):
        Number of identity coefficients.
    num_albedo (`int`, *optional*, defaults to 32):
        Number of albedo coefficients.
    num_expression (`int`, *optional*, defaults to 52):
        Number of expression coefficients.
    expression_names (`list[str]`, *optional*):
        One name per expression coefficient, ARKit's where they apply.
    expression_range (`"unit"` or `"free"`, *optional*, defaults to `"unit"`):
        Activations in [0, 1], or coefficients ~ N(0, 1).
    albedo_space (`"log"` or `"linear"`, *optional*, defaults to `"log"`):
        Whether mean and basis add up to log reflectance or to reflectance.
    num_eyes (`int`, *optional*, defaults to 2):
        2 where the eyeballs turn, else 0.
    num_eyeball_vertices (`int`, *optional*, defaults to 201):
        Vertices of one eyeball, where there are eyes.
    closing_names (`list[str]`, *optional*):
        Per eye, the expression that closes its lids; `[]` where closing lids keep the person's own shape.
    region_names (`list[str]`, *optional*):
        One name per region mask.
    direction_names (`list[str]`, *optional*):
        One name per named shape direction.
    albedo_names (`list[str]`, *optional*):
        One name per albedo coefficient, where they have a meaning; see `person_faces`.
    albedo_centres (`list[float]`, *optional*):
        What each named quantity is where its coefficient is 0.
    albedo_scales (`list[float]`, *optional*):
        By how much it grows with one unit of the coefficient.
    offset_names (`list[str]`, *optional*):
        Names of the last identity coefficients, which are no shapes of heads: hair, beard and folds.
    offset_scales (`list[float]`, *optional*):
        What each of them is in its own unit where the coefficient is 1.
    layer_names (`list[str]`, *optional*):
        Names of what hides the skin (brows, beard, hair, lipstick), the lowest first.
    num_person_features (`int`, *optional*, defaults to 0):
        Number of `person_features` on which the identity of a `Person` depends; 0 where that is not known.
    licence (`str`, *optional*, defaults to `"CC0-1.0"`):
        Licence of the data, written into every result.
    """

    model_type = "facegpt_morphable_model"

    face_model_id: str = "facegpt/anny-head"
    num_vertices: int = 5027
    num_triangles: int = 9880
    num_uv_coordinates: int = 5244
    num_identity: int = 120
    num_albedo: int = 32
    num_expression: int = 52
    expression_names: list[str] = field(default_factory=list)
    expression_range: Literal["unit", "free"] = "unit"
    albedo_space: Literal["log", "linear"] = "log"
    num_eyes: int = 2
    num_eyeball_vertices: int = 201
    closing_names: list[str] = field(default_factory=list)
    region_names: list[str] = field(default_factory=list)
    direction_names: list[str] = field(default_factory=list)
    albedo_names: list[str] = field(default_factory=list)
    albedo_centres: list[float] = field(default_factory=list)
    albedo_scales: list[float] = field(default_factory=list)
    offset_names: list[str] = field(default_factory=list)
    offset_scales: list[float] = field(default_factory=list)
    layer_names: list[str] = field(default_factory=list)
    num_person_features: int = 0
    licence: str = "CC0-1.0"

    def __post_init__(self, **kwargs: Any):
        self.expression_names = self.expression_names or [f"expression_{i}" for i in range(self.num_expression)]
        if len(self.expression_names) != self.num_expression:
            raise ValueError(
                f"got {len(self.expression_names)} expression_names for num_expression={self.num_expression}; "
                "give one name per expression coefficient"
            )
        unknown = [name for name in self.closing_names if name not in self.expression_names]
        if unknown or len(self.closing_names) not in (0, self.num_eyes):
            raise ValueError(
                f"got closing_names={self.closing_names} for num_eyes={self.num_eyes}; give one of the "
                "expression_names per eye, or none"
            )
        named = (self.albedo_names, self.albedo_centres, self.albedo_scales)
        if any(named) and any(len(values) != self.num_albedo for values in named):
            raise ValueError(
                f"got {[len(values) for values in named]} albedo_names, albedo_centres and albedo_scales for "
                f"num_albedo={self.num_albedo}; give one of each per albedo coefficient, or none"
            )
        super().__post_init__(**kwargs)


class DetectionSettings(NamedTuple):
    """How faces are searched for in photos, see `face_detection`."""

    sure_probability: float = 0.99  # from which a crop's face needs no confirmation
    confirmed_probability: float = 0.9  # that a tighter crop must reach to confirm a face
    confirmation_share: float = 0.85  # side of that crop, in units of the face's box
    tile_share: float = 0.6  # side of a tile, in units of the photo's longer side
    tiles_per_side: int = 3  # along a side that one tile does not cover
    tile_overlap: float = 0.25  # intersection over union with a known face, above which a tile shows that one again


@auto_docstring(custom_intro="A vision-language model, a morphable face model, and the head between them.")
@strict
class FaceGPTConfig(PreTrainedConfig):
    r"""
    vlm_config (`PreTrainedConfig` or `dict`, *optional*):
        Any model behind `AutoModelForImageTextToText`.
    face_model_config (`MorphableModelConfig` or `dict`, *optional*):
        The 3DMM.
    face_token_id (`int`, *optional*, defaults to 0):
        Id of `<FACE>`.
    end_token_id (`int`, *optional*, defaults to 0):
        Id of the token that ends a list of faces.
    face_head_hidden_size (`int`, *optional*, defaults to 1024):
        Width of the face head's hidden layer.
    dialogue_hidden_size (`int`, *optional*):
        Width of the parts that dialogue about faces needs: face encoder, reference pointer, edit head, flow head.
        `None`: without these parts, the model reads pictures and words, but no faces.
    render_size (`int`, *optional*, defaults to 112):
        Side in pixels of the square picture in which a face is rendered and compared.
    image_mean (`list[float]`, *optional*):
        What is taken from the sRGB colours of a picture before the vision tower reads it, for the perceptual loss.
    image_std (`list[float]`, *optional*):
        What they are then divided by.
    max_faces (`int`, *optional*, defaults to 8):
        Slots that one look at a picture fills.
    detection (`dict[str, float]`, *optional*):
        Settings of `DetectionSettings` that differ from its defaults.
    log_variance_offset (`list[float]`, *optional*):
        What calibration on held-out faces adds to the log-variance of each number of a face's code; default: nothing.
    eight_bit_weights (`list[str]`, *optional*):
        Regular expressions found in the names of the matrices that files hold in 8 bits, with one scale per row.
        Loaded they are parameters as all others.
    loss_weights (`dict[str, float]`, *optional*):
        Weight of each named loss term; terms without a weight count zero.
    custom_pipelines (`dict[str, dict]`, *optional*):
        Pipelines that come along with the code, by task; the model names its own.
    auto_map (`dict[str, str]`, *optional*):
        Auto class to module and class in the code that is saved beside the weights.
    """

    model_type = "facegpt"
    # The base class computes this where a class does not say it; both of our kinds of configuration are fixed.
    sub_configs = {"vlm_config": AutoConfig, "face_model_config": MorphableModelConfig}  # pyright: ignore

    # A dict or None becomes a PreTrainedConfig at once; what reads them afterwards need not ask.
    vlm_config: Any = None
    face_model_config: Any = None
    face_token_id: int = 0
    end_token_id: int = 0
    face_head_hidden_size: int = 1024
    dialogue_hidden_size: int | None = None
    render_size: int = 112
    image_mean: list[float] = field(default_factory=list)
    image_std: list[float] = field(default_factory=list)
    max_faces: int = 8
    detection: dict[str, Any] = field(default_factory=dict)
    log_variance_offset: list[float] = field(default_factory=list)
    eight_bit_weights: list[str] = field(default_factory=list)
    loss_weights: dict[str, float] = field(default_factory=dict)
    tie_word_embeddings: bool = False
    custom_pipelines: dict[str, Any] = field(default_factory=dict)
    auto_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any):
        if self.vlm_config is None:
            self.vlm_config = {"model_type": "llava"}
        if isinstance(self.vlm_config, dict):
            settings = dict(self.vlm_config)
            self.vlm_config = AutoConfig.for_model(settings.pop("model_type", "llava"), **settings)
        if self.face_model_config is None:
            self.face_model_config = {}
        if isinstance(self.face_model_config, dict):
            self.face_model_config = MorphableModelConfig(**self.face_model_config)
        if unknown := self.detection.keys() - set(DetectionSettings._fields):
            raise ValueError(f"got detection settings {sorted(unknown)}; known are {DetectionSettings._fields}")
        self.auto_map = {**AUTO_MAP, **self.auto_map}
        # Of the model that holds both embeddings; not every text configuration knows.
        self.tie_word_embeddings = bool(self.vlm_config.to_dict().get("tie_word_embeddings"))
        super().__post_init__(**kwargs)

    @property
    def detection_settings(self) -> DetectionSettings:
        """How faces are searched for in photos."""
        return DetectionSettings(**self.detection)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As the base class's. The settings of a bare vision-language model become `vlm_config`, so that its weights
        can be loaded; `<FACE>` and the 3DMM are then still to be chosen."""
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            logger.warning(
                f"Got the configuration of a {model_type!r} model and not FaceGPT's: the face head will be random and "
                "the 3DMM a placeholder. Use FaceGPTForConditionalGeneration.from_vlm to choose token and 3DMM."
            )
            config_dict = {"vlm_config": config_dict}
        return super().from_dict(config_dict, **kwargs)

    @property
    def text_config(self) -> PreTrainedConfig:
        return self.get_text_config()

    @property
    def vision_config(self) -> PreTrainedConfig:
        return self.vlm_config.vision_config

    @property
    def image_token_id(self) -> int:
        return self.vlm_config.image_token_id

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        return self.vlm_config.get_text_config(decoder=decoder, encoder=encoder)


# By the name of the class of models: what knows the model's configuration loads its weights.
register_eight_bit_weights("FaceGPTForConditionalGeneration")
