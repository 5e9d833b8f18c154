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
"""`accelerate launch -m facegpt_trainer.reconstruct --dataset … --output shards/`: faces of any number of photographs.

Results are Parquet files of at most `--chunk` photographs each. Run it again, with any number of processes, after it
was stopped or when photographs were added: what is done stays, what is not is done.
"""

import argparse
import sys
from pathlib import Path

from .endings import Stopped, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse, reconstruct, say how many were done."""
    parser = argparse.ArgumentParser(prog="facegpt_trainer.reconstruct", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder of photographs or shards, or a data set's name")
    parser.add_argument("--split", default="train", help="of a data set by name")
    parser.add_argument("--column", default="image", help="of the images")
    parser.add_argument("--output", type=Path, required=True, help="directory of the Parquet files")
    parser.add_argument("--model", required=True, help="checkpoint: a directory, or owner/name on the Hub")
    parser.add_argument("--chunk", type=_count, default=512, help="photographs per file")
    parser.add_argument("--batch-size", type=_count, default=8, help="photographs reconstructed together")
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help="fit faces to the pixels")
    parser.add_argument("--most-problems", type=int, default=100, help="unreadable photographs before it stops")
    parser.add_argument("--device", help="where the model runs, such as cpu or cuda; default: a device per process")
    given = parser.parse_args(arguments)
    return run_command(lambda: _reconstruct(given))


def _reconstruct(given: argparse.Namespace) -> int:
    from .dataset_reconstruction import reconstruct_dataset

    try:
        return reconstruct_dataset(given)
    except KeyboardInterrupt as stop:
        message = f"reconstruction was stopped; the same command goes on with what {given.output} does not hold yet"
        raise Stopped(message) from stop


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, wanted at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
