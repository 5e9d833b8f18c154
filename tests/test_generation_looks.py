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
"""What is looked at again where the first look saw faces and the second confirms none: parts of the photograph."""

import pytest
import torch
from PIL import Image

from modeling_facegpt import generation_facegpt
from modeling_facegpt.face_parameters import select_faces
from modeling_facegpt.generation_facegpt import SURE, Look, Picture, frame_parts

GROUP = Image.effect_noise((160, 90), 80).convert("RGB")


def without_faces(look: Look) -> Look:
    none = slice(0, 0)
    return Look(
        look.code[none],
        look.log_variance[none],
        select_faces(look.parameters, none),
        select_faces(look.standard_deviation, none),
        look.probability[none],
    )


@pytest.fixture
def second_looks(monkeypatch: pytest.MonkeyPatch):
    """Second looks of which the first round confirms nothing, and the next all, as surely as is said."""
    rounds: list[int] = []
    look_closer = generation_facegpt.look_closer

    def blind_at_first(*arguments, **settings) -> list[list[Look]]:
        looks = look_closer(*arguments, **settings)
        rounds.append(sum(len(part) for part in looks))
        if len(rounds) == 1:
            return [[without_faces(look) for look in part] for part in looks]
        return [
            [look._replace(probability=torch.full_like(look.probability, sure)) for look in part] for part in looks
        ]

    sure = 1.0

    def as_surely_as(value: float) -> list[int]:
        nonlocal sure
        sure = value
        return rounds

    monkeypatch.setattr(generation_facegpt, "look_closer", blind_at_first)
    return as_surely_as


def test_parts_cover_the_photograph_and_keep_its_camera():
    for size, count in (((160, 90), 3), ((90, 160), 3), ((100, 100), 9), ((1, 1), 9)):
        frames = frame_parts(Picture(Image.new("RGB", size), 120.0), 32)
        assert len(frames) == count
        scale, left, top = torch.stack([frame.affine for frame in frames]).T
        assert torch.allclose(scale, scale[:1])
        side = 32 / scale[0]
        assert (-left / scale).min() <= 1e-4 and (-left / scale).max() + side >= size[0] - 1e-3
        assert (-top / scale).min() <= 1e-4 and (-top / scale).max() + side >= size[1] - 1e-3
        for frame in frames:
            middle = (frame.camera[1:] * 32 - frame.affine[1:]) / frame.affine[0]
            torch.testing.assert_close(middle, torch.tensor(size) / 2, rtol=0, atol=1e-3)


def test_faces_that_only_parts_show_are_found(eager_facegpt, processor, second_looks):
    rounds = second_looks(1.0)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert len(rounds) == 2 and 0 < len(found.probability) <= rounds[1]
    assert found.size == GROUP.size and (found.camera.principal_point == torch.tensor([80.0, 45.0])).all()


def test_parts_must_show_a_face_surely(eager_facegpt, processor, second_looks):
    rounds = second_looks(SURE - 0.01)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert len(rounds) == 2 and not len(found.probability)


def test_a_face_that_is_not_sure_must_be_there_from_closer_by(eager_facegpt, processor, monkeypatch):
    """Two doubtful faces: the look from closer by finds the second alone, which is then centred."""
    pictures = generation_facegpt.check_pictures([GROUP])
    looks = generation_facegpt.look_closer(
        eager_facegpt,
        processor,
        pictures,
        [look.parameters for look in generation_facegpt.locate(eager_facegpt, processor, pictures)],
    )[0][:2]
    doubtful = [look._replace(probability=torch.full_like(look.probability, SURE - 0.1)) for look in looks]
    sure = [look._replace(probability=torch.ones_like(look.probability)) for look in looks]
    rounds = []

    def look_at(model, processor, frames, messages, slots, batch_size):
        rounds.append(len(frames))
        return [without_faces(sure[0]), sure[1]] if len(frames) == 2 else [sure[0]] * len(frames)

    monkeypatch.setattr(generation_facegpt, "look_at", look_at)
    [kept] = generation_facegpt.confirm(eager_facegpt, processor, pictures, [doubtful])
    assert rounds == [2, 1, 1] and len(kept) == 1 and kept[0] is sure[0]
    rounds.clear()
    # Of two photographs, one without a face; and a look at the middle that finds none does not take it away.
    monkeypatch.setattr(
        generation_facegpt,
        "look_at",
        lambda _, __, frames, *rest: [sure[1] if len(frames) == 2 else without_faces(sure[0])] * len(frames),
    )
    none, kept = generation_facegpt.confirm(eager_facegpt, processor, pictures * 2, [[], doubtful])
    assert not none and len(kept) == 2
    monkeypatch.setattr(generation_facegpt, "look_at", look_at)
    [kept] = generation_facegpt.confirm(eager_facegpt, processor, pictures, [sure])
    assert all(look is same for look, same in zip(kept, sure, strict=True)) and set(rounds) == {0}


def test_other_photographs_are_looked_at_twice_only(eager_facegpt, processor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(generation_facegpt, "look_at_parts", lambda *_: pytest.fail("a face was found already"))
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert len(found.probability)
