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
"""The loop of a warm-up: resumes exactly, averages its weights, and prints what it can at every evaluation."""

import copy
import logging
import time
from pathlib import Path
from typing import Any

import torch

from modeling_facegpt.morphable_model import MorphableModel

from ..pictures.portrait_shards import find_shards
from ..pictures.portrait_stream import PortraitStream, load_portraits
from .network import PortraitNetwork, save_network
from .objective import Objective, weighted
from .report import Examiner
from .settings import WarmUpSettings

STATE_FILE = "training_state.pt"
LOG_FILE = "log.txt"
LARGEST_GRADIENT = 5.0
LOGGED_STEPS = 100  # whose loss terms are averaged in a line of the log

logger = logging.getLogger(__name__)


class WarmUp:
    """One run: network, moving average, optimizer, stream.

    Args:
        settings (`WarmUpSettings`): of the run.
    """

    def __init__(self, settings: WarmUpSettings):
        self.settings, self.folder = settings, Path(settings.output_dir)
        self.face_model = MorphableModel.from_pretrained(settings.face_model, trust_remote_code=False).eval()
        torch.manual_seed(settings.seed)
        self.network = PortraitNetwork(settings.vision, self.face_model.config, settings.state_size)
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.examiner = Examiner(settings, self.face_model)
        self.network.landmark_head.start_from(self.examiner.mean_points)
        self.average = copy.deepcopy(self.network)
        self.objective = Objective(self.face_model)
        self.optimizer = torch.optim.AdamW(
            _groups(self.network, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.stream = self._stream()
        self.fast = settings.bf16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.step, self.hours = 0, 0.0

    def _stream(self) -> PortraitStream:
        settings = self.settings

        def find() -> list[Path]:
            return find_shards(Path(settings.portraits), self.face_model, settings.damaged_shards)[0]

        photographs = None
        if settings.photographs:
            folders, files = (
                list(map(Path, paths)) for paths in (settings.photographs, settings.photograph_landmarks)
            )
            photographs = load_portraits(folders, files, exclude=settings.photograph_exclude)
        return PortraitStream(
            find,
            photographs,
            self.face_model,
            side=settings.vision["image_size"],
            people=settings.people_per_batch,
            photographs_per_batch=settings.photographs_per_batch,
            seed=settings.seed,
        )

    def run(self) -> None:
        """Train from where the run is to its end, or for the hours that are given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.restore()
        self.log(f"{self._progress()} of {self.settings.steps} steps")
        if self.step == 0:
            # Photographs of one person are alike in studio and skin: what that alone is worth has to be known.
            self.log(f"untrained: {self.examiner.report(self.average, self.fast)}")
        began, before = time.process_time(), self.hours
        sums: dict[str, float] = {}
        due = False
        while self.step < self.settings.steps and not due:
            for name, value in self.train_step().items():
                sums[name] = sums.get(name, 0.0) + value / LOGGED_STEPS
            self.hours = before + (time.process_time() - began) / 3600
            due = self.settings.hours is not None and self.hours - before >= self.settings.hours
            if self.step % LOGGED_STEPS == 0:
                self.log(self._progress() + ": " + ", ".join(f"{name} {value:.3f}" for name, value in sums.items()))
                sums = {}
            self._evaluate_and_save(last=due or self.step == self.settings.steps)

    def _evaluate_and_save(self, last: bool) -> None:
        if self.step % self.settings.save_steps == 0 or last:
            self.save()
        if self.step % self.settings.evaluation_steps == 0 or last:
            self.log(f"{self._progress()}: {self.examiner.report(self.average, self.fast)}")

    def _progress(self) -> str:
        crops = self.step * (2 * self.settings.people_per_batch + self.stream.photographs_per_batch)
        return f"step {self.step}, {crops:,} crops, {self.hours:.2f} core-hours"

    def train_step(self) -> dict[str, float]:
        """One step; its loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        batch = self.stream.next(self.step)
        terms = self.objective.terms(self.network(batch.crops, self.fast), batch)
        loss = weighted(terms)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        if torch.isfinite(norm):  # a step that cannot be taken is left out
            self.optimizer.step()
        self.step += 1
        self._move_average()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _rate(self) -> float:
        settings = self.settings
        falling = max(settings.falling_share * settings.steps, 1)
        share = min((self.step + 1) / max(settings.rising_steps, 1), (settings.steps - self.step) / falling, 1.0)
        return settings.learning_rate * share

    @torch.no_grad()
    def _move_average(self) -> None:
        # In the beginning the average is short, so that it does not hold what chance began with.
        weight = 1 - min(self.settings.average, (1 + self.step) / (10 + self.step))
        for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, weight)
            else:
                kept.copy_(new)

    def save(self) -> None:
        """The whole state, of which half a file never stays, and the averaged network in half precision."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stream": self.stream.state(),
            "step": self.step,
            "hours": self.hours,
        }
        unfinished = self.folder / f"{STATE_FILE}.unfinished"
        torch.save(state, unfinished)
        unfinished.replace(self.folder / STATE_FILE)
        save_network(self.average, self.folder)

    def restore(self) -> None:
        """Go on from the state in the folder, if there is one.

        Raises:
            ValueError: if it is of another network.
        """
        path = self.folder / STATE_FILE
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"got {path}, a run of another network; name another output_dir") from error
        self.stream.restore(state["stream"])
        self.step, self.hours = state["step"], state["hours"]

    def log(self, text: str) -> None:
        """Print, and keep in the run's log."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with (self.folder / LOG_FILE).open("a") as file:
            file.write(line + "\n")


def _groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay shrinks matrices; biases and scales are free."""
    weights = [value for value in network.parameters() if value.requires_grad]
    return [
        {"params": [value for value in weights if value.ndim > 1], "weight_decay": weight_decay},
        {"params": [value for value in weights if value.ndim <= 1], "weight_decay": 0.0},
    ]
