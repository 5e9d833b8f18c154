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
"""README and docs tell the truth: their Python runs, their commands and options exist, their links lead somewhere."""

import importlib.util
import os
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import TINY_TEXT, TINY_VISION
from facegpt_hub.command_line import app
from facegpt_trainer.nano import build_nano_vlm
from facegpt_trainer.recipe_reader import read_recipe
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from PIL import Image
from skimage import data
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:facegpt|make|python -m|accelerate launch) [^`\n]+)`")
LINK = re.compile(r"\]\(((?!https?:|#)[^)]+)\)")
VLM = re.compile(r'"llava-hf/[\w.-]+"')  # of a vision-language model that a small one of its family can stand for
HUB_NAME = re.compile(r'"[\w.-]+/[\w.-]+"')
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ELSEWHERE = {"git", "pre-commit"}  # programs that are not this project's
RUN = ("reconstruct", "generate")  # of the README's commands, those that nobody has to talk with


class Block(NamedTuple):
    page: str
    language: str
    text: str


BLOCKS = [Block(page.name, *found) for page in PAGES for found in BLOCK.findall(page.read_text())]


def commands() -> Iterator[tuple[str, str]]:
    """Page and command line, of blocks and of what stands between words."""
    for block in BLOCKS:
        if block.language == "bash":
            yield from ((block.page, line) for line in block.text.splitlines() if line.strip())
    for page in PAGES:
        yield from ((page.name, line) for line in INLINE.findall(BLOCK.sub("", page.read_text())))


def arguments(line: str) -> list[str]:
    return shlex.split(line, comments=True)


COMMANDS = [(page, line) for page, line in dict.fromkeys(commands()) if arguments(line)]
README_RUNS = [
    line
    for page, line in COMMANDS
    if page == "README.md" and tuple(arguments(line)[:1]) == ("facegpt",)
    if arguments(line)[1] in RUN
]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the files that the pages name."""
    astronaut = Image.fromarray(data.astronaut())
    astronaut.save(tmp_path / "photo.jpg")
    pair = Image.new("RGB", (2 * astronaut.width, astronaut.height))
    pair.paste(astronaut)
    pair.paste(astronaut, (astronaut.width, 0))
    pair.save(tmp_path / "group.jpg")
    (tmp_path / "photos").mkdir()
    astronaut.save(tmp_path / "photos" / "astronaut.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_have_what_is_tested_here():
    assert {block.language for block in BLOCKS if block.page == "README.md"} >= {"python", "bash"}
    assert len(README_RUNS) >= 4 and len(COMMANDS) >= 25


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: block.page
)
def test_python_runs(block: Block, workplace: Path):
    text = block.text
    if VLM.search(text):
        model, processor = build_nano_vlm(0, vision=TINY_VISION, text=TINY_TEXT)
        model.save_pretrained(workplace / "vlm")
        processor.save_pretrained(workplace / "vlm")
        text = VLM.sub('"vlm"', text)
    code = compile(text, block.page, "exec")
    if HUB_NAME.search(text):  # of the Hub, which is not here: `compile` has parsed it
        return
    names: dict[str, Any] = {}
    exec(code, names)
    if "faces" in names:
        found = len(names["faces"].probability)
        assert found >= 1
        assert names["mesh"].vertices.shape == (found, names["model"].face_model.config.num_vertices, 3)
        assert 0.1 < float(names["mesh"].vertices[0].std(0).sum()) < 0.3  # metres
        assert len(names["four"].identity) == 4
    else:
        assert names["model"].config.face_token_id == names["processor"].face_token_id


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.page
)
def test_recipes_are_read(block: Block, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(block.text + f"\noutput_dir: {tmp_path / 'run'}\n")
    assert read_recipe(recipe, FaceGPTTrainingConfig, []).output_dir == str(tmp_path / "run")


@pytest.mark.parametrize("line", README_RUNS)
def test_commands_do_what_stands_beside_them(line: str, workplace: Path):
    given = arguments(line)
    result = CliRunner().invoke(app, given[1:])
    assert result.exit_code == 0, result.output
    output = workplace / given[given.index("-o") + 1]
    assert output.is_file() or any(output.iterdir())
    told = line.partition("#")[2]
    for name in re.findall(r"\w+\.(?:json|png|glb)", told):
        assert (workplace / name).is_file(), name
    if "-n" in given:
        count = int(given[given.index("-n") + 1])
        assert len(list(output.glob("*.glb"))) == count


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_and_their_options_exist(page: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    program, *rest = arguments(line.removesuffix("…").strip())
    if program == "facegpt":
        check_facegpt(rest)
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS
    elif program == "pip":
        wanted = set(re.findall(r"\.\[([\w,]+)\]", line))
        assert rest[0] == "install" and {name for names in wanted for name in names.split(",")} <= EXTRAS.keys()
    elif program in ("python", "accelerate"):
        check_module(program, rest, monkeypatch, capsys)
    else:
        assert program in ELSEWHERE


def check_facegpt(words: list[str]) -> None:
    command: Any = get_command(app)
    path = []
    while isinstance(command, TyperGroup) and words and words[0] in command.commands:
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    assert not isinstance(command, TyperGroup) or not words or words[0].startswith("-"), words
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in words if word.startswith("-")} - known - {"--help", "-h"}
    assert all(option in shown.output for option in unknown), unknown


def check_module(program: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    before, _, after = " ".join(words).partition("-m ")
    module, *given = after.split()
    assert importlib.util.find_spec(module) is not None
    if "--config_file" in before:
        assert (REPOSITORY / words[words.index("--config_file") + 1]).is_file()
    options = {word.partition("=")[0] for word in given if word.startswith("--")} - {"--help"}
    if not options and "--help" not in given:
        return
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.setitem(os.environ, "COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert not ended.value.code
    assert options <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path):
    linked = {target.partition("#")[0] for target in LINK.findall(page.read_text())}
    assert not [target for target in linked if not (page.parent / target).exists()]
