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
"""How fast one process or several train facegpt-nano: `python -m tests.benchmarks.training --processes 2`.

Each process computes on one thread and draws its pictures in one more process, as the recipes do, on renders and, with
`--photographs`, on those too. The first steps are not counted. The last line is pictures per second and nothing else.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.multiprocessing as multiprocessing
from facegpt_trainer import training
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from torch import distributed

NANO = Path(__file__).parents[2] / "hub" / "facegpt-nano"
WARM_UP = 3  # steps


class Figures(NamedTuple):
    """Of one process."""

    seconds: float  # per step
    waiting: float  # seconds of each step in which the model waits for its batch
    megabytes: float  # peak


class TimedTrainer(training.FaceGPTTrainer):
    """Keeps when each step began, and how long it waited for its batch."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.began: list[float] = []
        self.waited: list[float] = []
        TIMED.append(self)

    def get_batch_samples(self, *arguments: Any, **settings: Any) -> Any:
        self.began.append(time.perf_counter())
        batch = super().get_batch_samples(*arguments, **settings)
        self.waited.append(time.perf_counter() - self.began[-1])
        return batch

    def figures(self) -> Figures:
        steps = len(self.began) - WARM_UP - 1
        seconds = (self.began[-1] - self.began[WARM_UP]) / steps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Figures(seconds, sum(self.waited[WARM_UP:-1]) / steps, peak)


TIMED: list[TimedTrainer] = []


def train(given: argparse.Namespace, output: str) -> Figures:
    """One process's part of a run."""
    torch.set_num_threads(1)
    batch = given.batch // given.processes
    photographs: dict[str, Any] = {}
    if given.photographs:
        landmarks = given.photographs.parent / "landmarks.npz"
        photographs = {"photographs": str(given.photographs), "photograph_landmarks": str(landmarks)}
        photographs["photograph_share"] = 0.25
    config = FaceGPTTrainingConfig(
        model=str(NANO),
        output_dir=output,
        pictures=(given.steps + WARM_UP + 1) * given.batch,
        per_device_train_batch_size=batch,
        dataloader_num_workers=given.workers,
        num_train_epochs=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=10_000,
        **photographs,
    )
    training.FaceGPTTrainer = TimedTrainer
    training.train(config)
    return TIMED[-1].figures()


def work(process: int, given: argparse.Namespace, output: str, port: int, answers: Any) -> None:
    """What each of several processes does."""
    places = {"RANK": process, "LOCAL_RANK": process, "WORLD_SIZE": given.processes, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in places.items()}
    # Accelerate would give each process all cores, unless it is told of threads.
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    answers.put(train(given, output))
    distributed.destroy_process_group()


def measure(given: argparse.Namespace) -> list[Figures]:
    """Figures of all processes."""
    with tempfile.TemporaryDirectory() as output:
        if given.processes == 1:
            return [train(given, output)]
        answers = multiprocessing.get_context("spawn").SimpleQueue()
        store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        port = store.port
        del store  # the processes make their own, at what is now known to be a free port
        multiprocessing.spawn(work, (given, output, port, answers), nprocs=given.processes)
        return [answers.get() for _ in range(given.processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description="pictures per second, memory and waiting of training")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32, help="pictures a step, of all processes together")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1, help="of each process's data loader")
    parser.add_argument("--photographs", type=Path, help="folder of photographs, with landmarks.npz beside it")
    given = parser.parse_args()
    found = measure(given)
    seconds = max(figures.seconds for figures in found)
    waiting = max(figures.waiting / figures.seconds for figures in found)
    print(f"seconds per step of {given.batch} pictures: {seconds:.3f}")
    print(f"share of a step spent waiting for pictures: {waiting:.1%}")
    print(f"peak memory of each process, MB: {', '.join(f'{figures.megabytes:.0f}' for figures in found)}")
    print(f"{given.batch / seconds:.1f}")


if __name__ == "__main__":
    main()
