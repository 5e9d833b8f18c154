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
"""Thousands of damaged result files: what is read back makes sense, all else is refused in one sentence."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import LostError, mutate, try_each
from reconstructions import make_reconstruction

from modeling_facegpt.face_parameters import parameters_to_vector
from modeling_facegpt.files.export import encode_document, encode_mesh
from modeling_facegpt.files.result_document import describe_reconstruction
from modeling_facegpt.files.result_reader import FaceFileError, read_result

DAMAGED, MISSAID = 1100, 1100
SECONDS = 20
HOSTILE = [
    *("Infinity", "-Infinity", "NaN", "1e400", "-1e400", "1e-400", "1e38", "-0.0", "0", "-1", "1" + "0" * 400),
    *("null", "true", '""', '"left"', '"\\ud800"', "[]", "{}", "[[]]", "[1, [2]]", "[" * 400 + "]" * 400),
    *("9223372036854775808", "1.5", '{"a": 1}', '"' + "x" * 100_000 + '"'),
]


@pytest.fixture
def results(face_model, face_parameters) -> list[tuple[str, bytes]]:
    """Result files of one face, of three, and of words."""
    found = [make_reconstruction(face_parameters, faces=faces) for faces in (1, 3)]
    found.append(found[0]._replace(standard_deviation=None))
    documents = [describe_reconstruction(face_model, one, photo=None, model="tiny") for one in found]
    meshes = [encode_mesh(face_model, one, ".glb") for one in found[:2]]
    return [(".json", encode_document(document)) for document in documents] + [(".glb", mesh) for mesh in meshes]


def check(path: Path, face_model) -> None:
    """Read a file; what was read can be written again."""
    try:
        found = read_result(path, face_model)
    except FaceFileError as error:
        if path.name not in str(error):
            raise LostError(f"the message does not name the file: {error}") from error
        raise
    finally:
        path.unlink()
    numbers = [parameters_to_vector(found.parameters), found.camera.focal, found.camera.principal_point]
    if not all(values.isfinite().all() for values in (*numbers, found.probability)):
        raise LostError("numbers that are not finite were read")
    if min(found.size) < 1 or not (found.camera.focal > 0).all():
        raise LostError(f"size {found.size}, focal lengths {found.camera.focal.tolist()} were read")
    with torch.no_grad():
        encode_document(describe_reconstruction(face_model, found, photo=None, model="tiny"))
        encode_mesh(face_model, found, ".glb")


def test_damaged_result_files_are_read_or_refused(results, face_model, tmp_path: Path):
    def attempt(number: int) -> None:
        chance = random.Random(number)
        suffix, content = results[number % len(results)]
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(mutate(content, chance))
        check(path, face_model)

    counts = try_each(range(DAMAGED), attempt, seconds=SECONDS, refusals=(FaceFileError,))
    counts.settle("damaged result files")


def test_result_files_that_say_nonsense_are_refused(results, face_model, tmp_path: Path):
    """Well-formed files in which one value is another."""

    def attempt(number: int) -> None:
        chance = random.Random(number)
        suffix, content = results[number % len(results)]
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(missay(content, chance) if suffix == ".json" else missay_mesh(content, chance))
        check(path, face_model)

    counts = try_each(range(MISSAID), attempt, seconds=SECONDS, refusals=(FaceFileError,))
    counts.settle("result files that say nonsense")
    assert counts.refused > 0.1 * counts.tried


def missay(content: bytes, chance: random.Random) -> bytes:
    """The document with one value, at any depth, replaced by a hostile one."""
    mark = "here it comes"
    replaced = replace_somewhere(json.loads(content), mark, chance)
    return json.dumps(replaced).replace(f'"{mark}"', chance.choice(HOSTILE)).encode()


def missay_mesh(content: bytes, chance: random.Random) -> bytes:
    magic, version, _, length, kind = struct.unpack_from("<4sIII4s", content)
    nodes = json.loads(content[20 : 20 + length])["nodes"]
    text = missay(json.dumps({"nodes": nodes}).encode(), chance)
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIII4s", magic, version, 20 + len(text), len(text), kind) + text


def replace_somewhere(value: Any, mark: str, chance: random.Random) -> Any:
    inside = isinstance(value, dict | list) and value and chance.random() < 0.9
    if not inside:
        return mark
    if isinstance(value, dict):
        key = chance.choice(list(value))
        return {**value, key: replace_somewhere(value[key], mark, chance)}
    at = chance.randrange(len(value))
    return [*value[:at], replace_somewhere(value[at], mark, chance), *value[at + 1 :]]
