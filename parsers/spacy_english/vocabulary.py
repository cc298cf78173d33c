"""Closed word lists of the grammar. No list names a relation plugin: those bring their own phrases."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _lines(text: str) -> frozenset[str]:
    return frozenset(line.strip() for line in text.split(",") if line.strip())


_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBERS = {word: number for number, word in enumerate(_COUNTED, start=1)} | {"single": 1, "dozen": 12, "both": 2}

INDEFINITE = _words("a an another")
DETERMINERS = INDEFINITE | _words(
    "the this that these those some any every each several many few no my your his her its their our various multiple"
    " numerous lots all"
)
FRESH = _words("a an another some several many few various multiple numerous")
FRESH_ADJECTIVES = _words("other second third different")
UNCOUNTED = _words("some several many few any all these those various multiple numerous lots")
NEGATIONS = _words("no without")

PRONOUNS = _words("it they he she them him her itself themselves")
PLURAL_PRONOUNS = _words("they them their themselves")
MALE_PRONOUNS = _words("he him his")
FEMALE_PRONOUNS = _words("she her")
MALE = _words("man boy guy gentleman king prince father grandfather son brother husband cowboy policeman businessman wizard")
FEMALE = _words("woman girl lady queen princess mother grandmother daughter sister wife witch")
BYSTANDERS = _words("i me we us you i'm i'd there's what who whom something anything nothing everything everyone")
RECIPROCALS = frozenset({("each", "other"), ("one", "another")})

RELATIVES = _words("which that who whose")
BE = _words("is are was were be been being am isn't aren't can could will would should may might must")
HAVE = _words("has have had having")
POSTURES = _words(
    """sit lie hang float sits stands lies hangs floats flies rests lays sat stood lay hung floated flew rested sitting
    standing lying hanging floating flying resting perched seated parked placed positioned situated located stacked
    balanced leaning walking running jumping sleeping hovers hovering perches perching waits waiting grows growing"""
)
LOOKING = _words("look looks looking looked turn turns turning turned face faces facing faced point points pointing")
DIRECTIONS = LOOKING | _words("lean leans leaning heads heading moving moves tilted tilting glancing staring gazing")

IMPERATIVES = _words("draw paint put place add show make create generate render include position set imagine depict sketch")

CLAUSE_WORDS = _words("while whereas where when as because so then with but")
QUIET_PREPOSITIONS = _words("at from for into off out up down past during about like than via per except despite till until")
RELATION_ADVERBS = _words(
    "directly just immediately slightly exactly right straight far way high well closely somewhere located both all"
    " positioned placed situated clearly partly partially mostly entirely"
)

# Nouns that stand for what follows their "of": groups are plural, portions single.
GROUPS = _words("bunch group row lot lots herd flock pack crowd cluster number set series handful line collection array")
PAIRS = _words("pair couple")
PORTIONS = _words("piece slice kind type sort bit")

NAMED_BY_PLURAL = _words(
    "scissors skis glasses sunglasses eyeglasses jeans pants trousers shorts binoculars headphones earphones goggles"
    " tongs pliers pajamas pyjamas tweezers leggings tights overalls shears stairs clothes"
)

SINGULAR_IN_S = NAMED_BY_PLURAL | _words("lens news species series canvas atlas christmas chaos cosmos sports goods")

COLOURS = _words(
    "red orange yellow green blue purple violet pink brown black white gray grey beige turquoise teal cyan magenta"
    " maroon navy crimson scarlet indigo tan ivory gold silver bronze golden lavender mint cream multicolored colorful"
)
MATERIALS = _words(
    "gold silver bronze copper brass iron steel metal wood glass plastic leather stone brick marble concrete ceramic"
    " porcelain clay cotton silk velvet wool denim straw bamboo wicker cardboard crystal diamond jade rubber granite"
)

# Names whose parts the tagger may take for adjectives, verbs or participles.
COMPOUNDS = _lines(
    """fire hydrant, stop sign, parking meter, hot dog, teddy bear, potted plant, dining table, cell phone,
    hair drier, hair dryer, wine glass, baseball bat, baseball glove, tennis racket, sports ball, traffic light,
    rocking chair, rocking horse, top hat, polar bear, grizzly bear, hot air balloon, washing machine,
    sewing machine, vending machine, swimming pool, sleeping bag, frying pan, shopping cart, shopping bag,
    cutting board, chopping board, ironing board, walking stick, racing car, running shoe, training shoe,
    shooting star, guinea pig, golden retriever, german shepherd, great dane, ice cream, ice cream cone,
    french fry, birthday cake, rubber duck, street light, street lamp, light bulb, light switch, fishing rod,
    fishing boat, sailing boat, steering wheel, measuring cup, watering can, mixing bowl, playing card,
    wedding dress, wedding cake, coffee table, coffee cup, coffee mug, bird cage, remote control, mobile phone,
    smart phone, solar panel, electric guitar, grand piano, picture frame, exercise bike, space shuttle,
    wind turbine, stuffed animal, christmas tree, palm tree, pine tree, sea lion, killer whale, red panda,
    giant panda, police car, fire truck, fire engine, filing cabinet, dressing table, snow globe, beach ball,
    pocket watch, tea cup"""
)

MEDIA = _words(
    "photo photograph picture image painting drawing sketch illustration render rendering portrait close-up closeup"
    " snapshot shot view scene artwork depiction poster print watercolor watercolour cartoon mosaic closeup mural"
    " collage engraving screenshot footage still art"
)
SHOWING = _words("where of showing depicting featuring with containing shows depicts features contains")

SIDES = _words("left right top bottom front back center centre middle side corner edge foreground background rear")
STYLE = _words(
    """artstation 4k 8k 2k 16k hd uhd hdr octane unreal masterpiece lighting bokeh quality resolution render
    rendering style photography photorealism photorealistic hyperrealistic realism aesthetic cgi wallpaper
    detail details focus texture textures art artwork illustration composition palette colors colours color
    colour tones vibe mood atmosphere dslr lens 35mm 50mm 85mm raytracing ambiance contrast saturation grain
    deviantart pinterest behance pixiv cinema4d anime vector isometric minimalism perspective angle exposure
    definition backdrop design trending watercolor watercolour cinematic sunlight moonlight starlight daylight
    shadows shadow reflections hour season day night morning evening afternoon noon dawn dusk midnight weather
    winter summer autumn background foreground clarity symmetry imagery storytelling vignette pastel monochrome
    greyscale grayscale sepia surrealism impressionism cubism clipart pixels pixel 3d 2d 1080p 720p"""
)
STYLE_NAMES = _lines(
    """unreal engine, depth of field, rule of thirds, golden hour, octane render, ray tracing, film still, low poly,
    concept art, digital art, pixel art, line art, oil on canvas, still life, soft light, warm light, natural light,
    ambient light, dim light, bright light, studio light, neon light, golden light, morning light, evening light"""
)
UNDRAWN = (
    STYLE
    | SIDES
    | _words(
        """average love time sale purpose pressure construction zero budget duty fun demand hold trial schedule account
    behalf arrival strike control motion progress action general particular someone somebody one ones other
    others way ways thing things years months weeks days hours minutes degrees percent half order total
    sea-level photographer painter artist artists unknown mistake accident default law sight mind idea moment
    peace war harmony addition fact case direction charge"""
    )
)
# Nothing to draw only without an article: "above average", "over the moon" but "a fire".
UNDRAWN_BARE = _words("fire foot board hand light moon water top nature stage vacation land sea air guard film paper")

# With these right after it, without an article, a phrase of place is an idiom: "above average grades", "on fire".
IDIOMS = _words("average all zero freezing fire time purpose sale vacation board display duty demand standby top-notch")

PLACES = _words(
    "park street road field room kitchen garden forest beach city town sky ocean sea desert meadow yard backyard living"
    " bedroom bathroom office studio stage jungle mountain mountains landscape countryside village space snow grass"
    " ground floor lawn restaurant cafe museum library station background distance world sunset sunrise rain"
    " classroom hallway farm zoo market square plaza savanna woods wall"
)
PARTS = _words(
    """hat cap beard mustache moustache hair eye eyes ear ears nose mouth face tail leg legs arm arms hand hands wing
    wings fur feather feathers horn horns stripe stripes spot spots collar scarf glasses sunglasses dress shirt t-shirt
    jacket coat suit tie pants jeans skirt shoe shoes boot boots helmet glove gloves backpack necklace crown mask
    uniform apron sweater hoodie ring handle handles wheel wheels lid label door doors window windows roof smile
    mane beak paw paws teeth tooth hood pattern logo bow ribbon cape robe vest sleeve sleeves button buttons"""
)
PEOPLE = _words(
    """man woman boy girl person child kid lady guy people baby toddler astronaut chef doctor nurse farmer soldier
    guitarist musician player teacher student worker knight king queen prince princess wizard witch clown dancer
    pirate ninja policeman firefighter cowboy skier surfer skateboarder rider cyclist grandmother grandfather mother
    father couple gentleman businessman robot"""
)
