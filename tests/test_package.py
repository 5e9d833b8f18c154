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
"""The package: what the wheel carries, what importing it costs, and the rules that let its files travel."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from facegpt_hub.publish_code import travelling_files
from transformers.dynamic_module_utils import get_imports

REPOSITORY = Path(__file__).parents[1]
MODEL_FILES = sorted((REPOSITORY / "modeling_facegpt").glob("*.py"))
LIBRARY_FILES = [
    *MODEL_FILES,
    *(REPOSITORY / "trainer").rglob("*.py"),
    *(REPOSITORY / "hub/facegpt_hub").rglob("*.py"),
]
TRAVEL_WITH = {"torch", "transformers", "numpy", "PIL", "huggingface_hub", "kornia", "safetensors"}
NOT_AT_IMPORT = ("trl", "datasets", "peft", "gradio", "typer", "diffusers", "trimesh", "anny")


def test_importing_the_model_loads_no_optional_library():
    code = f"import sys, modeling_facegpt; print([name for name in {NOT_AT_IMPORT} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "ERROR" not in done.stderr, done.stderr


@pytest.mark.parametrize("file", travelling_files(), ids=lambda file: file.stem)
def test_travelling_modules_need_no_other_package(file: Path):
    outside = {name for name in get_imports(file) if name not in sys.stdlib_module_names}
    assert outside <= TRAVEL_WITH


@pytest.mark.parametrize("file", MODEL_FILES, ids=lambda file: file.stem)
def test_relative_imports_name_one_flat_module(file: Path):
    imports = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.level
    ]
    for node in imports:
        assert node.level == 1 and node.module is not None and "." not in node.module, ast.unparse(node)


@pytest.mark.parametrize("file", LIBRARY_FILES, ids=lambda file: file.stem)
def test_library_files_carry_the_licence_and_no_assert(file: Path):
    text = file.read_text()
    assert text.startswith("# Copyright 2026 The FaceGPT developers.")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def test_wheel_carries_packages_and_checkpoints(tmp_path: Path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for file in LIBRARY_FILES:
        parts = file.relative_to(REPOSITORY).parts
        assert "/".join(parts if parts[0] == "modeling_facegpt" else parts[1:]) in names
    assert {"modeling_facegpt/py.typed", "facegpt_hub/checkpoints/anny-head/model.safetensors"} <= names
    assert "facegpt_hub/checkpoints/facegpt-nano/modeling_facegpt.py" in names
    assert not any(name.startswith(("tests/", "examples/", "hub/", "trainer/")) for name in names)
