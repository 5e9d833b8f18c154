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
"""A chat about a photo as a row of pictures: the photo's face, then the face after each turn of the person.

python examples/chat_sheet.py photo.jpg "make her laugh" "turn her head to the left" "undo" -o chat.png
"""

import argparse
from pathlib import Path

import facegpt

from modeling_facegpt.files.result_sheet import lay_out
from modeling_facegpt.files.visualization import draw_in_studio

SIDE, TURN = 320, 0.35  # pixels of each picture, and radians by which heads are turned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("turns", nargs="+", help="What the person types, turn by turn.")
    parser.add_argument("-o", "--output", type=Path, default=Path("chat.png"))
    arguments = parser.parse_args()
    model, processor = facegpt.load()
    photo = facegpt.read_photograph(arguments.photo).image
    chat = facegpt.ChatSession(model, processor, photograph=photo, seed=0)
    if chat.faces is None or len(chat.faces.probability) != 1:
        raise SystemExit(f"chat_sheet: found no single face in {arguments.photo}; give a portrait of one person")
    shown = photo.copy()
    shown.thumbnail((SIDE, SIDE))
    pictures = [shown, draw_in_studio(model.face_model, chat.faces.parameters, SIDE, yaw=TURN)]
    captions = ["photo", "its face"]
    for turn in arguments.turns:
        answer = chat.say(turn)
        print(f"> {turn}\n{answer.text}")
        if answer.faces is not None and len(answer.faces.probability):
            pictures.append(draw_in_studio(model.face_model, answer.faces.parameters, SIDE, yaw=TURN))
            captions.append(f"> {turn}")
    lay_out(pictures, captions).save(arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
