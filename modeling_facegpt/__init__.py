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
"""FaceGPT: chat about 3D human faces. Importing this package makes transformers' auto classes know it."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .answer_generation import FaceGPTGenerateBeamOutput as FaceGPTGenerateBeamOutput
from .answer_generation import FaceGPTGenerateOutput as FaceGPTGenerateOutput
from .answer_generation import FaceLogitsProcessor as FaceLogitsProcessor
from .camera import Camera as Camera
from .chat_session import ChatSession as ChatSession
from .configuration_facegpt import FaceGPTConfig as FaceGPTConfig
from .configuration_facegpt import MorphableModelConfig as MorphableModelConfig
from .dialogue import Answer as Answer
from .face_parameters import FaceParameters as FaceParameters
from .flow_head import FaceSampling as FaceSampling
from .group_renderer import GroupRender as GroupRender
from .group_renderer import render_group as render_group
from .mesh import Mesh as Mesh
from .modeling_facegpt import FaceGPTForConditionalGeneration as FaceGPTForConditionalGeneration
from .morphable_model import MorphableModel as MorphableModel
from .output_facegpt import FaceGPTOutput as FaceGPTOutput
from .picture_frame import PictureFrame as PictureFrame
from .pipeline_facegpt import TASK as FACE_CHAT
from .pipeline_facegpt import FaceChatPipeline as FaceChatPipeline
from .processing_facegpt import FaceGPTProcessor as FaceGPTProcessor
from .reconstruction import Reconstruction as Reconstruction
from .refinement import refine as refine
from .renderer import RenderOutput as RenderOutput
from .renderer import render_mesh as render_mesh
from .supersampling import supersample as supersample
from .texture import Texture as Texture
from .texture import UVMap as UVMap

AutoConfig.register(MorphableModelConfig.model_type, MorphableModelConfig)
AutoModel.register(MorphableModelConfig, MorphableModel)
AutoConfig.register(FaceGPTConfig.model_type, FaceGPTConfig)
AutoModel.register(FaceGPTConfig, FaceGPTForConditionalGeneration)
AutoModelForImageTextToText.register(FaceGPTConfig, FaceGPTForConditionalGeneration)
AutoProcessor.register(FaceGPTConfig, FaceGPTProcessor)
PIPELINE_REGISTRY.register_pipeline(
    FACE_CHAT, FaceChatPipeline, pt_model=AutoModelForImageTextToText, type="multimodal"
)

# Saving then copies the code beside the weights, so that they load where this package is not installed.
FaceGPTConfig.register_for_auto_class()
FaceGPTForConditionalGeneration.register_for_auto_class()
FaceGPTProcessor.register_for_auto_class()
