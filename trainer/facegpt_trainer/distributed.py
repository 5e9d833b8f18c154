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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from modeling_facegpt.face_parameters import FaceParameters

from .loss_weights import LOSS_WEIGHTS

# Those that may have a weight, and those that are only logged.
TERMS = frozenset(LOSS_WEIGHTS) | {f"prior_{name}" for name in FaceParameters._fields}


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
    nothing = torch.zeros((), device=accelerator.device)
    own = {
        name: torch.stack((terms[name].detach().float(), counts[name].to(nothing))) for name in TERMS & terms.keys()
    }
    empty = torch.stack((nothing, nothing))
    mean, count = torch.stack([own.get(name, empty) for name in sorted(TERMS)]).unbind(-1)
    total, whole = cast(Tensor, accelerator.reduce(torch.stack((mean * count, count)))).unbind()
    means = dict(zip(sorted(TERMS), total / whole.clamp(min=1.0), strict=True))
    shares = dict(zip(sorted(TERMS), accelerator.num_processes * count / whole.clamp(min=1.0), strict=True))
    return SharedTerms(
        {name: shares.get(name, 1.0) * term for name, term in terms.items()},
        {name: means.get(name, term.detach()) for name, term in terms.items()},
    )


def keep_face_model_apart(model: nn.Module) -> None:
    """Spare `DistributedDataParallel` the 3DMM's bases, which never change and are as large as a small model: without
    this they are sent to every process before every step. The running statistics of norms still are."""
    fixed = [name for name, _ in model.named_buffers() if name.startswith("face_model.")]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, fixed)


def prepare_sharding(accelerator: Accelerator, model: nn.Module) -> None:
    """What FSDP2 has to know of a FaceGPT.

    The layers that are sharded one by one are those that the model holds: families also name layers of towers that a
    vision-language model leaves out. And lower precision is left to autocast: FSDP2's own would turn weights, cameras
    and landmarks of the parts that must run in float32 into bfloat16, by which a landmark is off by a pixel.
    """
    plugin = accelerator.state.fsdp_plugin if accelerator.distributed_type == DistributedType.FSDP else None
    if plugin is None:
        return
    held = {type(module).__name__ for module in model.modules()}
    plugin.transformer_cls_names_to_wrap = plugin.transformer_cls_names_to_wrap or sorted(
        held.intersection(cast(Any, model)._no_split_modules)
    )
    plugin.mixed_precision_policy = None


class GradientsForAll(TrainerCallback):
    """Zero gradients where there are none, as of the last layers of a vision tower, which many models do not read: for
    such weights no optimizer state would be saved, and FSDP2 goes on from a checkpoint only if all have some."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


@contextmanager
def as_unsharded_class(model: nn.Module) -> Iterator[None]:
    """Inside the block, a model that FSDP2 has put in pieces is of its own class again, so that the code that is saved
    beside its weights is that of the model and not FSDP2's."""
    sharded = type(model)
    if isinstance(model, FSDPModule):
        unsharded = next(base for base in sharded.__mro__[1:] if not issubclass(base, FSDPModule))
        model.__class__ = unsharded
    try:
        yield
    finally:
        model.__class__ = sharded  # pyright: ignore[reportAttributeAccessIssue]
