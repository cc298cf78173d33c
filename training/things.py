"""What the bundled model draws: names, plurals, where their pictures come from, and what no scene shows.

Pictures are icons of openly licensed emoji sets, as npm packages of iconify hold them: `training.glyphs` renders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

#: iconify's package -> the style word that is true of it.
SETS: dict[str, str] = {"noto": "", "fluent-emoji": "3d", "fluent-emoji-flat": "flat", "twemoji": "flat"}
#: At most so many of a kind are counted in captions.
MOST = 4
#: Colour word -> sRGB of its middle tone.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 42),
    "orange": (245, 132, 20),
    "yellow": (250, 208, 36),
    "green": (52, 160, 62),
    "blue": (40, 108, 216),
    "purple": (136, 60, 184),
    "pink": (246, 128, 178),
    "brown": (128, 78, 44),
    "black": (46, 46, 50),
    "white": (240, 240, 240),
}


@dataclass(frozen=True)
class Thing:
    """A kind of object.

    icon: its name in the emoji sets. plural: of its name. looks: the sets whose icon a stranger would call by this name.
    recoloured: the sets whose icon takes every colour well.
    """

    name: str
    icon: str
    plural: str
    looks: tuple[str, ...] = tuple(SETS)
    recoloured: tuple[str, ...] = ()


def _thing(entry: str) -> Thing:
    """`name[/plural][=icon][*[set]][ -set...]`: a star for what comes in every colour, a minus for a set without a fair one."""
    entry, *missing = entry.split(" -")
    entry, star, only = entry.partition("*")
    name, _, icon = entry.partition("=")
    name, _, plural = name.partition("/")
    looks = tuple(each for each in SETS if each not in missing)
    recoloured = (only,) if only else looks if star else ()
    return Thing(name, icon or name.replace(" ", "-"), plural or f"{name}s", looks, recoloured)


_COCO = (
    "person/people, bicycle*, car=automobile*, motorcycle*, airplane, bus/buses*twemoji, train=locomotive, "
    "truck=delivery-truck*, boat=sailboat, traffic light=vertical-traffic-light, stop sign=stop-sign, bird, "
    "cat=cat-face, dog=dog-face, horse, sheep/sheep=ewe -twemoji, cow=cow-face, elephant, bear, zebra, giraffe, "
    "backpack*, umbrella*, handbag*, tie=necktie, suitcase=luggage*, frisbee=flying-disc* -fluent-emoji "
    "-fluent-emoji-flat, sports ball=soccer-ball, kite, skateboard*, bottle=bottle-with-popping-cork, wine glass/wine "
    "glasses=wine-glass, cup=hot-beverage*noto, knife/knives=kitchen-knife, spoon, bowl=bowl-with-spoon*, banana, "
    "apple=red-apple*, sandwich/sandwiches, orange=tangerine, broccoli/broccoli, carrot, hot dog, pizza, donut=doughnut, "
    "cake=birthday-cake, chair*, couch/couches=couch-and-lamp*, potted plant, bed*, toilet, tv=television, laptop, "
    "mouse/mice=computer-mouse, keyboard, cell phone=mobile-phone, book=closed-book*, clock=alarm-clock*, vase=amphora*, "
    "scissors/scissors*, teddy bear, toothbrush/toothbrushes*"
)
_EVERYDAY = (
    "tree=deciduous-tree, house, robot, star*, moon=crescent-moon, sun, flower=tulip*, heart=red-heart*, "
    "rabbit=rabbit-face, fox/foxes, frog, fish/fish=tropical-fish*, hat=top-hat*, crown, guitar*, key, rocket, tractor*, "
    "balloon*, butterfly/butterflies, pig=pig-face, lion, penguin, snowman/snowmen=snowman-without-snow, ghost, "
    "mushroom, strawberry/strawberries, camera, gift=wrapped-gift*, monkey=monkey-face, duck -twemoji, owl, turtle, "
    "drum*, bell, ladder"
)
COCO_THINGS = tuple(_thing(entry) for entry in _COCO.split(", "))
THINGS = COCO_THINGS + tuple(_thing(entry) for entry in _EVERYDAY.split(", "))
NAMES = tuple(thing.name for thing in THINGS)

_ANIMALS = (
    "bird cat dog horse sheep cow elephant bear zebra giraffe rabbit fox frog fish pig lion penguin monkey duck owl turtle"
)
ANIMALS = tuple(_ANIMALS.split())
FOOD = (
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "mushroom",
    "strawberry",
)
#: Pairs of things that no scene shows together.
HELD_OUT_PAIRS = frozenset(frozenset(pair) for pair in product(ANIMALS, FOOD))
#: (colour, thing) that no scene shows.
HELD_OUT_COLOURS = frozenset(
    {
        ("red", "truck"), ("orange", "umbrella"), ("yellow", "car"), ("green", "bus"), ("blue", "chair"), ("purple", "book"),
        ("pink", "suitcase"), ("brown", "heart"), ("black", "cup"), ("white", "balloon"), ("blue", "apple"), ("green", "hat"),
    }
)  # fmt: skip
#: (count, thing) that no scene shows.
HELD_OUT_COUNTS = frozenset(
    {
        (3, "dog"),
        (3, "car"),
        (3, "bird"),
        (3, "book"),
        (4, "cat"),
        (4, "apple"),
        (4, "bus"),
        (4, "star"),
        (2, "elephant"),
        (2, "chair"),
    }
)
#: Common words for what the model does not draw -> the nearest things that it does.
NEAR: dict[str, tuple[str, ...]] = {
    word: tuple(near.split(", "))
    for words, near in (
        ("van lorry pickup ambulance taxi jeep vehicle wagon", "truck, car"),
        ("ship yacht canoe ferry submarine sailboat", "boat"),
        ("plane jet helicopter aeroplane aircraft drone", "airplane, rocket"),
        ("bike scooter moped", "bicycle, motorcycle"),
        ("tram subway locomotive", "train, bus"),
        ("kitten tiger leopard cheetah", "cat, lion"),
        ("puppy wolf hound", "dog, fox"),
        ("pony donkey unicorn deer moose camel", "horse, zebra"),
        ("goat lamb ram", "sheep"),
        ("bull ox buffalo calf", "cow"),
        ("panda koala", "bear, teddy bear"),
        ("chicken hen rooster eagle parrot pigeon swan goose", "bird, duck"),
        ("toad lizard snake crocodile dinosaur dragon", "frog, turtle"),
        ("shark whale dolphin octopus crab", "fish, penguin"),
        ("hare squirrel hamster rat hedgehog raccoon", "rabbit, fox"),
        ("ape gorilla", "monkey"),
        ("bee insect dragonfly spider ladybug moth", "butterfly"),
        ("man woman girl boy child baby human guy lady king queen", "person"),
        ("pear peach plum mango melon watermelon cherry tomato", "apple, strawberry"),
        ("lemon lime grapefruit tangerine", "orange"),
        ("burger hamburger toast bread", "sandwich, hot dog"),
        ("cupcake pie cookie muffin", "cake, donut"),
        ("cucumber lettuce cabbage pepper potato", "broccoli, carrot"),
        ("mug glass teacup", "cup, wine glass"),
        ("plate dish pot pan kettle", "bowl"),
        ("fork", "spoon, knife"),
        ("sofa armchair", "couch, chair"),
        ("bench stool table desk", "chair"),
        ("television monitor screen", "tv, laptop"),
        ("computer tablet", "laptop, keyboard"),
        ("phone smartphone", "cell phone"),
        ("watch", "clock"),
        ("jar pitcher", "vase, bottle"),
        ("bag purse", "handbag, backpack"),
        ("ball football soccer basketball baseball", "sports ball"),
        ("plant bush cactus", "potted plant, tree"),
        ("rose sunflower tulip daisy", "flower"),
        ("building castle barn church tower cabin", "house"),
        ("cap helmet", "hat"),
        ("violin piano trumpet", "guitar, drum"),
        ("present box parcel", "gift"),
        ("lamp lantern", "sun, bell"),
        ("stairs", "ladder"),
        ("magazine notebook newspaper", "book"),
        ("hydrant", "stop sign, traffic light"),
        ("meter", "clock, traffic light"),
        ("ski skis snowboard surfboard", "skateboard"),
        ("bat glove racket", "sports ball"),
        ("remote", "cell phone, keyboard"),
        ("microwave oven toaster", "tv, laptop"),
        ("refrigerator fridge", "suitcase"),
        ("sink bathtub", "toilet, bowl"),
        ("drier dryer", "toothbrush, scissors"),
        ("cloud rain", "umbrella, sun"),
        ("mountain hill forest", "tree, house"),
        ("skyscraper tower", "house"),
    )
    for word in words.split()
}
