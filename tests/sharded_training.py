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
"""`facegpt_trainer` by FSDP2 on processors: `accelerate launch --config_file fsdp2.yaml -m tests.sharded_training …`.

PyTorch shards on processors as on GPUs. Accelerate shards on GPUs only, and quietly copies the whole model otherwise;
so it is told that these processes have some. All else is as users run it.
"""

import sys

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from facegpt_trainer import training
from facegpt_trainer.__main__ import main
from torch.distributed.fsdp import FSDPModule


class ShardedTrainer(training.FaceGPTTrainer):
    """Fails unless the model really is in pieces."""

    def create_accelerator_and_postprocess(self) -> None:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        super().create_accelerator_and_postprocess()

    def training_step(self, model, *arguments, **settings) -> torch.Tensor:
        pieces = [type(value).__name__ == "DTensor" for value in model.parameters()]
        if not isinstance(model, FSDPModule) or not all(pieces):
            raise RuntimeError(f"{sum(pieces)} of {len(pieces)} weights are in pieces")
        return super().training_step(model, *arguments, **settings)


if __name__ == "__main__":
    training.FaceGPTTrainer = ShardedTrainer
    sys.exit(main())
