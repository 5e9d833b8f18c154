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
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import facegpt
import pytest
from facegpt_hub.publish_code import travelling_files
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from transformers.dynamic_module_utils import get_imports

from modeling_facegpt import backends, kernels

REPOSITORY = Path(__file__).parents[1]
MODEL_FILES = sorted((REPOSITORY / "modeling_facegpt").glob("*.py"))
LIBRARY_FILES = [
    *(REPOSITORY / "modeling_facegpt").rglob("*.py"),
    *(REPOSITORY / "trainer").rglob("*.py"),
    *(REPOSITORY / "hub/facegpt_hub").rglob("*.py"),
    *(REPOSITORY / "hub/facegpt").rglob("*.py"),
]
PACKAGES = ("modeling_facegpt", "facegpt_trainer", "facegpt_hub", "facegpt")
TRAVEL_WITH = {"torch", "transformers", "numpy", "PIL", "huggingface_hub", "safetensors"}
NOT_AT_IMPORT = ("trl", "datasets", "peft", "gradio", "typer", "diffusers", "trimesh", "anny", "kornia", "numba")
# What torch brings where it can be used, and what people choose themselves to follow a training with.
NOT_OURS_TO_INSTALL = {"triton", "wandb", "trackio"}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


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
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "facegpt_hub/checkpoints/anny-head/model.safetensors" in names
    assert "facegpt_hub/checkpoints/facegpt-nano/modeling_facegpt.py" in names
    assert not any(name.startswith(("tests/", "examples/", "hub/", "trainer/")) for name in names)


def test_the_kernels_and_what_calls_them_tell_the_release():
    """Else remote code of one release would call the kernels of another."""
    assert backends.RELEASE == kernels.RELEASE == PROJECT["version"]


def imported(*folders: str) -> set[str]:
    """The distributions that the files of folders import, anywhere in them, but for our own and Python's."""
    modules = set()
    for file in (file for folder in folders for file in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.split(".")[0])
    modules -= {*sys.stdlib_module_names, *PACKAGES, *NOT_OURS_TO_INSTALL}
    known = packages_distributions()
    return {str(canonicalize_name(known.get(module, [module])[0])) for module in modules}


def declared(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(text).name)) for text in requirements} - {"facegpt"}


def test_what_is_declared_is_what_is_imported():
    base = declared(PROJECT["dependencies"])
    optional = {"diffusers"}.union(*(declared(EXTRAS[name]) for name in ("fast", "convert", "heif")))
    assert imported("modeling_facegpt", "hub") - optional == base
    # TensorBoard is what a training writes for, and transformers reads GGUF files by gguf.
    assert imported("trainer") - base | {"diffusers"} == declared(EXTRAS["train"]) - {"tensorboard", "gguf"}
    assert imported("modeling_facegpt/anny") - base == declared(EXTRAS["convert"])
    assert imported("modeling_facegpt") & declared(EXTRAS["fast"]) == declared(EXTRAS["fast"])


@pytest.mark.parametrize(
    "text", [*PROJECT["dependencies"], *(text for name, extra in EXTRAS.items() if name != "test" for text in extra)]
)
def test_every_dependency_ends_below_what_was_not_tested(text: str):
    requirement = Requirement(text)
    assert requirement.name == "facegpt" or {part.operator for part in requirement.specifier} == {">=", "<"}


def test_one_import_gives_everything():
    """Each public name, and nothing heavy before one is asked for."""
    code = "import sys, facegpt; print([name for name in ('torch', 'transformers', 'PIL') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for name in facegpt.__all__:
        assert callable(getattr(facegpt, name)) and name in dir(facegpt)
    assert facegpt.FaceGPTProcessor.__module__ == "modeling_facegpt.processing_facegpt"
    with pytest.raises(AttributeError, match="'facegpt' has no attribute 'lode'"):
        _ = facegpt.lode  # pyright: ignore[reportAttributeAccessIssue]


def test_it_loads_the_default_checkpoint_and_runs_as_a_module():
    model, processor = facegpt.load()
    assert not model.training and processor.face_token_id == model.config.face_token_id
    command = [sys.executable, "-m", "facegpt", "--version"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == facegpt.__version__
