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
"""Several processes that train as one would on the whole batch.

Every loss term is a mean over faces or words, and processes have unequal numbers of them: the average of their means
is not the mean of all, and so its gradient is another. Each process therefore weighs its terms by how many of the
values are its own.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .training_config import LOSS_WEIGHTS


class SharedTerms(NamedTuple):
    """Loss terms of a batch that processes share, each a tensor of shape `()` by name."""

    parts: dict[str, Tensor]  # this process's; the average over processes, of gradients too, is the whole batch's
    means: dict[str, Tensor]  # of the whole batch, without gradient


def share_terms(terms: Mapping[str, Tensor], counts: Mapping[str, Tensor], accelerator: Accelerator) -> SharedTerms:
    """Weigh the terms of one process so that averaged gradients are those of one process with the whole batch.

    One small sum over processes for all terms together, the same in every process whatever its faces are. With
    gradient accumulation each micro-batch is averaged by itself, as in one process.

    Args:
        terms (`Mapping[str, torch.Tensor]`): means over this process's values.
        counts (`Mapping[str, torch.Tensor]`): of how many values.
        accelerator (`Accelerator`): which processes there are.
    """
    if accelerator.num_processes == 1:
        return SharedTerms(dict(terms), {name: term.detach() for name, term in terms.items()})
    # All names in one order: a process without some kind of target must not wait for the others.
    own = {name: (terms[name], counts[name].to(terms[name])) for name in LOSS_WEIGHTS if name in terms}
    nothing = torch.zeros((), device=accelerator.device)
    rows = [torch.stack(own.get(name, (nothing, nothing))).float().detach() for name in LOSS_WEIGHTS]
    mean, count = torch.stack(rows).unbind(-1)
    total, whole = cast(Tensor, accelerator.reduce(torch.stack((mean * count, count)))).unbind()
    means = dict(zip(LOSS_WEIGHTS, total / whole.clamp(min=1.0), strict=True))
    shares = dict(zip(LOSS_WEIGHTS, accelerator.num_processes * count / whole.clamp(min=1.0), strict=True))
    return SharedTerms(
        {name: shares[name] * term if name in shares else term for name, term in terms.items()},
        {name: means.get(name, term.detach()) for name, term in terms.items()},
    )


def keep_face_model_apart(model: nn.Module) -> None:
    """Spare `DistributedDataParallel` the 3DMM's bases, which never change and are as large as a small model: without
    this they are sent to every process before every step. The running statistics of norms still are."""
    fixed = [name for name, _ in model.named_buffers() if name.startswith("face_model.")]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, fixed)


def keep_full_precision(accelerator: Accelerator) -> None:
    """Leave lower precision to autocast under FSDP2 too. Its own policy would turn weights, cameras and landmarks of
    the parts that must run in float32 into bfloat16: a landmark would be off by a pixel."""
    plugin = accelerator.state.fsdp_plugin if accelerator.distributed_type == DistributedType.FSDP else None
    if plugin is not None:
        plugin.mixed_precision_policy = None
