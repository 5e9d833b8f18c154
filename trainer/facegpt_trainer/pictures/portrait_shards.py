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
"""Drawn portraits in Parquet shards: drawn once, trained on often.

A row is one picture with all that is known of it. A shard is a pure function of the 3DMM, the settings and its number,
so that drawing goes on where it stopped, and two runs write the same. The bytes of a page are guarded by a checksum.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from modeling_facegpt.morphable_model import MorphableModel

from .data_engine import DataEngine, PortraitBatch
from .photograph_stream import TooManyProblemsError

DRAWN_AT_ONCE = 32  # pictures
FACTS = b"facegpt_portraits"  # key of the shard's facts in the file's metadata
LAYOUT = 1  # of the columns
# What labels mean depends on these buffers of the 3DMM.
DEFINING_BUFFERS = (
    "template",
    "identity_basis",
    "expression_basis",
    "landmarks_468_triangles",
    "landmarks_468_barycentrics",
)

logger = logging.getLogger(__name__)


class PortraitSet(NamedTuple):
    """What the shards of one folder have in common."""

    people: int  # in each shard
    each: int  # pictures of a person
    side: int  # pixels
    seed: int
    quality: int  # of JPEG, 1 to 95


class Portraits(NamedTuple):
    """M portraits as they are stored; `each` of a person follow each other."""

    jpeg: list[bytes]
    person: Tensor  # (M,) number of the person within the shard
    picture_cameras: Tensor  # (M, 3) in picture sides
    face_targets: Tensor  # (M, P) true parameters
    landmarks: Tensor  # (M, 468, 2) in pixels
    landmarks_seen: Tensor  # (M, 468) bool
    frame: Tensor  # (M, 4) position x, y and size of the head in picture sides, lean in radians


def fingerprint(face_model: MorphableModel) -> str:
    """A short name of what a 3DMM's coefficients and landmarks mean; another one means another."""
    digest = hashlib.sha256()
    for name in DEFINING_BUFFERS:
        digest.update(face_model.get_buffer(name).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def shard_path(folder: Path, number: int) -> Path:
    """Where the shard of that number is."""
    return folder / f"portraits-{number:06d}.parquet"


def draw_shards(face_model: MorphableModel, folder: Path, plan: PortraitSet, count: int) -> Iterator[Path]:
    """Write the shards 0 to `count` - 1 that are not there yet, and give the path of each when it is whole.

    Raises:
        ValueError: if the folder holds shards of other settings or another 3DMM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = _facts(face_model, plan)
    for path in sorted(folder.glob("portraits-*.parquet")):
        _check_facts(path, facts)
    engine = DataEngine(face_model, plan.side, plan.seed)
    for number in range(count):
        path = shard_path(folder, number)
        if not path.exists():
            _write_shard(path, _draw_shard(engine, plan, number), facts)
            yield path


def find_shards(folder: Path, face_model: MorphableModel, most_damaged: int) -> tuple[list[Path], PortraitSet]:
    """The whole shards of a folder, in order; damaged ones are named in a warning and left out.

    Raises:
        ValueError: if there are none, or they are of another 3DMM.
        TooManyProblemsError: if more than `most_damaged` are damaged.
    """
    whole, damaged, plan = [], [], None
    for path in sorted(Path(folder).glob("portraits-*.parquet")):
        try:
            facts = _read_facts(path)
        except ValueError as error:
            logger.warning("%s: left out", error)
            damaged.append(path.name)
            continue
        if facts["face_model"] != fingerprint(face_model):
            raise ValueError(
                f"got {path}, drawn with another 3DMM ({facts['face_model']}, wanted {fingerprint(face_model)}); "
                "draw portraits anew, into another folder"
            )
        plan = PortraitSet(**{name: facts[name] for name in PortraitSet._fields})
        whole.append(path)
    if len(damaged) > most_damaged:
        raise TooManyProblemsError(
            f"got {len(damaged)} damaged shards in {folder} ({', '.join(damaged[:5])}), of which {most_damaged} may "
            "be; delete them and draw again: only they are drawn"
        )
    if plan is None:
        raise ValueError(f"got {folder}, in which there are no whole shards of portraits; draw some first")
    return whole, plan


def read_shard(path: Path) -> Portraits:
    """All portraits of a shard.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        side = _read_facts(path)["side"]
        return Portraits(
            jpeg=[row.as_py() for row in table["image"].combine_chunks().field("bytes")],
            person=torch.from_numpy(table["person"].to_numpy().copy()),
            picture_cameras=_column(table, "picture_cameras"),
            face_targets=_column(table, "face_targets"),
            landmarks=_column(table, "landmarks").unflatten(-1, (-1, 2)) * side,
            landmarks_seen=_column(table, "landmarks_seen").bool(),
            frame=_column(table, "frame"),
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path) from error


def join_portraits(parts: list[Portraits]) -> Portraits:
    """Several shards as one, their people numbered on."""
    counts = [0, *(int(part.person.max()) + 1 for part in parts)]
    offsets = torch.tensor(counts).cumsum(0).tolist()
    return Portraits(
        jpeg=[picture for part in parts for picture in part.jpeg],
        person=torch.cat([part.person + offset for part, offset in zip(parts, offsets, strict=False)]),
        picture_cameras=torch.cat([part.picture_cameras for part in parts]),
        face_targets=torch.cat([part.face_targets for part in parts]),
        landmarks=torch.cat([part.landmarks for part in parts]),
        landmarks_seen=torch.cat([part.landmarks_seen for part in parts]),
        frame=torch.cat([part.frame for part in parts]),
    )


def decode_pictures(jpeg: list[bytes]) -> Tensor:
    """Pictures `(M, 3, S, S)` uint8.

    Raises:
        ValueError: if one of them is no picture.
    """
    try:
        pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in jpeg]
    except OSError as error:
        raise ValueError(f"got a picture in a shard of portraits that cannot be decoded ({error})") from error
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def _facts(face_model: MorphableModel, plan: PortraitSet) -> dict[str, Any]:
    return {"layout": LAYOUT, "face_model": fingerprint(face_model), **plan._asdict()}


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error
    if FACTS not in metadata:
        raise ValueError(f"got {path}, which is no shard of portraits")
    return json.loads(metadata[FACTS])


def _check_facts(path: Path, wanted: dict[str, Any]) -> None:
    found = _read_facts(path)
    if different := [name for name in wanted if found.get(name) != wanted[name]]:
        name = different[0]
        raise ValueError(
            f"got {path} of {name} {found.get(name)!r}, wanted {wanted[name]!r}; name another folder, or delete the "
            "shards in this one"
        )


def _damaged(path: Path) -> ValueError:
    return ValueError(f"got {path}, which is damaged or no Parquet file; delete it and draw again")


def _draw_shard(engine: DataEngine, plan: PortraitSet, number: int) -> list[PortraitBatch]:
    """A shard in small batches, which a processor's cache holds better than large ones."""
    generator = engine.generator(number)
    at_once = max(DRAWN_AT_ONCE // plan.each, 1)
    sizes = [min(at_once, plan.people - start) for start in range(0, plan.people, at_once)]
    starts = np.cumsum([0, *sizes])
    return [
        batch._replace(person=batch.person + int(start))
        for start, batch in zip(starts, (engine.portraits(generator, size, plan.each) for size in sizes), strict=False)
    ]


def _write_shard(path: Path, batches: list[PortraitBatch], facts: dict[str, Any]) -> None:
    """All or nothing: a file under another name becomes the shard when it is whole."""
    whole = PortraitBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    jpeg = [{"bytes": data, "path": None} for data in _encode(whole.pictures, facts["quality"])]
    columns = {
        "image": pa.array(jpeg, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "person": pa.array(whole.person.numpy()),
        "picture_cameras": _lists(whole.picture_cameras),
        "face_targets": _lists(whole.face_targets),
        "landmarks": _lists(whole.landmarks.flatten(1)),
        "landmarks_seen": _lists(whole.landmarks_seen.to(torch.uint8)),
        "frame": _lists(whole.frame),
    }
    table = pa.table(columns).replace_schema_metadata({FACTS: json.dumps(facts)})
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        pq.write_table(table, unfinished, compression="zstd", use_dictionary=False, write_page_checksum=True)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(pictures: Tensor, quality: int) -> Iterator[bytes]:
    pixels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    for picture in pixels:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        yield buffer.getvalue()


def _lists(values: Tensor) -> pa.Array:
    """Rows `(M, K)` as lists of a fixed size."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.flatten().numpy()), values.shape[1])


def _column(table: pa.Table, name: str) -> Tensor:
    column = table[name].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.reshape(len(column), -1).copy())
