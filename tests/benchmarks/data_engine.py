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
"""How many pictures the data engine draws per second: `python -m tests.benchmarks.data_engine --processes 2`.

Each process draws on one thread, as the workers of a data loader do; the last line is the sum over processes.
"""

import argparse
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from facegpt_trainer.pictures.data_engine import DataEngine

from modeling_facegpt import MorphableModel

HEAD = Path(__file__).parents[2] / "hub" / "anny-head"
BATCH = 32
WARM_UP = 3


def pictures_per_second(seed: int, batches: int) -> float:
    """Of one process: the batch size over the median time of a batch, after some that are not counted."""
    torch.set_num_threads(1)
    engine = DataEngine(MorphableModel.from_pretrained(HEAD, dtype=torch.float32), 112, seed)
    seconds = []
    for number in range(batches + WARM_UP):
        start = time.perf_counter()
        engine.batch(number * BATCH, BATCH)
        seconds.append(time.perf_counter() - start)
    return BATCH / median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description="pictures per second of the data engine at 112 x 112")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    with get_context("spawn").Pool(arguments.processes) as pool:
        rates = pool.starmap(pictures_per_second, [(seed, arguments.batches) for seed in range(arguments.processes)])
    print(f"{sum(rates):.0f}")


if __name__ == "__main__":
    main()
