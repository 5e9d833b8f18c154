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
"""What is looked at again: faces, from closer by and in the middle, and parts of the photograph."""

import pytest
import torch
from PIL import Image

from modeling_facegpt import generation_facegpt
from modeling_facegpt.face_parameters import select_faces
from modeling_facegpt.generation_facegpt import SURE, Look, Picture, frame_parts

GROUP = Image.effect_noise((160, 90), 80).convert("RGB")


def select(look: Look, faces: slice) -> Look:
    return Look(
        look.code[faces],
        look.log_variance[faces],
        select_faces(look.parameters, faces),
        select_faces(look.standard_deviation, faces),
        look.probability[faces],
    )


def without_faces(look: Look) -> Look:
    return select(look, slice(0))


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
    first, *centring, parts = rounds
    assert first and not any(centring)
    assert 0 < len(found.probability) <= parts
    assert found.size == GROUP.size and (found.camera.principal_point == torch.tensor([80.0, 45.0])).all()


def test_parts_must_show_a_face_surely(eager_facegpt, processor, second_looks):
    rounds = second_looks(SURE - 0.01)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert rounds[-1] and not len(found.probability)


@pytest.fixture
def two_looks(eager_facegpt, processor) -> tuple[list[Picture], list[Look]]:
    """A photograph, and second looks at two faces of it that are sure."""
    pictures = generation_facegpt.check_pictures([GROUP])
    first = generation_facegpt.locate(eager_facegpt, processor, pictures)
    [looks] = generation_facegpt.look_closer(eager_facegpt, processor, pictures, [look.parameters for look in first])
    return pictures, [as_sure_as(look, 1.0) for look in looks[:2]]


def as_sure_as(look: Look, probability: float) -> Look:
    return look._replace(probability=torch.full_like(look.probability, probability))


def test_a_face_that_is_not_sure_must_be_there_from_closer_by(eager_facegpt, processor, two_looks, monkeypatch):
    """Two doubtful faces: the look from closer by finds the second alone."""
    pictures, sure = two_looks
    doubtful = [as_sure_as(look, SURE - 0.1) for look in sure]
    rounds = []

    def look_at(model, processor, frames, messages, slots, batch_size):
        rounds.append(len(frames))
        return [without_faces(sure[0]), sure[1]][: len(frames)]

    monkeypatch.setattr(generation_facegpt, "look_at", look_at)
    [kept] = generation_facegpt.confirm(eager_facegpt, processor, pictures, [doubtful])
    assert rounds == [2] and len(kept) == 1 and kept[0] is doubtful[1]
    # Those that are sure are not asked about, and photographs without a face stay without.
    none, kept = generation_facegpt.confirm(eager_facegpt, processor, pictures * 2, [[], sure])
    assert not none and all(look is same for look, same in zip(kept, sure, strict=True)) and rounds == [2, 0]


def test_faces_are_looked_at_again_in_the_middle(eager_facegpt, processor, two_looks, monkeypatch):
    pictures, looks = two_looks
    monkeypatch.setattr(generation_facegpt, "look_closer", lambda *_: [[looks[1], without_faces(looks[0])]])
    none, kept = generation_facegpt.centre(eager_facegpt, processor, pictures * 2, [[], looks])
    assert none == [] and kept[0] is looks[1]
    assert kept[1] is looks[1], "a look that finds none takes none away"


def test_parts_show_faces_beside_those_that_are_known(eager_facegpt, processor, two_looks, monkeypatch):
    """Of three faces that parts show, one is known and two are the same."""
    [picture], [known, other] = two_looks
    aside = other.parameters.translation + torch.tensor([[0.3, 0.0, 0.0]])
    other = other._replace(parameters=other.parameters._replace(translation=aside))
    again = other._replace(probability=other.probability - 0.01)
    monkeypatch.setattr(generation_facegpt, "look_at_parts", lambda *_: [known, again, other])
    monkeypatch.setattr(generation_facegpt, "centre", lambda model, processor, pictures, looks, size: looks)
    looks = generation_facegpt.look_for_others(eager_facegpt, processor, picture, [known])
    assert len(looks) == 2 and looks[0] is known and looks[1] is other
    monkeypatch.setattr(generation_facegpt, "look_at_parts", lambda *_: [])
    assert generation_facegpt.look_for_others(eager_facegpt, processor, picture, [known]) == [known]


def test_photographs_of_one_face_are_not_taken_to_parts(eager_facegpt, processor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        generation_facegpt, "look_at_parts", lambda *_: pytest.fail("there is one face, and it is found")
    )
    locate = generation_facegpt.locate

    def locate_one(*arguments) -> list[Look]:
        return [select(look, slice(1)) for look in locate(*arguments)]

    monkeypatch.setattr(generation_facegpt, "locate", locate_one)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert len(found.probability) == 1


def test_faces_beyond_what_an_answer_holds_are_counted(eager_facegpt, two_looks):
    [picture], [known, _] = two_looks
    looks = [
        known._replace(
            parameters=known.parameters._replace(
                translation=known.parameters.translation + torch.tensor([[0.4 * number, 0.0, 0.0]])
            )
        )
        for number in range(5)
    ]
    most = eager_facegpt.config.max_faces
    for count in range(1, 6):
        found = generation_facegpt._gather(picture, looks[:count], eager_facegpt)
        assert len(found.probability) == min(count, most) and found.left_out == max(0, count - most)
