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
"""Portraits in shards: drawn once, whole or not at all, read back as they were drawn."""

from pathlib import Path

import pytest
import torch
from facegpt_trainer.draw_portraits import main
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.pictures.photograph_stream import TooManyProblemsError
from facegpt_trainer.pictures.portrait_shards import (
    PortraitSet,
    decode_pictures,
    draw_shards,
    find_shards,
    read_shard,
    shard_path,
)

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.morphable_model import MorphableModel, save_morphable_model
from modeling_facegpt.reconstruction import landmarks_in_photo

PLAN = PortraitSet(people=3, each=2, side=160, seed=4, quality=92)


@pytest.fixture(scope="module")
def folder(face_model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    assert len(list(draw_shards(face_model, folder, PLAN, 2))) == 2
    return folder


def test_portraits_of_a_person_share_identity_and_albedo_only(face_model: MorphableModel):
    engine = DataEngine(face_model, 160, 1)
    batch = engine.portraits(engine.generator(0), 4, 3)
    assert batch.person.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    faces = vector_to_parameters(batch.face_targets, face_model.config)
    for own, others in ((faces.identity, True), (faces.albedo, True), (faces.rotation, False), (faces.light, False)):
        assert torch.equal(own[0], own[1]) == others
        assert not torch.equal(own[0], own[3])


def test_what_a_shard_holds_is_true(face_model: MorphableModel, folder: Path):
    portraits = read_shard(shard_path(folder, 0))
    pictures = decode_pictures(portraits.jpeg)
    assert pictures.shape == (6, 3, 160, 160) and pictures.float().std() > 10
    parameters = vector_to_parameters(portraits.face_targets, face_model.config)
    cameras = portraits.picture_cameras * 160
    points = landmarks_in_photo(face_model, parameters, Camera(cameras[:, 0], cameras[:, 1:]), "468")
    torch.testing.assert_close(points, portraits.landmarks, atol=1e-2, rtol=0)
    assert 0.2 < portraits.landmarks_seen.float().mean() < 1.0
    middle = portraits.frame[:, :2] * 160
    assert ((portraits.landmarks.mean(1) - middle).norm(dim=-1) < 60).all()


def test_drawing_goes_on_and_repeats_itself(face_model: MorphableModel, folder: Path, tmp_path: Path):
    written = list(draw_shards(face_model, tmp_path, PLAN, 1))
    written += list(draw_shards(face_model, tmp_path, PLAN, 2))
    assert [path.name for path in written] == ["portraits-000000.parquet", "portraits-000001.parquet"]
    for number in (0, 1):
        assert read_shard(shard_path(tmp_path, number)).jpeg == read_shard(shard_path(folder, number)).jpeg
    assert list(draw_shards(face_model, tmp_path, PLAN, 2)) == []


def test_other_settings_do_not_join_a_folder(face_model: MorphableModel, folder: Path):
    with pytest.raises(ValueError, match=r"of seed 4, wanted 5"):
        list(draw_shards(face_model, folder, PLAN._replace(seed=5), 3))
    assert not shard_path(folder, 2).exists()


def test_a_stopped_drawing_leaves_no_half_shard(
    face_model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facegpt_trainer.pictures.portrait_shards.pq.write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        list(draw_shards(face_model, tmp_path, PLAN, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut off", "byte changed", "no Parquet"])
def test_damaged_shards_are_named_and_left_out(
    face_model: MorphableModel, folder: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
):
    whole = shard_path(folder, 0).read_bytes()
    shard_path(tmp_path, 0).write_bytes(whole)
    bad = shard_path(tmp_path, 1)
    middle = len(whole) // 2
    bad.write_bytes(
        {
            "cut off": whole[:middle],
            "byte changed": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
            "no Parquet": b"hello",
        }[damage]
    )
    if damage == "byte changed":  # found when it is read
        with pytest.raises(ValueError, match="portraits-000001.parquet, which is damaged"):
            read_shard(bad)
        return
    found, plan = find_shards(tmp_path, face_model, most_damaged=1)
    assert [path.name for path in found] == ["portraits-000000.parquet"] and plan == PLAN
    assert "portraits-000001.parquet" in caplog.text
    with pytest.raises(TooManyProblemsError, match=r"got 1 damaged shards .*portraits-000001.*delete them"):
        find_shards(tmp_path, face_model, most_damaged=0)


def test_shards_of_another_3dmm_are_refused(face_model: MorphableModel, folder: Path, tmp_path: Path):
    other = MorphableModel(face_model.config)
    with pytest.raises(ValueError, match="drawn with another 3DMM"):
        find_shards(folder, other, 0)
    with pytest.raises(ValueError, match="no whole shards"):
        find_shards(tmp_path, face_model, 0)


def test_the_command_draws_what_is_missing(
    face_model: MorphableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_morphable_model(face_model, tmp_path / "head")
    recipe = tmp_path / "recipe.yaml"
    lines = [
        f"output_dir: {tmp_path / 'out'}",
        f"face_model: {tmp_path / 'head'}",
        "shards: 1",
        "people: 2",
        "side: 160",
    ]
    recipe.write_text("\n".join(lines))
    assert main(["--config", str(recipe)]) == 0
    assert "1 shards drawn" in capsys.readouterr().out
    assert main(["--config", str(recipe)]) == 0
    assert "0 shards drawn" in capsys.readouterr().out
    recipe.write_text("\n".join([*lines[:-1], "side: 80"]))
    assert main(["--config", str(recipe)]) == 1
    assert capsys.readouterr().err == "got side: 80, wanted 160 or more\n"
    recipe.write_text("shards: 1")
    assert main(["--config", str(recipe)]) == 1
    assert "output_dir" in capsys.readouterr().err
