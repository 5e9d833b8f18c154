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
"""Wordings of requests, in two fixed parts: those that training uses, and those that are held out for evaluation."""

from typing import NamedTuple


class Wordings(NamedTuple):
    """Templates of one kind of request; what stands in braces is filled in."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


EXPLICIT = Wordings(
    (
        "{phrase}.",
        "Show me {phrase}.",
        "Draw {phrase}.",
        "Make {phrase}.",
        "Create {phrase}.",
        "Create the face of {phrase}.",
        "Show the face of {phrase}.",
        "Please draw {phrase}.",
        "I want to see {phrase}.",
        "Imagine {phrase}.",
        "Make a face: {phrase}.",
        "What does {phrase} look like?",
        "Can you draw {phrase}?",
        "Generate {phrase}.",
        "Model {phrase}, please.",
    ),
    (
        "Please show me {phrase}.",
        "Please create the face of {phrase}.",
        "Can you show me {phrase}?",
        "I want the face of {phrase}.",
        "Draw a face: {phrase}.",
    ),
)
# How a person, what is special about the shape, and what the face does become one phrase.
PHRASES = Wordings(
    (
        "{person} with {shape}, {expression}",
        "{person} with {shape} who is {expression}",
        "{person}, {expression}, with {shape}",
        "{person} who is {expression} and has {shape}",
        "{person} who has {shape} and is {expression}",
    ),
    ("{person} with {shape} and {expression}", "{person} who has {shape}, {expression}"),
)
SHAPE_ONLY = Wordings(("{person} with {shape}", "{person} who has {shape}"), ("{person} that has {shape}",))
EXPRESSION_ONLY = Wordings(
    ("{person}, {expression}", "{person} who is {expression}"), ("{person} that is {expression}",)
)
SPECULATIVE = Wordings(
    (
        "{Subject} has just {clause}.",
        "{Subject} has just {clause}. Show {possessive} face.",
        "{Subject} has just {clause}. Draw {possessive} face.",
        "{Subject} has {clause}. Show me {possessive} face.",
        "Show the face of {subject} who has just {clause}.",
        "Draw {subject} who has just {clause}.",
        "Imagine that {subject} has just {clause}. Show {possessive} face.",
        "What does {subject} look like who has just {clause}?",
        "{Subject} has just {clause}. What does {possessive} face look like?",
    ),
    (
        "{Subject} has {clause}. Draw {possessive} face.",
        "Imagine {subject} who has just {clause}.",
        "Please show me the face of {subject} who has {clause}.",
    ),
)
WHY_FEELING = Wordings(
    ("How {does} {pronoun} feel?", "What {does} {pronoun} feel?", "How {does} {pronoun} feel, and why?"),
    ("What feeling {does} {pronoun} have?",),
)
SHAPE_EDIT = Wordings(
    (
        "Make the {part} {comparative}.",
        "Make the {part} {degree} {comparative}.",
        "Now make the {part} {degree} {comparative}.",
        "Give {object} {phrase}.",
        "Make {possessive} {part} {degree} {comparative}.",
        "The {part} should be {degree} {comparative}.",
        "{Pronoun} should have {phrase}.",
        "Change the {part}: {degree} {comparative}.",
        "I want {possessive} {part} {degree} {comparative}.",
        "Let the {part} be {degree} {comparative}.",
    ),
    ("Please make the {part} {degree} {comparative}.", "I want the {part} {degree} {comparative}."),
)
EMOTION_EDIT = Wordings(
    (
        "Make {object} {adjective}.",
        "Make {object} look {adjective}.",
        "Now make {object} {degree} {adjective}.",
        "Let {object} look {degree} {adjective}.",
        "{Pronoun} should look {degree} {adjective}.",
        "Change the expression: {degree} {adjective}.",
    ),
    ("Please make {object} {degree} {adjective}.", "I want {object} to look {degree} {adjective}."),
)
VERB_EDIT = Wordings(
    ("Make {object} {verb}.", "Now make {object} {verb}.", "Let {object} {verb}.", "{Pronoun} should {verb}."),
    ("Please make {object} {verb}.", "I want {object} to {verb}."),
)
LIGHT_EDIT = Wordings(
    (
        "Let the light come from {side}.",
        "Light from {side}.",
        "Put the light {place}.",
        "Now light the face from {side}.",
        "The light should come from {side}.",
    ),
    ("Please light the face from {side}.", "I want the light from {side}."),
)
BRIGHTER = Wordings(("Make it brighter.", "More light.", "Brighter, please."), ("Make the light brighter.",))
DIMMER = Wordings(("Make it darker.", "Less light.", "Darker, please."), ("Make the light darker.",))
MORE = Wordings(
    (
        "More.",
        "A bit more.",
        "Even more.",
        "More of that.",
        "Stronger.",
        "Still more of that.",
        "Much more.",
        "A little more.",
        "Do more of it.",
        "More, more.",
    ),
    ("Still more.", "More, please."),
)
LESS = Wordings(
    (
        "Less.",
        "A little less.",
        "Not so much.",
        "Less of that.",
        "Weaker.",
        "Not so much, please.",
        "Much less.",
        "Do less of it.",
        "A little weaker.",
        "Less than that.",
    ),
    ("A bit less.", "Less, please."),
)
UNDO = Wordings(
    (
        "Undo.",
        "Undo that.",
        "Take that back.",
        "Go back.",
        "Undo the change.",
        "Please go back.",
        "Please undo.",
        "Take back the last change.",
        "Undo the last change.",
        "Undo it.",
    ),
    ("Please undo that.",),
)
UNDO_TWICE = Wordings(
    (
        "Undo twice.",
        "Undo the last two changes.",
        "Go back two steps.",
        "Undo two changes.",
        "Take back two changes.",
        "Undo two steps.",
        "Take the last two changes back.",
    ),
    ("Undo that twice.", "Take two steps back."),
)
DESCRIBE_GIVEN = Wordings(
    (
        "{face} Describe this face.",
        "{face} What is special about this face?",
        "Describe {face}.",
        "What does {face} look like?",
        "{face} Tell me about this face.",
        "{face} Describe it.",
        "{face} What does this face look like?",
        "{face} Say what is special about it.",
        "Describe this face: {face}",
        "What is special about {face}?",
        "What can you say about {face}?",
    ),
    ("{face} Please describe this face.", "Tell me about {face}."),
)
ASK_PART = Wordings(
    (
        "How {verb} the {part}?",
        "What {verb} the {part} like?",
        "What shape {verb} the {part}?",
        "Tell me about the {part}.",
        "What can you say about the {part}?",
        "How would you describe the {part}?",
        "Say something about the {part}.",
        "What do you say of the {part}?",
    ),
    ("Describe the {part}.",),
)
ASK_EXPRESSION = Wordings(
    (
        "What is the expression?",
        "What expression is it?",
        "How does the person feel?",
        "What does the face show?",
        "What is the mood?",
        "How does the face look?",
        "Which feeling is in the face?",
        "What feeling does the face show?",
        "Which expression is it?",
        "What is the person feeling?",
        "Which mood is the person in?",
        "Describe the expression.",
        "Name the expression.",
    ),
    ("Which expression does the face show?", "What does the person feel?"),
)
ASK_POSE = Wordings(
    (
        "Where is the head turned?",
        "Which way does the face point?",
        "Is the head turned?",
        "How is the head turned?",
        "Which way does the head point?",
        "Which way does the person face?",
        "In which direction is the head turned?",
        "Does the head point to one side?",
        "To which side is the head turned?",
        "Describe the pose of the head.",
        "Where does the face point?",
        "Where does the head point?",
    ),
    ("Which way is the head turned?",),
)
ASK_TILT = Wordings(
    (
        "Is the head tilted?",
        "Which way is the head tilted?",
        "Does the head tilt?",
        "To which shoulder is the head tilted?",
        "Is the head upright?",
        "Does the head lean to a shoulder?",
        "Which way does the head lean?",
        "To which side is the head tilted?",
    ),
    ("How is the head tilted?",),
)
ASK_GAZE = Wordings(
    (
        "Where do the eyes look?",
        "Which way do the eyes look?",
        "Where is the gaze?",
        "Where does the person look?",
        "In which direction do the eyes look?",
        "What is the direction of the gaze?",
        "To which side do the eyes look?",
        "Which way does the person look?",
        "Where do the eyes point?",
        "Describe the gaze.",
    ),
    ("Which way is the gaze?",),
)
ASK_LIGHT = Wordings(
    (
        "Where does the light come from?",
        "From which side is the face lit?",
        "Where is the lamp?",
        "Which side is lit?",
        "On which side is the lamp?",
        "From where is the face lit?",
        "Which side of the face is brighter?",
        "What is the direction of the light?",
        "Describe the light.",
        "Which way does the light come from?",
        "Where is the light?",
        "From which side does the light come?",
    ),
    ("Which side does the light come from?",),
)
ASK_MOUTH = Wordings(
    (
        "Is the mouth open?",
        "Is the mouth open or closed?",
        "Is the mouth shut?",
        "Is the mouth shut or open?",
        "Does the mouth stand open?",
        "Do you see an open mouth?",
        "Do you see a closed mouth?",
        "Are the lips apart?",
        "Are the lips closed?",
        "Has the person opened the mouth?",
        "Has the person closed the mouth?",
        "Is it an open mouth or a closed one?",
        "Open or closed: how is the mouth?",
        "Tell me if the mouth is closed.",
        "The mouth: is it closed?",
    ),
    ("Is the mouth closed?",),
)
ASK_EYES = Wordings(
    (
        "Are the eyes open?",
        "Are the eyes open or closed?",
        "Are the eyes shut?",
        "Are the eyes shut or open?",
        "Do the eyes stand open?",
        "Do you see open eyes?",
        "Do you see closed eyes?",
        "Are both eyes open?",
        "Has the person opened the eyes?",
        "Has the person closed the eyes?",
        "Are they open eyes or closed ones?",
        "Open or closed: how are the eyes?",
        "Tell me if the eyes are closed.",
        "The eyes: are they closed?",
    ),
    ("Are the eyes closed?",),
)
COMPARE = Wordings(
    (
        "{face} {face} Which {part} {verb} {comparative}?",
        "Here are two faces: {face} {face} Whose {part} {verb} {comparative}?",
        "Compare {face} and {face}: which {part} {verb} {comparative}?",
        "{face} and {face}: whose {part} {verb} {comparative}?",
        "Look at {face} and {face}. Whose {part} {verb} {comparative}?",
        "{face} {face} Compare: which {part} {verb} {comparative}?",
    ),
    ("{face} {face} Whose {part} {verb} {comparative}?",),
)
DIFFERENCE = Wordings(
    (
        "{face} {face} How do they differ?",
        "Compare {face} and {face}.",
        "{face} {face} Compare them.",
        "How does {face} differ from {face}?",
        "{face} {face} What is the difference?",
        "{face} {face} Tell me how they differ.",
        "What is different between {face} and {face}?",
    ),
    ("How do {face} and {face} differ?",),
)
UNKNOWN = Wordings(
    (
        "Make the {part} {word}.",
        "Give {object} {phrase}.",
        "I want {phrase}.",
        "Show me {phrase}.",
        "Make {phrase}.",
        "Create {phrase}.",
        "Imagine {phrase}.",
        "I want to see {phrase}.",
        "Please draw {phrase}.",
        "Generate {phrase}.",
        "What does {phrase} look like?",
        "Create the face of {phrase}.",
        "Make a face: {phrase}.",
        "Make the {part} a little {word}.",
        "Now make the {part} {word}.",
        "The {part} should be {word}.",
        "Make {object} look {word} at the {part}.",
    ),
    ("Draw {phrase}.",),
)
WHO = Wordings(
    (
        "Who is this?",
        "What is the name of this person?",
        "Do you know who this is?",
        "Tell me who that is.",
        "Is this a famous person?",
        "Make {object} look like a celebrity.",
        "Make {object} look like a famous actor.",
        "Draw a film star.",
        "Draw the president.",
        "Show me a famous singer.",
        "Do you know {object}?",
        "Do you recognise this person?",
        "Have you seen this person before?",
        "What is the name of this man?",
        "Can you name this person?",
        "Whose face is this?",
        "Is this somebody famous?",
        "Draw a famous person.",
        "Show me a celebrity.",
        "Draw the queen.",
        "Make {object} look like a film star.",
        "Make {object} look like the president.",
        "Give {object} the face of a famous singer.",
    ),
    (
        "Do you know this person?",
        "What is this person called?",
        "Draw a celebrity.",
        "Make {object} look like a king.",
    ),
)
JUDGE = Wordings(
    (
        "Where does this person come from?",
        "What is the race of this person?",
        "Is this person ill?",
        "Is this person healthy?",
        "Is this person honest?",
        "Is this person clever?",
        "Is this a good person?",
        "Is this a criminal?",
        "What is the religion of this person?",
        "Which country is this person from?",
        "Which people does this person belong to?",
        "Does this person look ill?",
        "Which illness does this person have?",
        "Is this person nice?",
        "Is this person a liar?",
        "Would you trust this person?",
        "Is this person rich?",
        "Is this person violent?",
        "Is this person good or bad?",
        "What work does this person do?",
        "Whom does this person vote for?",
    ),
    ("Which country does this person come from?", "Is this person dangerous?", "Is this person kind?"),
)
RECONSTRUCT_ALL = Wordings(
    ("Reconstruct all faces.", "Show me the faces in 3D.", "Make 3D faces of everybody.", "Find every face."),
    ("Reconstruct the faces.",),
)
RECONSTRUCT_ONE = Wordings(
    ("Reconstruct this face.", "Show me this face in 3D.", "Make a 3D face of this.", "Reconstruct the face."),
    ("Make this face in 3D.",),
)
REFER = Wordings(
    (
        "Reconstruct {who}.",
        "Show me {who} in 3D.",
        "Reconstruct the face of {who}.",
        "Make a 3D face of {who}.",
        "{Who}, please.",
        "I want {who} in 3D.",
        "Only {who}.",
        "Take {who}.",
        "Give me the face of {who}.",
        "Find {who}.",
        "Show {who}.",
        "Please show me {who}.",
    ),
    ("Please reconstruct {who}.", "Show me the face of {who}."),
)
EDIT_ONE = Wordings(
    (
        "Make {who} {verb}.",
        "Now make {who} {verb}.",
        "Please make {who} {verb}.",
        "I want {who} to {verb}.",
        "{Who} should {verb}.",
    ),
    ("Let {who} {verb}.",),
)
COUNT_FACES = Wordings(
    (
        "How many faces are there?",
        "How many people do you see?",
        "Count the faces.",
        "How many faces do you find?",
        "How many people are there?",
        "How many persons are in the picture?",
        "How many faces does the picture show?",
        "Count the people.",
        "What is the number of faces?",
    ),
    ("How many faces do you see?",),
)
DESCRIBE_PICTURE = Wordings(
    (
        "Describe the face.",
        "Describe the person.",
        "What does the person look like?",
        "What do you see?",
        "Tell me what you see.",
        "Who do you see: what is the face like?",
        "Describe the picture.",
        "Tell me about this person.",
        "Please describe the face.",
    ),
    ("Describe what you see.",),
)
ASK_PRESENCE = Wordings(
    (
        "Is there a face?",
        "Do you see a face?",
        "Is somebody there?",
        "Is a face there?",
        "Can you see a face?",
        "Do you see a person?",
        "Is there somebody in the picture?",
        "Is there a face in this picture?",
        "Is anybody there?",
        "Do you see anybody?",
        "Does the picture show a face?",
    ),
    ("Is there a person?",),
)
ASK_HIDDEN = Wordings(
    (
        "Can you see the {part}?",
        "{verb} the {part} visible?",
        "{verb} the {part} hidden?",
        "Is something before the {part}?",
        "Can one see the {part}?",
        "{verb} the {part} covered?",
        "Does something hide the {part}?",
        "{verb} the {part} to be seen?",
        "Do you see the {part} or not?",
    ),
    ("Do you see the {part}?",),
)
ASK_GLASSES = Wordings(
    (
        "Does the person wear glasses?",
        "Are there glasses?",
        "Do you see a pair of glasses?",
        "Can you see glasses?",
        "Has the person glasses on?",
        "Are glasses to be seen?",
        "Is the person wearing glasses?",
        "Are there glasses on the nose?",
        "Glasses or none?",
    ),
    ("Do you see glasses?",),
)
OPPOSITE = Wordings(
    ("What is the opposite of {word}?", "The opposite of {word}?"), ("Which word is the opposite of {word}?",)
)
SYNONYM = Wordings(("What does {word} mean?", "Another word for {word}?"), ("Give me another word for {word}.",))
SMALL_TALK: tuple[tuple[str, str], ...] = (
    ("Hello!", "Hello! Show me a picture, or describe a face."),
    ("Good morning.", "Good morning! What face would you like to see?"),
    ("Hi.", "Hello! Show me a picture, or describe a face."),
    ("Thank you.", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye.", "Goodbye!"),
    ("What can you do?", "I reconstruct, make, describe and change faces in 3D."),
    ("Who are you?", "I am FaceGPT, a program that talks about 3D faces."),
    ("What are you?", "I am FaceGPT, a program that talks about 3D faces."),
    ("How are you?", "I am a program, and I am ready."),
    ("Can you see?", "Yes, when you show me a picture."),
    ("Can you draw a house?", "No, I make faces only."),
    ("What is a smile?", "The corners of the mouth rise."),
    ("What is a frown?", "The eyebrows go down."),
    ("What is a wink?", "One eye closes, the other stays open."),
    ("What is a face?", "The front of the head, with eyes, nose and mouth."),
    ("Where is the nose?", "In the middle of the face."),
    ("How many eyes has a face?", "Two."),
    ("How many noses has a face?", "One."),
    ("Tell me a joke.", "A nose walks into a room, and everybody smells it."),
)
WHAT_PICTURE = Wordings(
    (
        "What do you see?",
        "What is this?",
        "Describe the picture.",
        "Tell me what you see.",
        "What is in the picture?",
        "What can you see?",
        "What does it show?",
    ),
    ("What does the picture show?",),
)
ASK_COLOUR = Wordings(
    (
        "What colour is the {shape}?",
        "Which colour is the {shape}?",
        "The colour of the {shape}?",
        "Tell me the colour of the {shape}.",
        "Of what colour is the {shape}?",
        "What is the colour of the {shape}?",
        "Name the colour of the {shape}.",
    ),
    ("Which colour does the {shape} have?",),
)
ASK_SHAPE_OF = Wordings(
    (
        "What shape is {colour}?",
        "Which shape is {colour}?",
        "Which thing is {colour}?",
        "What is the {colour} shape?",
        "Name the {colour} shape.",
        "What {colour} shape is there?",
    ),
    ("What is {colour}?",),
)
ASK_WHERE = Wordings(
    (
        "Where is the {shape}?",
        "On which side is the {shape}?",
        "Where do you see the {shape}?",
        "Where does the {shape} stand?",
        "In which part is the {shape}?",
        "Tell me where the {shape} is.",
    ),
    ("Where in the picture is the {shape}?",),
)
ASK_COUNT = Wordings(
    (
        "How many shapes are there?",
        "How many shapes do you see?",
        "Count the shapes.",
        "How many shapes are in the picture?",
        "How many things do you see?",
        "What is the number of shapes?",
    ),
    ("How many shapes does it show?",),
)
ASK_IF = Wordings(
    (
        "Is there a {shape}?",
        "Do you see a {shape}?",
        "Does the picture show a {shape}?",
        "Can you see a {shape}?",
        "Is a {shape} there?",
        "Is there a {shape} in the picture?",
    ),
    ("Does it show a {shape}?",),
)

# Questions on who somebody is, by the groups of `PERSON_WORDS`, and answers by its words.
ASK_PERSON: dict[str, Wordings] = {
    "sex": Wordings(("Is this a man or a woman?", "Is it a woman or a man?"), ("Man or woman?",)),
    "age": Wordings(("How old is the person?", "Is the person young or old?"), ("What is the age of the person?",)),
    "skin": Wordings(("What is the skin like?", "How dark is the skin?"), ("What colour is the skin?",)),
    "freckles": Wordings(("Does the person have freckles?", "Are there freckles?"), ("Do you see freckles?",)),
    "beard": Wordings(("Does the person have a beard?", "Is there a beard?"), ("Do you see a beard?",)),
    "hair": Wordings(("What colour is the hair?", "What is the hair like?"), ("Describe the hair.",)),
    "eyes": Wordings(
        ("What colour are the eyes?", "Which colour do the eyes have?"), ("Name the colour of the eyes.",)
    ),
    "lips": Wordings(("Does the person wear lipstick?", "Is there lipstick?"), ("Do you see lipstick?",)),
    "folds": Wordings(("Does the person have wrinkles?", "Are there wrinkles?"), ("Do you see wrinkles?",)),
}
PERSON_ANSWERS = {
    "woman": "It is a woman.",
    "man": "It is a man.",
    "young": "The person is young.",
    "middle-aged": "The person is middle-aged.",
    "elderly": "The person is old.",
    "pale": "The skin is pale.",
    "tanned": "The skin is tanned.",
    "brown": "The skin is brown.",
    "dark": "The skin is dark.",
    "freckled": "Yes, there are freckles.",
    "bearded": "Yes, there is a beard.",
    "stubbly": "Only stubble.",
    "clean-shaven": "No, there is no beard.",
    "moustache": "Only a moustache.",
    "bald": "The head is bald.",
    "grey": "The hair is grey.",
    "red-haired": "The hair is red.",
    "dark-haired": "The hair is dark.",
    "blue-eyed": "The eyes are blue.",
    "green-eyed": "The eyes are green.",
    "brown-eyed": "The eyes are brown.",
    "lipstick": "Yes, there is lipstick.",
    "wrinkled": "Yes, there are wrinkles.",
}
NOTHING_OF_PERSON = {
    "freckles": "No, there are no freckles.",
    "beard": "No, there is no beard.",
    "lips": "No, there is no lipstick.",
    "folds": "No, there are no wrinkles.",
}
