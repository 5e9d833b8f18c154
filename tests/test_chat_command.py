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
"""`facegpt chat` as people meet it: scripted dialogues through a pipe, the files they leave, and what is refused."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from facegpt_hub import chat_command, checkpoints
from facegpt_hub.chat_command import ChatTerminal
from facegpt_hub.command_line import app
from PIL import Image
from reconstructions import make_reconstruction
from typer.testing import CliRunner

from modeling_facegpt import ChatSession
from modeling_facegpt.files.export import encode_mesh
from modeling_facegpt.files.result_reader import read_result
from modeling_facegpt.photograph import Photograph

FACES_ONLY = {"max_new_tokens": 2, "min_faces": 1}


@pytest.fixture
def run(monkeypatch, tmp_path, eager_facegpt, processor):
    """Run `facegpt chat` in an empty directory with a photograph, answered by a tiny model."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((64, 48), 80).convert("RGB").save("photo.png")
    eager_facegpt.generation_config.update(**FACES_ONLY)
    checkpoint = checkpoints.Checkpoint("tiny", eager_facegpt, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    initial = ChatSession.__init__

    def begin(self, *arguments, **settings):
        initial(self, *arguments, **{**settings, "max_new_tokens": 1, "min_faces": 1})

    monkeypatch.setattr(ChatSession, "__init__", begin)
    return lambda *arguments, lines="": CliRunner().invoke(app, ["chat", *map(str, arguments)], input=lines)


def test_a_scripted_dialogue(run, face_model):
    script = (
        "Show me the face.\n/show\n\nNow make her smile.\n/save her\n/undo\n/save before\n/help\n/quit\nnever read\n"
    )
    result = run("photo.png", lines=script)
    assert result.exit_code == 0, result.output
    assert "tiny was not trained on dialogue" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[:4] == ["looking at photo.png", "(face 1)", "  -> chat/turn-01.glb", "  -> chat/show-01.png"]
    assert "undone; 1 face" in lines and any("/photo PATH" in line for line in lines)
    assert "never read" not in result.output and "Traceback" not in result.output
    written = sorted(path.name for path in Path("chat").iterdir())
    stems = [f"{name}{end}" for name in ("before", "her") for end in (".glb", ".json", ".png")]
    assert written == [*stems, "show-01.png", "turn-01.glb", "turn-02.glb"]
    first, before = (read_result(f"chat/{name}.glb", face_model) for name in ("turn-01", "before"))
    changed = read_result("chat/turn-02.glb", face_model)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters, before.parameters, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(first.parameters, changed.parameters, strict=True))
    assert Image.open("chat/show-01.png").height > 256


def test_faces_of_the_photograph_are_there_before_anything_is_said(run, monkeypatch, chatty, processor):
    checkpoint = checkpoints.Checkpoint("tiny", chatty, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    [found] = chatty.reconstruct([Image.open("photo.png")], processor)
    count = len(found.probability)
    result = run("photo.png", "-m", "/save all")
    assert result.exit_code == 0, result.output
    told = f", and {found.left_out} more, which are left out" if found.left_out else ""
    assert result.stdout.splitlines()[0] == f"looking at photo.png: {count} face{'s' if count > 1 else ''}{told}"
    saved = read_result("chat/all.glb", chatty.face_model)
    assert torch.equal(saved.parameters.identity, found.parameters.identity)


def test_messages_are_said_without_a_terminal(run):
    result = run("-m", "A man who smiles.", "--message", "/show", "-o", "faces/new")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("faces/new").iterdir()) == ["show-01.png", "turn-01.glb"]


@pytest.mark.parametrize("word", ["quit", "exit", "Quit.", "/exit", "EXIT"])
def test_people_leave_by_the_words_that_they_know(run, word):
    result = run(lines=f"{word}\nA man who smiles.\n")
    assert result.exit_code == 0 and not Path("chat").exists()


def test_help_is_no_prompt(run):
    for word in ("help", "?", "/help"):
        result = run(lines=f"{word}\n")
        assert "/photo PATH" in result.stdout and not Path("chat").exists()


def test_faces_from_words_differ_from_chat_to_chat_unless_a_seed_is_given(
    run, monkeypatch, chatty, processor, face_model
):
    checkpoint = checkpoints.Checkpoint("tiny", chatty, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)

    def make(*arguments) -> tuple[torch.Tensor, str]:
        result = run("-m", "A man.", "-m", "A man.", "-o", f"chat-{len(list(Path().iterdir()))}", *arguments)
        path = next(part for part in result.stdout.split() if part.endswith(".glb"))
        return read_result(path, face_model).parameters.identity, result.stdout

    (one, told), (other, _) = make(), make()
    [seed] = re.findall(r"a chat with --seed (\d+) makes the same faces", told)
    assert not torch.equal(one, other) and torch.equal(make("--seed", seed)[0], one)


def test_chats_do_not_write_over_each_other(run):
    for _ in range(2):
        assert run("-m", "A man.").exit_code == 0
    assert sorted(path.name for path in Path("chat").iterdir()) == ["turn-01.glb", "turn-02.glb"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Look at <image>.", "control token"),
        ("word " * 10_000, "fewer words"),
        ("/undo", "nothing to undo"),
        ("/show", "no face yet"),
        ("/save", "write /save NAME"),
        ("/save ../her", "a plain one"),
        ("/photo", "write /photo PATH"),
        ("/photo missing.png", "does not exist"),
        ("/dance", "no command /dance"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_the_chat_goes_on(run, said, words):
    result = run("photo.png", lines=f"{said}\nShow me the face.\n")
    assert result.exit_code == 0 and "(face 1)" in result.stdout
    note, *refusals = result.stderr.splitlines()
    assert "tiny was not trained on dialogue" in note
    assert len(refusals) == 1 and refusals[0].startswith("facegpt: ") and words in refusals[0]
    alone = run("photo.png", "-m", said)
    assert alone.exit_code == 1 and words in alone.stderr


def interrupt_first_answer(monkeypatch):
    say, calls = ChatSession.say, []

    def interrupted(self, words, **settings):
        calls.append(words)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return say(self, words, **settings)

    monkeypatch.setattr(ChatSession, "say", interrupted)


def test_an_interrupted_answer_leaves_the_chat_where_it_was(run, monkeypatch):
    interrupt_first_answer(monkeypatch)
    monkeypatch.setattr(chat_command, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(chat_command, "read_lines", lambda: iter(["Show me the face.", "Show me the face."]))
    result = run("photo.png")
    assert result.exit_code == 0 and "stopped; the chat is where it was" in result.stderr
    assert "turn-01.glb" in result.stdout


def test_a_script_that_is_interrupted_stops(run, monkeypatch):
    interrupt_first_answer(monkeypatch)
    result = run("photo.png", lines="Show me the face.\nShow me the face.\n")
    assert result.exit_code == 130 and result.stderr.endswith("stopped; this chat has written nothing\n")


def test_another_photograph(run):
    Image.new("RGB", (30, 40)).save("other.png")
    result = run(
        "photo.png",
        lines="Show me the face.\n/photo other.png\n/show\nShow me the face.\n/show\n/undo\n/undo\n/show\n",
    )
    assert "looking at other.png" in result.stdout and "no face yet" in result.stderr
    assert sorted(path.name for path in Path("chat").glob("show*")) == ["show-01.png", "show-02.png"]


def test_faces_of_a_file_need_a_model_that_reads_them(run, face_model, face_parameters):
    Path("face.glb").write_bytes(encode_mesh(face_model, make_reconstruction(face_parameters), ".glb"))
    result = run("--face", "face.glb", "-m", "Describe this face.")
    assert result.exit_code == 1 and "reads no faces" in str(result.exception)
    result = run("photo.png", "--face", "face.glb")
    assert result.exit_code == 1 and "not both" in str(result.exception)


def test_saving_replaces_no_file_of_others_and_stays_in_its_directory(run):
    Path("chat").mkdir()
    Path("chat/her.json").write_text("{}")
    result = run(
        "photo.png", lines="Show me the face.\n/save her\n/save her\n/save .glb\n/save ..\n/save a/b\n/quit\n"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.count("  -> chat/her-2.glb, chat/her-2.json, chat/her-2.png") == 2
    assert "her is the name of a file that FaceGPT did not write; it stays" in result.stdout
    assert Path("chat/her.json").read_text() == "{}" and not Path("chat/her.glb").exists()
    assert result.stderr.count("wanted a plain one") == 3
    assert sorted(path.name for path in Path().iterdir()) == ["chat", "photo.png"]


def test_a_place_that_cannot_be_written_to_is_told_before_anything_else(run):
    result = run("photo.png", "-o", "photo.png/chat", lines="Show me the face.\n")
    assert result.exit_code == 1 and "nothing can be written to photo.png/chat" in str(result.exception)
    assert result.stdout == ""


def test_faces_that_are_left_out_are_told(chatty, processor, face_parameters, capsys, tmp_path):
    checkpoint = checkpoints.Checkpoint("tiny", chatty, processor)
    session = ChatSession(chatty, processor, faces=make_reconstruction(face_parameters)._replace(left_out=4))
    ChatTerminal(checkpoint, session, tmp_path).tell_what_is_seen(
        Photograph(Image.new("RGB", (64, 48)), None, "a.png")
    )
    assert capsys.readouterr().out == "looking at a.png: 1 face, and 4 more, which are left out\n"
