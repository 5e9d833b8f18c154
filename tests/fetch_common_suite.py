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
"""Fetches transformers' own tests of every model and processor from its source release, into `.cache/`.

`python tests/fetch_common_suite.py` unpacks the release that is installed, once; `tests/common_suite.py` then runs
it on FaceGPT. What the release leaves out is replaced: the picture that it takes from the Hub by one drawn here, and
the tests of exporters and of generation by nothing. What transformers promises of `generate` is in
`tests/test_generation_contracts.py`. Nothing of the release is kept in this repository.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

import transformers
from PIL import Image

CACHE = Path(__file__).parents[1] / ".cache" / "common_suite"
STAND_INS = {
    "tests/__init__.py": "",
    "tests/exporters/__init__.py": "",
    "tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "tests/generation/__init__.py": "",
    "tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "tests/utils/__init__.py": "",
    "tests/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "fetch_hub_objects_for_ci.py": """
from pathlib import Path

def url_to_local_path(url, *arguments, **settings):
    return str(Path(__file__).with_name("picture.png")) if url.endswith((".png", ".jpg")) else url
""",
}


def suite_directory() -> Path:
    """Where the suite of the installed release is, or would be."""
    return CACHE / transformers.__version__


def fetch() -> Path:
    """Download and unpack the suite, unless it is there already."""
    directory = suite_directory()
    if not directory.is_dir():
        _unpack(directory)
    for file, text in STAND_INS.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(directory / "picture.png")
    return directory


def _unpack(directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", f"transformers=={transformers.__version__}"]
    command += ["--no-binary", "transformers", "--no-deps", "--quiet", "--dest", str(CACHE)]
    subprocess.run(command, check=True)
    name = f"transformers-{transformers.__version__}"
    partial = CACHE / f"{name}.partial"
    with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
        members = [member for member in archive if member.name.startswith(f"{name}/tests/")]
        archive.extractall(partial, members, filter="data")
    (partial / name).rename(directory)
    partial.rmdir()


if __name__ == "__main__":
    print(fetch())
