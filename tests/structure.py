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
"""`python -m tests.structure`: how hard the code is to enter, in figures.

Each line of the table is counted anew from the checkout: modules of each flat level, names, comments, the words of the
README, and the files that one photo crosses on its way from the command to a face and from a hidden state to a loss.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("modeling_facegpt", "trainer/facegpt_trainer", "hub/facegpt_hub")
CODE_COPY = "facegpt-nano"
VAGUE_WORDS = {"say, says, said": r"\b(says?|said)\b", "look, looks, looked": r"\b(looks?|looked|looking)\b"}


class Figure(NamedTuple):
    """A line of the table."""

    name: str
    value: str


def source_files() -> list[Path]:
    """The Python files of the three packages."""
    return sorted(file for package in PACKAGES for file in (REPOSITORY / package).rglob("*.py"))


def modules_per_level() -> list[Figure]:
    """How many modules lie side by side in each folder; the package's own `__init__` not counted."""
    levels = Counter(file.parent for file in source_files() if file.name != "__init__.py")
    return [Figure(f"modules in {folder.relative_to(REPOSITORY)}", str(count)) for folder, count in levels.items()]


def travelling_modules() -> int:
    """How many modules are saved beside a checkpoint as remote code."""
    return len(list((REPOSITORY / "hub" / CODE_COPY).glob("*.py")))


def module_constants() -> int:
    """Names in capitals that modules assign at top level."""
    return sum(
        1 for file in source_files() for name in _top_level_names(file) if re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name)
    )


def doubled_names() -> list[str]:
    """Public top-level names that two or more modules define."""
    homes = defaultdict(set)
    for file in source_files():
        for name in _top_level_names(file):
            if not name.startswith("_") and name not in ("logger", "main", "app"):
                homes[name].add(file)
    return sorted(name for name, files in homes.items() if len(files) > 1)


def _top_level_names(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def readme_words() -> int:
    """Words of the README; code blocks do not count."""
    text = re.sub(r"```.*?```", "", (REPOSITORY / "README.md").read_text(), flags=re.S)
    return len(text.split())


def comments_per_hundred_lines() -> float:
    """Comment lines for every 100 lines of code; the licence header does not count."""
    comments = code = 0
    for file in source_files():
        lines = file.read_text().splitlines()
        header = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
        body = "\n".join(lines[header:]) + "\n"
        comments += sum(
            1 for token in tokenize.generate_tokens(io.StringIO(body).readline) if token.type == tokenize.COMMENT
        )
        code += sum(1 for line in lines[header:] if line.strip() and not line.strip().startswith("#"))
    return 100 * comments / code


def prose() -> str:
    """Docstrings, comments, README, changelog and documentation."""
    parts = [
        file.read_text() for file in sorted(REPOSITORY.glob("*.md")) + sorted((REPOSITORY / "docs").rglob("*.md"))
    ]
    for file in source_files():
        tree = ast.parse(file.read_text())
        owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        parts += [ast.get_docstring(owner) or "" for owner in owners]
        parts += re.findall(r"#.*", file.read_text())
    return "\n".join(parts)


def vague_words() -> list[Figure]:
    """How often words stand that mean too many things."""
    text = prose()
    total = len(text.split())
    return [
        Figure(f'"{name}" per 1,000 words of prose', f"{1000 * len(re.findall(pattern, text, re.I)) / total:.1f}")
        for name, pattern in VAGUE_WORDS.items()
    ]


@contextmanager
def files_entered() -> Iterator[set[str]]:
    """The project's files whose functions run inside the context."""
    entered: set[str] = set()

    def note(frame, event, argument):
        if event == "call" and str(REPOSITORY) in frame.f_code.co_filename:
            entered.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)
        entered.difference_update({__file__})


def photo_walk(image: Image.Image) -> tuple[int, int]:
    """Files of the project that the reconstruction of one photo crosses, and calls of the vision-language model."""
    from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

    checkpoint = REPOSITORY / "hub" / CODE_COPY
    model = FaceGPTForConditionalGeneration.from_pretrained(checkpoint).eval()
    processor = FaceGPTProcessor.from_pretrained(checkpoint)
    calls = []
    handle = model.vlm.register_forward_hook(lambda *_: calls.append(1))
    with files_entered() as entered, torch.no_grad():
        model.reconstruct([image], processor)
    handle.remove()
    return len(entered), len(calls)


def count_photo_walks() -> Iterator[Figure]:
    """The walk of a portrait and of a whole scene with one face (scikit-image's astronaut)."""
    from skimage import data

    scene = Image.fromarray(data.astronaut())
    for name, image in (("portrait", scene.crop((130, 0, 330, 220))), ("scene", scene)):
        files, calls = photo_walk(image)
        yield Figure(f"files that reconstructing a {name} crosses", str(files))
        yield Figure(f"calls of the vision-language model for a {name}", str(calls))


def figures() -> Iterable[Figure]:
    """The whole table."""
    yield from modules_per_level()
    yield Figure("modules that travel with a checkpoint", str(travelling_modules()))
    yield Figure("module constants", str(module_constants()))
    yield Figure("public names defined in two or more modules", str(len(doubled_names())))
    yield Figure("words of README.md without code", str(readme_words()))
    yield Figure("comments per 100 lines of code", f"{comments_per_hundred_lines():.1f}")
    yield from vague_words()
    yield from count_photo_walks()


def main() -> None:
    for figure in figures():
        print(f"{figure.name:64} {figure.value:>8}")
    print("names with two homes:", ", ".join(doubled_names()))


if __name__ == "__main__":
    main()
