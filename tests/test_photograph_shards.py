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
"""Photographs of shards: decoded one by one, in an order that holds across processes, without what is damaged."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from facegpt_trainer.__main__ import main
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.pictures import shard_files
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.pictures.photograph_shards import ShardedPhotographs
from facegpt_trainer.pictures.photograph_stream import TooManyProblemsError
from PIL import Image as PillowImage
from torch.utils.data import DataLoader

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, MorphableModel

SIZE = (60, 48)
PER_SHARD, SHARDS = 6, 4
COUNT = PER_SHARD * SHARDS


def encoded(number: int) -> bytes:
    """A photograph that tells its number by its colour."""
    content = io.BytesIO()
    PillowImage.new("RGB", SIZE, (10 * number, 255 - 10 * number, 100)).save(content, "PNG")
    return content.getvalue()


def points(number: int) -> list[list[float]]:
    return (np.random.default_rng(number).uniform(10, 40, (478, 2))).tolist()


def write_parquet(folder: Path, changes: dict[int, dict] | None = None, *, landmarks: bool = True) -> Path:
    """Shards of three row groups each; `changes` are of single rows."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"image": {"bytes": encoded(n), "path": f"{n}.png"}, "landmarks": points(n)} | (changes or {}).get(n, {})
        for n in range(COUNT)
    ]
    kinds = {"image": Image(decode=False), "landmarks": List(List(Value("float32")))}
    for shard in range(SHARDS):
        part = rows[shard * PER_SHARD : (shard + 1) * PER_SHARD]
        kept = {name: [row[name] for row in part] for name in ("image", "landmarks")[: 1 + landmarks]}
        data = Dataset.from_dict(kept, Features({name: kinds[name] for name in kept}))
        pq.write_table(data.data.table, folder / f"{shard}.parquet", row_group_size=2)
    return folder


def write_tar(folder: Path) -> Path:
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
                stored = io.BytesIO()
                np.save(stored, np.array(points(number)))
                for ending, content in (("png", encoded(number)), ("landmarks.npy", stored.getvalue())):
                    entry = tarfile.TarInfo(f"{number:03d}.{ending}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder


@pytest.fixture(params=["parquet", "tar"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return (write_parquet if request.param == "parquet" else write_tar)(tmp_path / "shards")


def picked(photographs: ShardedPhotographs, turns: range, count: int = 2) -> list[int]:
    """The numbers of the photographs of some draws, as their pixels tell."""
    found = [photographs.pick(turn, count, torch.Generator()) for turn in turns]
    middle = torch.cat([one.pixels[:, 0, 144, 144] for one in found])
    return (middle / 10).round().int().tolist()


def test_every_photograph_is_seen_once_an_epoch(shards: Path):
    seen = picked(ShardedPhotographs(shards, seed=1), range(COUNT), count=1)
    assert sorted(seen) == list(range(COUNT)) and seen != sorted(seen)
    other = picked(ShardedPhotographs(shards, seed=2), range(COUNT), count=1)
    assert sorted(other) == sorted(seen) and other != seen


def test_landmarks_and_boxes_are_those_of_the_photograph(shards: Path):
    [one] = [ShardedPhotographs(shards).pick(3, 1, torch.Generator())]
    number = picked(ShardedPhotographs(shards), range(3, 4), count=1)[0]
    expected = torch.tensor(points(number))[:468] + torch.tensor([0.0, (SIZE[0] - SIZE[1]) / 2])
    torch.testing.assert_close(one.landmarks[0] * SIZE[0], expected, atol=1e-3, rtol=0)
    assert torch.equal(one.boxes[0, :2], one.landmarks[0].amin(0))
    torch.testing.assert_close(one.extents[0], torch.tensor([1.0, SIZE[1] / SIZE[0]]))


def test_a_run_that_goes_on_reads_what_comes_next(shards: Path):
    whole = picked(ShardedPhotographs(shards), range(10))
    assert picked(ShardedPhotographs(shards), range(6, 10)) == whole[12:]


def test_photographs_without_a_face_are_passed_over(tmp_path: Path):
    write_parquet(tmp_path / "shards", {3: {"landmarks": None}, 8: {"landmarks": None}})
    photographs = ShardedPhotographs(tmp_path / "shards", most_problems=0)
    seen = set(picked(photographs, range(3 * COUNT), count=1))
    assert seen == set(range(COUNT)) - {3, 8} and not photographs.unreadable.any()


def test_excluded_photographs_stay_out(tmp_path: Path):
    photographs = ShardedPhotographs(write_parquet(tmp_path / "shards"), exclude=r"[89]\.png$")
    assert set(picked(photographs, range(3 * COUNT), count=1)) == set(range(COUNT)) - {8, 9, 18, 19}


def test_a_first_look_says_where_faces_are(tmp_path: Path):
    looked: list[int] = []

    def box_of(images: list) -> torch.Tensor:
        reds = [image.getpixel((30, 20))[0] // 10 for image in images]
        looked.extend(reds)
        boxes = torch.tensor([[5.0, 6.0, 25.0, 36.0]]).repeat(len(images), 1)
        return torch.where(torch.tensor(reds)[:, None] % 2 == 0, boxes, torch.nan)

    photographs = ShardedPhotographs(write_parquet(tmp_path / "shards", landmarks=False), box_of=box_of)
    one = photographs.pick(0, 8, torch.Generator())
    assert (one.pixels[:, 0, 144, 144] // 10 % 2 == 0).all() and one.landmarks.isnan().all()
    torch.testing.assert_close(one.boxes[0] * SIZE[0], torch.tensor([5.0, 12.0, 25.0, 42.0]))
    assert len(looked) > 8


DAMAGED = {"image": {"bytes": encoded(0)[:60], "path": "cut.png"}}
ELSEWHERE = {"landmarks": [[900.0 + n, 20.0] for n in range(478)]}
SHARES = {"landmarks": (np.random.default_rng(0).uniform(0.2, 0.7, (478, 2))).tolist()}
OTHER = {"landmarks": points(0)[:68]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (DAMAGED, "cut.png is damaged or cut off"),
        (ELSEWHERE, "only 0 of the 478 landmarks of 4.png lie inside its 60x48 pixels"),
        (SHARES, "wanted pixels, not shares"),
        (OTHER, "have shape (68, 2), wanted MediaPipe's 468 or 478"),
    ],
)
def test_what_cannot_be_used_is_skipped_and_counted_until_it_is_too_much(
    tmp_path: Path, change: dict, sentence: str, caplog: pytest.LogCaptureFixture
):
    write_parquet(tmp_path / "shards", {4: change})
    photographs = ShardedPhotographs(tmp_path / "shards", most_problems=1)
    assert set(picked(photographs, range(3 * COUNT), count=1)) == set(range(COUNT)) - {4}
    assert photographs.unreadable.sum() == 1 and sentence in caplog.text
    with pytest.raises(TooManyProblemsError) as error:
        picked(ShardedPhotographs(tmp_path / "shards", most_problems=0), range(COUNT), count=1)
    assert sentence in str(error.value) and "1 photographs that cannot be used, more than 0" in str(error.value)


def test_workers_count_together(tmp_path: Path, processor: FaceGPTProcessor, face_model: MorphableModel):
    write_parquet(tmp_path / "shards", {4: DAMAGED, 13: ELSEWHERE})
    photographs = ShardedPhotographs(tmp_path / "shards")
    engine = DataEngine(face_model, 112)
    collator = FaceCollator(processor, engine, photographs, photograph_share=1.0, draw_size=4)
    rows = [{"picture": number} for number in range(8 * COUNT)]
    loader = DataLoader(rows, batch_size=4, num_workers=2, collate_fn=collator)  # pyright: ignore[reportArgumentType]
    batches = [batch["pixel_values"] for batch in loader]
    assert photographs.unreadable.nonzero()[:, 0].tolist() == [4, 13]
    alone = [collator(rows[start : start + 4])["pixel_values"] for start in range(0, 8 * COUNT, 4)]
    assert all(torch.equal(one, two) for one, two in zip(batches, alone, strict=True))


def test_no_face_anywhere_ends_in_one_sentence(tmp_path: Path):
    write_parquet(tmp_path / "shards", {number: {"landmarks": None} for number in range(COUNT)})
    with pytest.raises(ValueError, match="one after the other in which no face is known"):
        ShardedPhotographs(tmp_path / "shards").pick(0, 1, torch.Generator())


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photographs = ShardedPhotographs(write_parquet(tmp_path / "shards"))
    picked(photographs, range(COUNT))
    assert len(photographs.cache.tables) == SHARDS * 3  # all of it, as it is small
    size = max(table.nbytes for table in photographs.cache.tables.values())
    monkeypatch.setattr(shard_files, "CACHE_BYTES", 2 * size)
    picked(photographs, range(COUNT))
    assert sum(table.nbytes for table in photographs.cache.tables.values()) <= 2 * size
    monkeypatch.setattr(shard_files, "LARGEST_BLOCK", 100)
    with pytest.raises(ValueError, match="write groups of at most"):
        ShardedPhotographs(tmp_path / "shards")


@pytest.mark.parametrize(
    ("column", "landmarks", "sentence"),
    [
        ("photo", True, "without a column 'photo'; it has image, landmarks: name the one of the images"),
        ("image", False, "without a column 'landmarks'; it has image: add it"),
        ("landmarks", True, "whose column 'landmarks' holds list"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, column: str, landmarks: bool, sentence: str):
    with pytest.raises(ValueError) as error:
        ShardedPhotographs(write_parquet(tmp_path / "shards", landmarks=landmarks), column=column)
    assert sentence in str(error.value)


def test_files_that_are_no_shards_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no .parquet and no .tar"):
        ShardedPhotographs(tmp_path)
    (tmp_path / "0.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged or no tar file"):
        ShardedPhotographs(tmp_path)
    (tmp_path / "0.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match="damaged or no Parquet file"):
        ShardedPhotographs(tmp_path)


def test_plain_bytes_are_images_too(tmp_path: Path):
    table = pa.table({"photo": [encoded(7)], "landmarks": [points(7)], "id": ["seven"]})
    pq.write_table(table, tmp_path / "0.parquet")
    one = ShardedPhotographs(tmp_path, column="photo").pick(0, 1, torch.Generator())
    assert one.names == ["seven"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_on_shards_trains_or_says_in_one_sentence_why_not(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, capsys, workers: int
):
    facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    write_parquet(tmp_path / "shards", {number: DAMAGED for number in range(0, COUNT, 3)})
    recipe = tmp_path / "recipe.yaml"
    settings = f"""
model: {tmp_path}/start
output_dir: {tmp_path}/run
photographs: {tmp_path}/shards
photograph_share: 1.0
most_photograph_problems: 2
pictures: 16
per_device_train_batch_size: 4
num_train_epochs: 1
dataloader_num_workers: {workers}
use_cpu: true
disable_tqdm: true
save_strategy: 'no'
report_to: none
"""
    recipe.write_text(settings)
    assert main(["--config", str(recipe)]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "3 photographs that cannot be used, more than 2: cut.png is damaged" in message
    assert "Traceback" not in message and "Error" not in message
    recipe.write_text(settings.replace("most_photograph_problems: 2", "most_photograph_problems: 8"))
    assert main(["--config", str(recipe)]) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()
