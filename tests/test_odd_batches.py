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
"""Batches that are odd, and not wrong: without a face, with pictures in some rows only."""

import copy

import pytest
import torch
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.pictures.data_engine import DataEngine

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, MorphableModel


@pytest.fixture
def engine(face_model: MorphableModel) -> DataEngine:
    return DataEngine(copy.deepcopy(face_model), 112)


@pytest.mark.parametrize("seed", range(4))
def test_pictures_without_any_face_can_be_drawn(engine: DataEngine, seed: int):
    generator = torch.Generator().manual_seed(seed)
    nobody = engine.compose(generator, torch.tensor([True, False]), torch.tensor([0, 0]))
    assert nobody.pictures.shape == (2, 3, 112, 112) and nobody.pictures.isfinite().all()
    assert len(nobody.face_targets) == len(nobody.face_images) == 0


@pytest.mark.parametrize("kind", ["facegpt", "dialogue_facegpt"])
def test_a_batch_without_faces_has_a_loss_and_a_gradient_for_every_head(
    kind: str, request: pytest.FixtureRequest, processor: FaceGPTProcessor, engine: DataEngine
):
    model: FaceGPTForConditionalGeneration = request.getfixturevalue(kind).train()
    model.config.loss_weights = LOSS_WEIGHTS
    nobody = engine.compose(torch.Generator(), torch.tensor([True, False]), torch.tensor([0, 0]))
    output = model(**FaceCollator(processor, engine).lay_out(nobody))
    assert output.loss.isfinite() and output.loss > 0
    zero = {name for name, count in output.loss_counts.items() if count == 0}
    assert zero == set(output.loss_terms) - {"text"}
    assert all(output.loss_terms[name] == 0 for name in zero)
    output.loss.backward()
    heads = [part for name, part in model.named_children() if name not in ("vlm", "face_model", "face_hook")]
    gradients = {name: p.grad for head in heads for name, p in head.named_parameters()}
    assert gradients and all(g is not None and g.isfinite().all() for g in gradients.values())


def picture() -> dict:
    return {"type": "image"}


def ask(*parts: dict) -> list[dict]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "How many?"}]}]


def test_rows_may_have_different_numbers_of_pictures(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    pictures = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    rows = [ask(picture(), picture()), ask(), ask(picture())]
    together = processor(pictures=pictures, messages=rows)
    alone = processor(pictures=pictures[2:], messages=[rows[2]])
    found = facegpt(**together).logits[2, -1]
    torch.testing.assert_close(found, facegpt(**alone).logits[0, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_more_or_fewer_pictures_than_places_are_refused(processor: FaceGPTProcessor, count: int):
    with pytest.raises(ValueError, match=rf"got pictures of shape \({count}, 3, 112, 112\) for 3 image tokens"):
        processor(pictures=torch.rand(count, 3, 112, 112), messages=[ask(picture(), picture()), ask(), ask(picture())])
