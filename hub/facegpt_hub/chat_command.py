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
"""`facegpt chat`: talk about faces in the terminal. Every turn that makes or changes a face writes it as a GLB."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .chat_lines import read_lines
from .seeds import choose_seed
from .waiting import loading, quiet_transformers, telling_when_stopped, waiting

if TYPE_CHECKING:
    from modeling_facegpt.chat_session import ChatSession
    from modeling_facegpt.dialogue import Answer
    from modeling_facegpt.photograph import Photograph
    from modeling_facegpt.reconstruction import Reconstruction

    from .checkpoints import Checkpoint

_FACE = "<FACE>"
_HELP = """\
Say what you like, or one of these:
  /show         write a picture of the present faces
  /save NAME    write them as NAME.glb, NAME.json and NAME.png
  /undo         go back to before the last words; the faces are exactly those of then
  /photo PATH   talk about another photograph
  /help         this
  /quit         leave
Help, quit and exit do as /help and /quit do. Where you type, the arrow keys bring back what you have said before."""
# What people type to any program, by the command that it stands for.
_HABITS = {"help": "/help", "?": "/help", "quit": "/quit", "exit": "/quit", "/exit": "/quit"}

UNTRAINED = (
    "{} was not trained on dialogue: ask it to reconstruct the faces of a photograph; what it says to anything else "
    "means nothing"
)


class _LeaveError(Exception):
    """The person has had enough."""


def chat(
    photo: Annotated[Path | None, typer.Argument(help="Photograph to talk about.", show_default=False)] = None,
    face: Annotated[
        Path | None, typer.Option(help="Faces to talk about: a .json or .glb that FaceGPT wrote.", show_default=False)
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", "-m", help="Say this and leave; may be given several times.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the faces (made if missing).")] = Path(
        "chat"
    ),
    model: Annotated[
        str, typer.Option(help="Checkpoint: a name, a directory, or owner/name on the Hub.")
    ] = "facegpt-nano",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of faces from words; default: another one each time.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs, such as cpu or cuda.")] = "cpu",
) -> None:
    """Talk about faces: ask, refer, make, edit, undo.

    Words are read line by line from the terminal, or from a pipe. Each turn that makes or changes a face writes it as
    a GLB into the output directory. With `--message` the exit code is 1 if something said was refused.
    """
    if photo is not None and face is not None:
        raise ValueError("got a photograph and a file of faces, wanted one to talk about; give one of them, not both")
    with loading(model):
        from modeling_facegpt.chat_session import ChatSession
        from modeling_facegpt.files.result_reader import read_result
        from modeling_facegpt.photograph import read_photograph

        from .checkpoints import load_checkpoint
        from .photograph_tasks import check_output

        quiet_transformers()
        check_output(output)
        photograph = None if photo is None else read_photograph(photo)
        checkpoint = load_checkpoint(model, device)
    faces = None if face is None else read_result(face, checkpoint.model.face_model)
    seed = choose_seed(seed)
    with waiting("looking for faces"):
        session = ChatSession(
            checkpoint.model,
            checkpoint.processor,
            photograph=photograph and photograph.image,
            focal=photograph and photograph.focal,
            faces=faces,
            seed=seed,
        )
    terminal = ChatTerminal(checkpoint, session, output, photograph, seed)
    if checkpoint.model.config.dialogue_hidden_size is None:
        typer.echo(f"facegpt: {UNTRAINED.format(checkpoint.name)}", err=True)
    if photograph is not None:
        terminal.tell_what_is_seen(photograph)
    with telling_when_stopped(terminal.tell_what_is_written):
        refused = terminal.run(message)
    raise typer.Exit(1 if message and refused else 0)


class ChatTerminal:
    """Reads words, shows answers, writes faces.

    Args:
        checkpoint (`Checkpoint`): who answers.
        session (`ChatSession`): of that checkpoint.
        output (`Path`): directory of the files.
        photograph (`Photograph`, *optional*): that the session is about.
        seed (`int`, *optional*): of the session; told with the first face that is made from words.
    """

    def __init__(
        self,
        checkpoint: "Checkpoint",
        session: "ChatSession",
        output: Path,
        photograph: "Photograph | None" = None,
        seed: int | None = None,
    ):
        self.checkpoint, self.session, self.output = checkpoint, session, output
        self.untold_seed = seed
        self.written: list[Path] = []
        self.photographs = [photograph] * len(session.states)  # one per state of the session
        self.console = Console(highlight=False, soft_wrap=True)
        self.commands = {
            "/show": self.show,
            "/save": self.save,
            "/undo": self.undo,
            "/photo": self.look,
            "/help": self.help,
            "/quit": self.leave,
        }

    def run(self, messages: list[str] | None = None) -> int:
        """Talk until the person leaves or there is nothing more to read -> how many turns were refused.

        Args:
            messages (`list[str]`, *optional*): said in place of what a person types.
        """
        typed = not messages and sys.stdin.isatty()
        if typed:
            self._say("Ask about the faces, make one, change it. /help tells more, /quit leaves.")
        refused = 0
        try:
            for words in messages or read_lines():
                refused += not (self._turn_that_can_be_stopped(words) if typed else self.turn(words))
        except _LeaveError:
            pass
        return refused

    def turn(self, words: str) -> bool:
        """Do one command or have one thing answered -> whether it could be done."""
        words = _HABITS.get(words.strip().lower().rstrip(".!"), words)
        name, _, argument = words.strip().partition(" ")
        try:
            if name in self.commands:
                self.commands[name](argument.strip())
            elif name.startswith("/"):
                raise ValueError(f"there is no command {name}; /help lists them")
            else:
                self.answer(words)
        except (ValueError, OSError) as error:
            typer.echo(f"facegpt: {' '.join(str(error).split())}", err=True)
            return False
        return True

    def _turn_that_can_be_stopped(self, words: str) -> bool:
        """A turn that Ctrl-C ends without ending the chat."""
        before = len(self.session.states)
        try:
            return self.turn(words)
        except KeyboardInterrupt:
            done = len(self.session.states) - before
            self.photographs += self.photographs[-1:] * (len(self.session.states) - len(self.photographs))
            left = "the answer stands, /save NAME writes its faces" if done > 0 else "the chat is where it was"
            typer.echo(f"\nfacegpt: stopped; {left}", err=True)
            return False

    def tell_what_is_written(self) -> str:
        """For who stops the whole chat."""
        if not self.written:
            return "stopped; this chat has written nothing"
        files = "1 file" if len(self.written) == 1 else f"{len(self.written)} files"
        return f"stopped; {files} of this chat {'is' if len(self.written) == 1 else 'are'} in {self.output}"

    def answer(self, words: str) -> None:
        """Have words answered, show the answer as it comes, and write its faces."""
        shown = _NumberedFaces()
        answer = self.session.say(words, on_words=lambda part: self._say(shown.write(part), end=""))
        self.photographs.append(self.photographs[-1])
        self._say("" if answer.text else _nothing_said(answer))
        if answer.references:
            path = self._free_path("turn-{:02d}.glb")
            self._write({path: self._mesh()})
            count = len(answer.references)
            closer = "" if count == shown.count else f", {_count_faces(count)} seen closer by"
            self._say(f"  -> {path}{closer}{self._tell_seed(answer)}")

    def _tell_seed(self, answer: "Answer") -> str:
        """Once, with the first face that is made from words."""
        from modeling_facegpt.face_editing import FRESH

        if self.untold_seed is None or self.photographs[-1] is not None or FRESH not in answer.references:
            return ""
        seed, self.untold_seed = self.untold_seed, None
        return f" (seed {seed}; a chat with --seed {seed} makes the same faces)"

    def show(self, _: str) -> None:
        """Write a picture of the present faces."""
        path = self._free_path("show-{:02d}.png")
        self._write({path: self._picture()})
        self._say(f"  -> {path}")

    def save(self, name: str) -> None:
        """Write the present faces as GLB, JSON and PNG under a name."""
        plain = name.removesuffix(".glb")
        if Path(plain).name != plain or plain in ("", "..") or "\0" in plain:
            raise ValueError(f"got the name {name!r} to save by, wanted a plain one; write /save NAME")
        contents = {".glb": self._mesh(), ".json": self._document(), ".png": self._picture()}
        stem = plain
        number = 1
        while not self._may_be_saved(stem, contents):
            number += 1
            stem = f"{plain}-{number}"
        if stem != plain:
            self._say(f"{plain} is the name of a file that FaceGPT did not write; it stays")
        files = {self.output / (stem + end): content for end, content in contents.items()}
        self._write(files)
        self._say(f"  -> {', '.join(map(str, files))}")

    def _may_be_saved(self, stem: str, endings: Iterable[str]) -> bool:
        """Whether no file that FaceGPT did not write has one of the names."""
        from modeling_facegpt.files.result_files import free_path

        return all(free_path(path, "") == path for end in endings for path in [self.output / (stem + end)])

    def undo(self, _: str) -> None:
        """Go back by one turn or photograph."""
        self.session.undo()
        self.photographs.pop()
        faces = self.session.faces
        self._say("undone; " + ("no face now" if faces is None else _count_faces(len(faces.probability))))

    def look(self, path: str) -> None:
        """Talk about another photograph."""
        from modeling_facegpt.photograph import read_photograph

        if not path:
            raise ValueError("got no photograph; write /photo PATH")
        photograph = read_photograph(Path(path).expanduser())
        with waiting("looking for faces"):
            self.session.look(photograph.image, photograph.focal)
        self.photographs.append(photograph)
        self.tell_what_is_seen(photograph)

    def tell_what_is_seen(self, photograph: "Photograph") -> None:
        """Say how many faces were found in the photograph that the chat now is about."""
        if self.checkpoint.model.face_encoder is None:
            self._say(f"looking at {photograph.name}")
            return
        faces = self.session.faces
        count = "no face" if faces is None else _count_faces(len(faces.probability))
        if faces is not None and faces.left_out:
            count += f", and {faces.left_out} more, which are left out"
        self._say(f"looking at {photograph.name}: {count}")

    def help(self, _: str) -> None:
        """List the commands."""
        self._say(_HELP)

    def leave(self, _: str) -> None:
        """End the chat."""
        raise _LeaveError

    def _say(self, words: str, end: str = "\n") -> None:
        self.console.print(words, end=end, markup=False)

    def _mesh(self) -> bytes:
        from modeling_facegpt.files.export import encode_mesh

        return encode_mesh(self.checkpoint.model.face_model, self._present(), ".glb")

    def _document(self) -> bytes:
        from modeling_facegpt.files.export import encode_document
        from modeling_facegpt.files.result_document import describe_reconstruction

        photograph = self.photographs[-1]
        name = None if photograph is None else photograph.name
        face_model = self.checkpoint.model.face_model
        document = describe_reconstruction(face_model, self._present(), photo=name, model=self.checkpoint.name)
        return encode_document(document)

    def _picture(self) -> bytes:
        from modeling_facegpt.files.export import encode_png
        from modeling_facegpt.files.result_sheet import faces_sheet, result_sheet

        photograph, face_model = self.photographs[-1], self.checkpoint.model.face_model
        if photograph is None:
            return encode_png(faces_sheet(face_model, self._present()))
        return encode_png(result_sheet(photograph.image, face_model, self._present()))

    def _present(self) -> "Reconstruction":
        if self.session.faces is None:
            raise ValueError("there is no face yet; ask for one first")
        return self.session.faces

    def _free_path(self, pattern: str) -> Path:
        """The first name of the pattern that no file has: chats do not write over each other."""
        number = 1
        while (self.output / pattern.format(number)).exists():
            number += 1
        return self.output / pattern.format(number)

    def _write(self, files: dict[Path, bytes]) -> None:
        from modeling_facegpt.files.result_files import write_files

        self.output.mkdir(parents=True, exist_ok=True)
        write_files(files)
        self.written += files


class _NumberedFaces:
    """Writes the faces of an answer as people read them: (face 1), (face 2)."""

    def __init__(self):
        self.count = 0

    def write(self, words: str) -> str:
        parts = words.split(_FACE)
        text = parts[0]
        for part in parts[1:]:
            self.count += 1
            text += f"(face {self.count}){part}"
        return text


def _nothing_said(answer: "Answer") -> str:
    return "(no words, and no face)" if not answer.references else ""


def _count_faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count} faces"
