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
"""From photos to faces: which pictures are read in which step, and which detections are kept."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from modeling_facegpt import face_detection
from modeling_facegpt.configuration_facegpt import DetectionSettings, FaceGPTConfig
from modeling_facegpt.face_detection import Detections, FaceDetector, Photo, View, frame_tiles

GROUP = Image.effect_noise((160, 90), 80).convert("RGB")
NUMBERS = DetectionSettings()
Answers = Callable[[int, list[View], list[Detections]], list[Detections]]


def as_likely_as(detections: Detections, probability: float) -> Detections:
    return detections._replace(probability=torch.full_like(detections.probability, probability))


@pytest.fixture
def answer_views(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], list[list[int]]]:
    """Put other detections in the place of what the model detects: `answer(step, views, detections)`. Gives the list
    of the slots of all views, step by step."""
    steps: list[list[int]] = []
    read_views = face_detection.read_views

    def install(answer: Answers) -> list[list[int]]:
        def read(model, processor, views, batch_size):
            steps.append([view.slots for view in views])
            found = read_views(model, processor, views, batch_size)
            return answer(len(steps), views, found)

        monkeypatch.setattr(face_detection, "read_views", read)
        return steps

    return install


def test_tiles_cover_the_photo_and_keep_its_camera():
    for size, count in (((160, 90), 3), ((90, 160), 3), ((100, 100), 9), ((1, 1), 9)):
        frames = frame_tiles(Photo(Image.new("RGB", size), 120.0), 32, NUMBERS)
        assert len(frames) == count
        scale, left, top = torch.stack([frame.affine for frame in frames]).T
        assert torch.allclose(scale, scale[:1])
        side = 32 / scale[0]
        assert (-left / scale).min() <= 1e-4 and (-left / scale).max() + side >= size[0] - 1e-3
        assert (-top / scale).min() <= 1e-4 and (-top / scale).max() + side >= size[1] - 1e-3
        for frame in frames:
            middle = (frame.camera[1:] * 32 - frame.affine[1:]) / frame.affine[0]
            torch.testing.assert_close(middle, torch.tensor(size) / 2, rtol=0, atol=1e-3)


def test_one_sure_face_takes_four_calls(eager_facegpt, processor, answer_views):
    def one_sure_face(step: int, views: list[View], found: list[Detections]) -> list[Detections]:
        return [as_likely_as(detections.select(slice(1)), 1.0) for detections in found]

    steps = answer_views(one_sure_face)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    slots = eager_facegpt.config.max_faces
    assert steps == [[slots], [1], [1], [1], []] and len(found.probability) == 1


def test_an_unsure_face_is_confirmed_by_a_tighter_crop(eager_facegpt, processor, answer_views):
    """Of two unsure faces, the tighter crop shows the second alone."""

    def unsure_twice(step: int, views: list[View], found: list[Detections]) -> list[Detections]:
        if step == 1:
            return [found[0].select(slice(2))]
        likely = [as_likely_as(detections, NUMBERS.sure_probability - 0.01) for detections in found]
        if step == 2:  # two crops and three tiles, which show nothing
            return [*likely[:2], *(detections.select(slice(0)) for detections in likely[2:])]
        if step == 3:  # two tighter crops, two recentred ones
            sides = [view.frame.affine[0] for view in views]
            assert len(views) == 4
            torch.testing.assert_close(sides[0] / sides[2], torch.tensor(1 / NUMBERS.confirmation_share))
            return [likely[0].select(slice(0)), *likely[1:]]
        return likely

    steps = answer_views(unsure_twice)
    [faces] = FaceDetector(eager_facegpt, processor).detect(face_detection.check_photos([GROUP]))
    assert [len(step) for step in steps] == [1, 5, 4, 1, 0] and len(faces) == 1


def test_photos_whose_detections_are_lost_are_searched_in_tiles(eager_facegpt, processor, answer_views):
    """A face that only tiles show must be sure."""
    for likelihood, kept in ((NUMBERS.sure_probability + 0.005, True), (NUMBERS.sure_probability - 0.005, False)):

        def lost_at_first(step: int, views: list[View], found: list[Detections], likely: float = likelihood):
            if step == 1:
                return [found[0].select(slice(1))]
            if step == 2:
                return [detections.select(slice(0)) for detections in found]
            return [as_likely_as(detections, likely) for detections in found]

        steps = answer_views(lost_at_first)
        steps.clear()
        [found] = eager_facegpt.reconstruct([GROUP], processor)
        tiles = len(frame_tiles(Photo(GROUP, 192.0), 32, NUMBERS))
        assert [len(step) for step in steps[:4]] == [1, 1, 0, tiles] and len(steps[4]) > 0
        assert (len(found.probability) > 0) == kept
        assert found.size == GROUP.size and (found.camera.principal_point == torch.tensor([80.0, 45.0])).all()


def test_a_crop_that_shows_nothing_takes_no_known_face_away(eager_facegpt, processor, answer_views):
    def gone_when_recentred(step: int, views: list[View], found: list[Detections]) -> list[Detections]:
        kept = slice(1) if step < 3 else slice(0)
        return [as_likely_as(detections.select(kept), 1.0) for detections in found]

    answer_views(gone_when_recentred)
    [found] = eager_facegpt.reconstruct([GROUP], processor)
    assert len(found.probability) == 1


def test_tiles_add_the_faces_that_are_not_known(eager_facegpt, processor):
    """Of three faces that tiles show, one is known and two are the same."""
    detector = FaceDetector(eager_facegpt, processor)
    [photo] = face_detection.check_photos([GROUP])
    [[whole]] = detector.read([[detector.view_photo(photo)]])[0]
    known = as_likely_as(whole.select(slice(1)), 0.99)
    aside = known.parameters.translation + torch.tensor([[0.3, 0.0, 0.0]])
    other = known._replace(parameters=known.parameters._replace(translation=aside))
    again = as_likely_as(other, 0.98)
    [new] = detector.new_faces(photo, [known], [known, again, other])
    assert new is other
    assert detector.new_faces(photo, [known], []) == []


def test_photos_are_read_together_and_alone_alike(eager_facegpt, processor):
    photos = [GROUP, Image.effect_noise((90, 90), 60).convert("RGB"), GROUP.transpose(Image.Transpose.ROTATE_90)]
    together = eager_facegpt.reconstruct(photos, processor)
    for image, found in zip(photos, together, strict=True):
        [alone] = eager_facegpt.reconstruct([image], processor)
        assert len(alone.probability) == len(found.probability)
        torch.testing.assert_close(
            torch.cat(alone.parameters, -1), torch.cat(found.parameters, -1), atol=1e-4, rtol=1e-3
        )


def test_settings_that_do_not_exist_are_refused_by_name():
    with pytest.raises(ValueError, match="tile_shares"):
        FaceGPTConfig(detection={"tile_shares": 0.5})
    assert FaceGPTConfig(detection={"tile_share": 0.5}).detection_settings.tile_share == 0.5


def test_faces_beyond_what_an_answer_holds_are_counted(eager_facegpt, processor):
    detector = FaceDetector(eager_facegpt, processor)
    [photo] = face_detection.check_photos([GROUP])
    [[whole]] = detector.read([[detector.view_photo(photo)]])[0]
    known, most = as_likely_as(whole.select(slice(1)), 0.99), eager_facegpt.config.max_faces
    step = torch.tensor([[0.4, 0.0, 0.0]])
    places = [known.parameters.translation + number * step for number in range(5)]
    faces = [known._replace(parameters=known.parameters._replace(translation=place)) for place in places]
    for count in range(1, 6):
        found = face_detection.gather_faces(eager_facegpt, photo, faces[:count])
        assert len(found.probability) == min(count, most) and found.left_out == max(0, count - most)
