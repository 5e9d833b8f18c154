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
"""Sentences of our own about faces, pictures, shapes and everyday things, from which the nano tokenizer is trained."""

import random
import re
from collections.abc import Iterator

SENTENCES = 12000

WORDS = {
    "person": """person man woman boy girl child adult baby teenager lady gentleman mother father sister brother friend
        neighbour teacher doctor nurse painter singer dancer farmer driver sailor soldier student baker clown king
        queen
        grandmother grandfather somebody someone everyone nobody people group couple crowd stranger visitor player
        runner winner actor writer cook judge guest worker musician scientist astronaut""",
    "part": """face head nose mouth chin jaw forehead cheek cheekbone eye eyebrow eyelid eyelash ear earlobe lip tooth
        tongue nostril bridge tip temple neck throat skin hair beard moustache stubble freckle dimple wrinkle scar mole
        iris pupil gaze brow skull scalp hairline profile jawline nosetip philtrum cupid eyes ears lips teeth cheeks
        eyebrows nostrils cheekbones freckles wrinkles eyelids""",
    "shape_word": """broad wide narrow thin thick long short round oval square pointed sharp flat high low deep shallow
        large small big tiny huge full hollow strong weak soft hard straight curved crooked hooked upturned turned
        heart
        triangular diamond rectangular smooth rough even uneven prominent receding protruding sunken wide-set close-set
        slanted arched bushy fine plump slim heavy light angular chubby bony gaunt slender massive delicate""",
    "expression": """smiling laughing frowning crying shouting whispering yawning squinting winking blinking grinning
        pouting smirking sneering blowing puffing kissing chewing biting talking singing whistling screaming gasping
        staring glaring sleeping listening thinking wondering neutral relaxed tense open closed raised lowered
        pressed pursed stretched funnelled puckered rolled wrinkled dimpled pulled lifted furrowed""",
    "feeling": """happy sad angry afraid scared surprised disgusted calm bored tired excited proud ashamed worried
        nervous jealous amused curious confused lonely hopeful thankful disappointed delighted cheerful gloomy furious
        joyful shocked serious sleepy shy content miserable relieved annoyed anxious astonished embarrassed doubtful
        suspicious friendly kind cruel gentle stern""",
    "feeling_noun": """happiness sadness anger fear surprise disgust calm boredom joy grief pride shame worry doubt
        delight hope despair relief pain pleasure interest contempt trust love hate laughter smile frown""",
    "colour": """red orange yellow green blue purple violet pink brown black white grey gray beige golden silver dark
        bright pale light turquoise crimson olive cream tan blond auburn hazel ginger reddish greenish bluish brownish
        yellowish greyish colourful transparent""",
    "thing": """picture photograph photo image portrait drawing painting render scene background foreground corner edge
        centre middle border side frame camera lens lamp light shadow window door wall floor ceiling table chair sofa
        bed book pen paper cup glass bottle plate bowl spoon fork knife phone screen computer keyboard clock mirror hat
        cap helmet scarf glasses sunglasses shirt jacket coat tie dress collar hood necklace earring mask hand finger
        arm shoulder body tree leaf flower grass hill mountain river lake sea beach sky cloud rain snow sun moon star
        road street bridge house garden field forest city village boat ship train car bus bicycle aeroplane bird cat
        dog horse cow sheep fish mouse elephant lion bear apple banana lemon cherry bread cheese cake egg milk water
        tea coffee soup ball toy box bag key coin ring rope stone brick wood metal plastic cloth wool fire smoke ice
        circle square triangle rectangle star cross line dot stripe stripes pattern gradient noise texture grid cube
        sphere cone cylinder ellipse polygon hexagon arrow letter number word sentence question answer story mesh model
        vertex triangle shape size colour position pose angle direction distance""",
    "verb": """see show find look make draw turn move raise lower open close give take keep change describe compare
        explain count name point reconstruct render build create generate edit undo repeat rotate tilt nod shake bend
        stretch shrink grow widen narrow lengthen shorten brighten darken add remove replace copy save load start stop
        begin finish try help want need know think believe feel hear say tell ask answer read write play run walk sit
        stand wait watch hold carry bring put set leave stay come go win lose learn teach fall rise smile laugh cry
        frown blink wink squint stare glance face cover hide reveal imagine suppose guess measure estimate fit
        match""",
    "verb_third": """sees shows finds looks makes draws turns moves raises lowers opens closes gives takes keeps
        changes
        describes compares counts points tilts nods shakes grows wants needs knows thinks feels hears says tells asks
        reads writes plays runs walks sits stands waits watches holds carries brings wins loses learns falls smiles
        laughs cries frowns blinks winks squints stares wears has is was covers hides touches fills lies appears
        seems becomes remains""",
    "verb_past": """saw showed found looked made drew turned moved raised lowered opened closed gave took kept changed
        heard told asked won lost learned forgot remembered missed met broke dropped caught received bought sold ate
        drank slept woke fell cut burned finished started passed failed told visited left returned arrived cooked
        smelled tasted swallowed inherited escaped stumbled noticed discovered""",
    "adverb": """very rather quite slightly much more less most least too almost nearly barely clearly strongly
        gently slowly quickly softly widely tightly fully partly half completely again still already never always often
        sometimes now then here there soon later today tomorrow yesterday together apart alone maybe probably certainly
        really only even just also instead mostly upwards downwards sideways forwards backwards clockwise""",
    "place": """left right top bottom front back inside outside above below under over between behind beside near far
        next upper lower leftmost rightmost middle central first second third last nearest farthest biggest smallest
        largest tallest shortest oldest youngest""",
    "number": """zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred
        none several many few both all each every some any half double degrees millimetres percent years metres
        pixels times""",
    "age": "young old middle-aged elderly grown little aged",
    "small": """the a an and or but if because so that this these those it its he his him she her they their them you
        your I my me we our us who whom whose what which when where why how not no yes of in on at by for with without
        from to into onto through across around about against along as like than up down off out are were be been being
        has have had do does did done can could will would should may might must shall there cannot don't doesn't isn't
        aren't can't I'm it's that's let's please thanks thank sorry hello good bad new other same different own such
        another enough true false certain sure likely possible impossible whole visible hidden occluded blurred
        light dark left-hand right-hand nothing something anything everything while before after until since during
        ever once twice else also well better best worse worst fewer greater equal similar opposite""",
    "event": """birthday wedding funeral exam lottery holiday journey game match race prize gift letter present job
        interview promotion party concert film joke accident storm earthquake ghost spider snake thief mistake secret
        news surprise test dentist hospital school office kitchen restaurant market station airport museum theatre
        summer winter spring autumn morning evening night week month year""",
    "general": """ability accept action active address adjust advice afford agree allow although amount ancient animal
        appear area arrange arrive asleep assume attach attempt attention average avoid awake aware balance band bare
        base basic basket bath bear beat beauty behave belong below belt beyond bind bitter blank blanket blind block
        blood board bone bore borrow bottom bound brain branch brave breath breathe broken brush building bundle busy
        button calculate call candle capital careful castle cause ceremony chain chance chapter character charge
        cheap check chest chief choice choose church claim class clean clever climb clothes coat collect comb combine
        comfort common complete concern condition confident connect consider contain control corner correct cost count
        country courage course cover crack create credit cross crown curious current curtain custom damage danger data
        dead deal dear decide decision decorate decrease deep defend degree depend desert deserve desire detail develop
        device difference difficult dinner direct dirty discover discuss dish divide document dream dry dust duty eager
        earth east easy edge education effect effort either electric empty encourage end enemy energy engine enjoy
        enter entire entrance environment equal error especially exact example except exchange excite excuse exercise
        exist expect experience expert explain express extra extreme fact fail fair false familiar family famous
        fashion fast fat favourite fear feature feed fellow fence fever field fight file final flag flame flash float
        flow fly fold follow food foolish foot force foreign forget forgive form formal fortune forward frame free
        freeze frequent fresh fruit fuel full fun funny furniture further future gain game gate gather general
        generous gentle gift glad global goal goat gold govern grain grand graph great greet ground group guard guess
        guide guilty habit half hammer handle hang happen harbour harm harvest heal health heap heart heat heaven heel
        help hire history hole hollow holy honest honour horizon hour huge human humble humour hunger hunt hurry hurt
        husband idea ideal illness image imagine important improve inch include increase industry inform injury
        innocent inside instant instead instruct insurance intend interest interrupt introduce invent invite iron
        island item join journey jump justice keen kick kitchen knee knock knot knowledge label labour lack ladder lamb
        land language late law lawn layer lazy lead lean leather lecture leg legal length lesson level library lid
        lift limit link liquid list local lock log logic loose loud low luck lunch machine magic main major manage
        manner map march mark market marry mass master material matter meal mean meat medicine meet melt member memory
        mend mention mercy message method middle mild mile military mind mineral minute miss mix mode modern modest
        moment money mood moral motion motor mountain music mystery nail narrow nation nature neat necessary needle
        neighbour neither nest net network noise normal north note notice object observe obtain obvious occasion
        ocean offer officer oil opinion order ordinary organ origin ought oven owe owner pack pad page pair palace pan
        parent park particular pass passage past path patience patient pattern pause pay peace people perfect perform
        period permit piece pile pilot pipe pity plain plan plane plant plastic plenty pocket poem poet poison police
        polite pool poor popular position power practice praise pray prefer prepare press pretty prevent price prince
        print prison private problem process produce product promise proof proper protect public pump punish pupil
        pure purpose push puzzle quality quantity quarter queue quiet race radio rail range rapid rare rate raw ready
        real realise reason recent recognise record reduce refer reflect refuse regret regular relation religion rely
        report represent request require rescue respect rest result retire reward rhythm rice rich rid ride risk rob
        role roll roof root rough row royal rub rubber rude ruin rule rush sacred sad safe sail salt sand satisfy sauce
        scale scatter scene science score scratch seal search season seat section seed seek select sense separate
        series serve settle several severe shade sheet shelf shell shelter shine shock shoe shoot shop shore shout
        shower shut sick sign signal silence silk simple since single skill slave slide slip slope smell social soil
        solid solve sort soul sound source south space spare speak special speech speed spell spend spirit spite
        split spoil sport spread staff stage stair stamp standard state station steady steal steam steel steep step
        stick stiff stomach store strange stream strength strike string structure struggle study stupid style subject
        succeed success sudden suffer sugar suggest suit supply support surface surround suspect sweat sweep sweet
        swim swing sword symbol system tail talent tall tank taste tax team tear technical temper temperature tend
        tent term theory therefore thirst thread threat throw thumb ticket tide tidy tight till title tool total touch
        tour towel tower track trade tradition traffic translate travel treasure treat trial trick trip trouble trust
        truth tube tune twist type typical ugly umbrella uncle understand union unit universe upset urge use useful
        usual valley valuable value variety vast vegetable vehicle version victory view village violent virtue visit
        voice vote voyage wage waist wake war warm warn wash waste wave way wealth weapon wear weather weave weigh
        weight welcome west wet wheel whip wide wife wild wind wine wing wire wise wish witness wonder worth wound
        wrap wrist wrong yard yesterday youth""",
}

TEMPLATES = """\
Reconstruct every face, from left to right.
Reconstruct the face in the middle.
Reconstruct the face of the {person} on the {place}.
Show me the face of the {feeling} {person}.
Where is the {shape_word} {thing}? It is {adverb} {place} the {colour} {thing}.
What colour is the {thing}? The {thing} is {colour}.
How many {thing} are there? There are {number}.
The {person} has a {shape_word} {part} and {colour} {part}.
The {age} {person} is {adverb} {expression}, with {shape_word} {part}.
Is the {person} {expression}? Yes, the {part} is {expression} and the {part} {adverb} {shape_word}.
Why do you think that the {person} is {feeling}? Because the {part} is {expression}.
Make the {part} {adverb} {shape_word}, and {verb} the {part}.
Now make {small} {verb}, but {verb} the {part} {adverb}.
{small} {age} {person} with a {shape_word} {part}, {expression} and {feeling}.
The {person} {verb_past} a {thing} at the {event} and feels {feeling}.
{small} has just {verb_past} the {event}; draw the {feeling} face with {feeling_noun}.
The {person} {verb_third} {adverb} to the {place}, {number} {number}.
The light comes from the {place}; the {part} is {colour}.
No, I cannot {verb} the {part}: a {thing} {verb_third} it.
There is no face in this {thing}, only a {colour} {thing} {small} a {shape_word} {thing}.
The head is turned {number} degrees to the {place} and tilted {adverb}.
I cannot say who {small} is, but I can {verb} the {part}.
Which {person} is {expression}? The {number} from the {place}.
Undo that, and {verb} it {adverb} instead.
The first face has {adverb} {shape_word} {part} than the second; they differ by {digits} millimetres.
{small} {verb} {small} {thing} {small} {small} {event}.
The {thing} {verb_third} {small} the {thing}, {small} it {verb_third} {adverb}.
Hello! {small} can I {verb}? Please {verb} {small} {thing}.
Yaw {digits}, pitch {digits}, roll {digits} degrees; {part}: {digits} percent.
{feeling_noun} {small} {feeling_noun} {verb} {small} {person} {adverb}.
{general} {small} {general} {verb} {general}, {small} {general} {general}."""


def _fill(template: str, words: dict[str, list[str]], generator: random.Random) -> str:
    """One sentence: every `{kind}` replaced by a random word of that kind."""

    def choose(slot: re.Match[str]) -> str:
        kind = slot.group(1)
        return str(generator.randint(0, 199)) if kind == "digits" else generator.choice(words[kind])

    sentence = re.sub(r"\{(\w+)\}", choose, template)
    return sentence[0].upper() + sentence[1:]


def write_corpus(seed: int) -> Iterator[str]:
    """Every word alone, then `SENTENCES` sentences; the same ones for the same `seed`."""
    generator = random.Random(seed)
    words = {kind: listing.split() for kind, listing in WORDS.items()}
    templates = TEMPLATES.splitlines()
    for listing in words.values():
        yield from (f"{word.capitalize()} {word}" for word in listing)
    for _ in range(SENTENCES):
        yield _fill(generator.choice(templates), words, generator)
