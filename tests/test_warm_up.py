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
"""The warm-up: what it reads, that it learns, and that it goes on exactly where it was."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from facegpt_trainer.pictures.portrait_shards import PortraitSet, draw_shards, find_shards, shard_path
from facegpt_trainer.pictures.portrait_stream import PortraitStream, load_portraits, mirrored_landmarks
from facegpt_trainer.warm_up.__main__ import main
from facegpt_trainer.warm_up.evaluation import (
    centred_cosine,
    covered,
    normalised_mean_error,
    placed_mean_face,
    recognise,
)
from facegpt_trainer.warm_up.network import FaceReading, load_network
from facegpt_trainer.warm_up.objective import Objective, ShapeMetric, shape_metric
from facegpt_trainer.warm_up.settings import WarmUpSettings
from facegpt_trainer.warm_up.training import WarmUp
from PIL import Image

from modeling_facegpt.morphable_model import MorphableModel, save_morphable_model

VISION = {
    "model_type": "resnet",
    "image_size": 64,
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "layer_type": "basic",
}


def write_photographs(folder: Path, names: list[str]) -> None:
    """Noise with landmarks, and the file that says where they are."""
    generator = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    points = np.zeros((len(names), 478, 3), dtype=np.float32)
    for row, name in enumerate(names):
        pixels = generator.integers(0, 255, (120, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photographs" / name)
        points[row, :, :2] = generator.uniform(20, 80, (478, 2))
    np.savez(folder / "landmarks.npz", files=np.array(names), mediapipe478=points)


@pytest.fixture(scope="module")
def data(face_model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm_up")
    save_morphable_model(face_model, folder / "head")
    stored = MorphableModel.from_pretrained(folder / "head")
    plan = PortraitSet(people=4, each=2, side=160, seed=1, quality=90)
    list(draw_shards(stored, folder / "portraits", plan, 3))
    list(draw_shards(stored, folder / "held_out", plan._replace(seed=2), 1))
    write_photographs(folder, ["A1.jpg", "B2.jpg", "C9.jpg"])
    return folder


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> WarmUpSettings:
    return WarmUpSettings(
        output_dir=str(tmp_path / "run"),
        portraits=str(data / "portraits"),
        held_out_portraits=str(data / "held_out"),
        face_model=str(data / "head"),
        vision=VISION,
        state_size=16,
        photographs=[str(data / "photographs")],
        photograph_landmarks=[str(data / "landmarks.npz")],
        people_per_batch=2,
        photographs_per_batch=2,
        steps=8,
        evaluation_steps=100,
        save_steps=100,
        rising_steps=2,
    )


def stream(data: Path, **settings) -> PortraitStream:
    stored = MorphableModel.from_pretrained(data / "head")
    photographs = load_portraits([data / "photographs"], [data / "landmarks.npz"], exclude="[89]\\.")
    options = {"side": 64, "people": 2, "photographs_per_batch": 2, "seed": 3} | settings
    return PortraitStream(lambda: find_shards(data / "portraits", stored, 1)[0], photographs, stored, **options)


def test_held_out_photographs_are_not_read(data: Path):
    found = load_portraits([data / "photographs"], [data / "landmarks.npz"], exclude="[89]\\.")
    assert found.names == ["A1.jpg", "B2.jpg"]
    held_out = load_portraits([data / "photographs"], [data / "landmarks.npz"], keep="[89]\\.")
    assert held_out.names == ["C9.jpg"]
    size = (found.landmarks.amax(1) - found.landmarks.amin(1)).amax(-1)
    torch.testing.assert_close(size, torch.full((2,), 128.0), atol=3.0, rtol=0)
    with pytest.raises(ValueError, match="no photograph with landmarks"):
        load_portraits([data / "photographs"], [data / "landmarks.npz"], keep="nobody")


def test_a_batch_holds_pairs_of_people_and_what_is_known_of_them(data: Path):
    batch = stream(data).next(0)
    assert batch.crops.shape == (6, 3, 64, 64)
    assert batch.drawn.tolist() == [True] * 4 + [False] * 2
    assert batch.person[0] == batch.person[1] != batch.person[2] == batch.person[3]
    assert torch.equal(batch.identity[0], batch.identity[1])
    assert batch.codes[:4].isfinite().all() and batch.codes[4:].isnan().all()
    assert batch.landmarks.isfinite().all()


def test_mirrored_photographs_have_mirrored_landmarks():
    head = MorphableModel.from_pretrained("hub/anny-head")
    other = mirrored_landmarks(head)
    assert other is not None and other[[33, 61]].tolist() == [263, 291]  # corners of the eyes and of the mouth
    points = head.landmarks(head.template[None], "468")[0]
    torch.testing.assert_close(points[other] * torch.tensor([-1.0, 1.0, 1.0]), points, atol=1e-4, rtol=0)


def test_a_stream_goes_on_exactly_where_it_was_and_sees_everybody(data: Path):
    whole = stream(data)
    batches = [whole.next(step) for step in range(14)]
    assert whole.place.epoch == 2
    half = stream(data)
    for step in range(7):
        half.next(step)
    again = stream(data)
    again.restore(half.state())
    for step in range(7, 14):
        assert torch.equal(again.next(step).crops, batches[step].crops)
    people = torch.cat([batch.identity[:4] for batch in batches[:6]])
    assert len(people.unique(dim=0)) == 12


def test_a_shard_that_breaks_meanwhile_is_named_and_left_out(
    data: Path, face_model: MorphableModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    own = tmp_path / "portraits"
    own.mkdir()
    for number in range(3):
        shard_path(own, number).write_bytes(shard_path(data / "portraits", number).read_bytes())
    stored = MorphableModel.from_pretrained(data / "head")
    found = PortraitStream(
        lambda: find_shards(own, stored, 1)[0],
        None,
        stored,
        side=64,
        people=2,
        photographs_per_batch=0,
        seed=1,
    )
    shard_path(own, 1).write_bytes(b"broken")
    assert found.next(0).crops.shape[0] == 4
    assert "portraits-000001.parquet" in caplog.text


def test_every_weight_learns(settings: WarmUpSettings):
    run = WarmUp(settings)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    for _ in range(3):
        assert all(np.isfinite(value) for value in run.train_step().values())
    still = [name for name, value in run.network.named_parameters() if torch.equal(value, before[name])]
    assert still == []


def test_a_stopped_run_ends_as_one_that_was_not(settings: WarmUpSettings, tmp_path: Path):
    whole = WarmUp(settings)
    whole.run()
    other = dataclasses.replace(settings, output_dir=str(tmp_path / "stopped"))
    first = WarmUp(other)
    for _ in range(5):
        first.train_step()
    first.folder.mkdir()
    first.save()
    second = WarmUp(other)
    second.run()
    assert second.step == 8
    pairs = zip(whole.network.state_dict().values(), second.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(whole.average.state_dict().values(), second.average.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_leaves_a_network_that_loads_and_a_log(settings: WarmUpSettings):
    run = WarmUp(settings)
    run.run()
    network = load_network(run.folder, run.face_model.config)
    crops = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(crops).landmarks, run.average.eval()(crops).landmarks, atol=5e-3, rtol=0)
    log = (run.folder / "log.txt").read_text()
    assert "R2 of neutral shape" in log and "placed mean face" in log


def test_the_command_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output_dir: {tmp_path}\nportraits: {tmp_path}\nheld_out_portraits: {tmp_path}\nsteps: 0")
    assert main(["--config", str(recipe)]) == 1
    assert capsys.readouterr().err == "got steps: 0, wanted 1 or more\n"
    recipe.write_text(f"output_dir: {tmp_path}\nportraits: {tmp_path}\nheld_out_portraits: {tmp_path}\nstep: 1")
    assert main(["--config", str(recipe)]) == 1
    assert "did you mean steps?" in capsys.readouterr().err


def test_the_shape_metric_does_not_see_what_a_camera_cannot(face_model: MorphableModel):
    metric = shape_metric(face_model)
    first, second = torch.randn(2, 5, face_model.config.num_identity)
    distance = metric.squared_distance(first, second)
    region = face_model.region("face") > 0.5
    moved = (face_model.neutral(first) - face_model.neutral(second))[:, region] * 1000
    assert (distance <= moved.square().sum(-1).mean(-1) + 1e-4).all() and (distance > 0).all()


def test_consistency_is_not_won_by_parting_renders_from_photographs(face_model: MorphableModel):
    objective = Objective(face_model)
    identity = torch.randn(8, face_model.config.num_identity, generator=torch.Generator().manual_seed(0))
    person, drawn = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.arange(8) < 4
    apart = identity + 100.0 * drawn[:, None]
    torch.testing.assert_close(
        objective._consistency(apart, person, drawn),
        objective._consistency(identity, person, drawn),
        atol=1e-2,
        rtol=0,
    )
    alike = identity[::2].repeat_interleave(2, dim=0)
    assert objective._consistency(alike, person, drawn) < objective._consistency(identity, person, drawn) - 2
    assert (objective._size(apart)[:4] > 100).all()


def test_known_people_are_recognised_and_strangers_are_not():
    metric = ShapeMetric(torch.eye(8))
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(50, 8, generator=generator)
    near = recognise(metric, people, people + 0.1 * torch.randn(50, 8, generator=generator))
    assert near.auc > 0.99 and near.rank_1 > 95 and near.within_over_between < 0.2
    assert near.spread == pytest.approx(100, abs=15)
    strangers = recognise(metric, people, torch.randn(50, 8, generator=generator))
    assert strangers.auc == pytest.approx(0.5, abs=0.1)
    assert recognise(metric, torch.zeros(50, 8), torch.zeros(50, 8)).auc == 0.5
    assert centred_cosine(people, people)[0] == 1.0


def test_circles_of_a_true_gaussian_hold_nine_of_ten():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(20, 468, 2, generator=generator)
    reading = FaceReading(points, torch.full((20, 468), -8.0), torch.zeros(20, 1), torch.zeros(20, 1))
    true = points + math.exp(-4.0) * torch.randn(points.shape, generator=generator)
    assert covered(reading, true) == pytest.approx(90, abs=1)
    assert covered(reading, points) == 100


def test_the_mean_face_is_placed_where_it_is_seen():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(468, 3, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    seen = (70 * mean @ turn)[None, :, :2] + 200
    torch.testing.assert_close(placed_mean_face(mean, seen), seen, atol=0.05, rtol=0)
    assert normalised_mean_error(seen + 1.0, seen) > 0
