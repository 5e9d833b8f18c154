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
"""How long the fit of a face to landmarks takes, on one thread: `python -m tests.benchmarks.face_fit`."""

import argparse
import time

import torch

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_fit import LandmarkEvidence, fit_faces, landmark_model, morphable_model_prior
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.reconstruction import landmarks_in_photo

SIDE = 640
REPETITIONS = 40


def milliseconds(face_model: MorphableModel, faces: int, steps: int) -> float:
    """Of the processor for one face, of `faces` fitted together; the best of some repetitions."""
    generator = torch.Generator().manual_seed(0)
    mean, deviation = morphable_model_prior(face_model, faces)
    true = mean._replace(identity=torch.randn(mean.identity.shape, generator=generator))
    camera = Camera(torch.full((faces,), 1.2 * SIDE), torch.full((faces, 2), SIDE / 2))
    points = landmarks_in_photo(face_model, true, camera, "468")
    points = points + 2 * torch.randn(points.shape, generator=generator)
    evidence, model = LandmarkEvidence(points, torch.zeros(points.shape[:2])), landmark_model(face_model)
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        fit_faces(model, evidence, camera, mean, deviation, steps=steps)
        times.append(time.process_time() - start)
    return 1000 * min(times) / faces


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--face-model", default="hub/anny-head")
    face_model = MorphableModel.from_pretrained(parser.parse_args().face_model).eval()
    torch.set_num_threads(1)
    print(f"{'faces':>6} {'steps':>6} {'ms a face':>10}")
    for faces in (1, 8):
        for steps in (3, 4, 6):
            print(f"{faces:>6} {steps:>6} {milliseconds(face_model, faces, steps):>10.1f}", flush=True)


if __name__ == "__main__":
    main()
