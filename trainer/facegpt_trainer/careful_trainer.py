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
"""A `Trainer` that ends where going on makes no sense, says so in one sentence, and leaves good checkpoints alone."""

from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import ProgressCallback

from .checkpoint import last_whole_checkpoint


class NotFiniteError(ValueError):
    """A loss or weights are not finite: training cannot go on from there."""


class CarefulTrainer:
    """A `Trainer` that stops at the first loss that is not finite, saves only weights that give a finite loss, and
    says where a checkpoint could not be written, as on a full disk. Name it before the trainer it is mixed into."""

    last_inputs: Any = None  # of the newest batch

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)  # type: ignore[misc]
        except BaseException:
            for callback in self.callback_handler.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, ProgressCallback) and callback.training_bar is not None:
                    callback.training_bar.close()  # else the bar is drawn again behind the last sentence
            raise

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.last_inputs = inputs
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not loss.isfinite():
            self._refuse(f"the loss is {float(loss)}")
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self._check_weights()
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._save_checkpoint(*args, **kwargs)  # type: ignore[misc]
        except (OSError, RuntimeError, SafetensorError) as error:
            run = self.args.output_dir  # type: ignore[attr-defined]
            raise OSError(
                f"a checkpoint cannot be written to {run} ({error}); make room and start again: the run goes on from "
                "the last whole one"
            ) from error

    @torch.no_grad()
    def _check_weights(self) -> None:
        """Raise `NotFiniteError` if weights are not finite, or give a loss on the newest batch that is not."""
        trainer: Any = self
        for name, weights in trainer.model.named_parameters():
            own = weights.to_local() if isinstance(weights, DTensor) else weights
            if not own.isfinite().all():
                self._refuse(f"the weights {name} are not finite")
        if self.last_inputs is None:
            return
        model, before = trainer.model_wrapped, trainer.model_wrapped.training
        model.eval()  # running statistics of norms stay
        with torch.random.fork_rng(), trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, self.last_inputs)
        model.train(before)
        if not loss.isfinite():
            self._refuse(f"the loss is {float(loss)} by the weights")

    def _refuse(self, what: str) -> NoReturn:
        trainer: Any = self
        run, rate = Path(str(trainer.args.output_dir)), trainer.args.learning_rate
        # A resumed run has the learning rate of its checkpoint.
        last = last_whole_checkpoint(run)
        start = f"start from {last} into another output_dir" if last else "begin anew"
        raise NotFiniteError(
            f"{what} at step {trainer.state.global_step}, so training stopped and nothing more was saved; {start} "
            f"with a learning_rate below {rate:g} or a lower max_grad_norm"
        )
