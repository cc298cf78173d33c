"""Closed word lists of the grammar. No list names a relation plugin: those bring their own phrases."""

from __future__ import annotations

from importlib import resources

from spatialguide_parsers.english.numerals import NUMERALS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _lines(text: str) -> frozenset[str]:
    return frozenset(line.strip() for line in text.split(",") if line.strip())


def _file(name: str) -> frozenset[str]:
    """Lines of a word list; those that begin with # say where it comes from."""
    lines = (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return _lines(" ".join(line.rstrip(",") + "," for line in lines if not line.startswith("#")))


NUMBERS = NUMERALS | {"half a dozen", "half dozen"}

INDEFINITE = _words("a an another")
DETERMINERS = INDEFINITE | _words(
    """the this that these those some any every each several many few no my your his her its their our various multiple
    numerous lots all"""
)
SINGULAR_DETERMINERS = INDEFINITE | _words("every each this")
FRESH = _words("a an another some several many few various multiple numerous")
FRESH_ADJECTIVES = _words("other second third different")
UNCOUNTED = _words("some several many few any all these those various multiple numerous lots")
ONES = _words("one ones")
NEGATIONS = _words("no without")

PRONOUNS = _words("it they he she them him her itself themselves")
PLURAL_PRONOUNS = _words("both they them their themselves")
MALE_PRONOUNS = _words("he him his")
FEMALE_PRONOUNS = _words("she her")
MALE = _words(
    """man boy guy gentleman king prince father grandfather son brother husband cowboy policeman businessman wizard nephew
    uncle groom monk waiter grandpa dad hero"""
)
FEMALE = _words(
    """woman girl lady queen princess mother grandmother daughter sister wife witch niece aunt bride nun waitress ballerina
    heroine grandma mom mum mermaid bridesmaid"""
)
PERSON_ENDINGS = ("er", "or", "ist", "man", "woman", "girl", "boy", "lady", "smith", "ian", "ess", "eer", "ant", "ard")
NO_PERSONS = _words(
    """snowman pitcher interior exterior corridor mirror color colour tower flower river water paper computer printer cooker
    heater ladder counter corner feather leather letter number poster shower silver summer winter timber rubber lever
    slipper dresser locker roller boiler toaster mixer container cover trailer helicopter sweater skyscraper saucer
    lantern door floor motor tractor elevator escalator razor harbor harbour armor meter parameter burger hamburger butter
    cucumber pepper ginger boulder shoulder finger tiger panther badger hamster lobster otter oyster spider rooster beaver
    plant elephant restaurant pendant giant croissant cormorant leopard lizard buzzard mustard card yard board leotard
    dress fortress mattress cypress goddess compass glass bass fan pan can anchor sculptor reactor projector monitor
    detector conveyor theater theatre checker cooler freezer blender strainer grater scooter roadster cruiser speaker
    amplifier planter easter rafter shutter gutter stapler ruler marker binder folder transformer steamer streamer banner
    beer pier chandelier glacier newspaper wallpaper watchtower"""
)
BYSTANDERS = _words(
    """i me we us you i'm i'd there's what who something anything nothing everything everyone someone somebody anyone
    anybody everybody"""
)
RECIPROCALS = frozenset({("each", "other"), ("one", "another")})

# What may follow a phrase of place that is complete.
JOINTS = _words("and or but there in on with above below near next by under of behind beside instead too also now")
INTERJECTIONS = _words("please ok okay hi hello hey thanks pls plz oh um uh")
RELATIVES = _words("which that who whom whose")
BE = _words("is are was were be been being am can could will would should may might must")
HAVE = _words("has have had having")
MEALS = _words("tea lunch dinner breakfast brunch supper coffee fun drinks snack picnic conversation")
# Verbs that say how a thing is at its place. Many of their forms are nouns too: the neighbours decide.
_RESTING = """sit lie hang float fly rest stand lean perch wait walk run jump sleep hover grow crouch kneel squat hide peek peer
    loom tower rise soar swim glide drift sail roll spin dance play sing graze nap doze snooze snore sprawl slouch lounge
    curl coil nest nestle huddle gather cluster climb crawl creep dangle swing sway flutter flap burn glow shine gleam
    glimmer glitter sparkle flicker smoke simmer bubble melt drip spill pour fall tumble drop land dive plunge sink emerge
    appear stretch wind drape spread scatter lurk prowl stalk roam wander stroll march trot gallop leap hop skip bounce
    skate ski surf paddle stare gaze smile grin laugh cry weep yawn bark growl snarl roar howl hiss whistle purr bloom
    blossom sprout work live dwell bob circle whirl twirl lunge topple teeter balance tilt bask wade soak shelter churn
    swirl billow trail bend arch study rumble travel speed race cruise park dock move stop pass eat drink read fish cook
    watch look shimmer steam squeeze tuck roost squawk chirp croak buzz hum flow rush cascade ripple glisten loll
    slumber repose recline doze snuggle cuddle tower loiter linger hobble limp stagger stumble shuffle tiptoe jog sprint dash
    dart scurry scamper slither waddle strut parade pose shiver tremble blink wink frown chat gossip argue wrestle duel
    pray meditate dream snort moo bleat neigh chirrup hoot squeal tick chime rot rust decay crumble topple wilt wither blow
    erupt explode crash collide spiral twist curve bulge protrude jut sag droop slump settle assemble mingle congregate
    strike"""
_PAST = """sat lain lying hung flew flown stood lay laid slept grew grown hid hidden risen swam sang crept swung shone fell
    fallen sank leapt knelt wept perched seated parked placed positioned situated located stacked balanced"""


def _third_person(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")


def _present_participles(verb: str) -> tuple[str, ...]:
    if verb.endswith("ie"):
        return (verb[:-2] + "ying",)
    return (verb.removesuffix("e") + "ing", verb + verb[-1] + "ing")


def _past(verb: str) -> tuple[str, ...]:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return (verb[:-1] + "ied",)
    return (verb.removesuffix("e") + "ed", verb + verb[-1] + "ed")


RESTS = frozenset(_third_person(verb) for verb in _RESTING.split())
REST = _words(_RESTING)
# Verbs that say no more than that a thing is somewhere: what is denied of them is denied of the place.
PLACING = _words("sit sits sitting seated stand stands standing lie lies lying hang hangs hanging rest rests resting") | _words(
    "be placed located positioned situated found seen put set kept shown"
)
# Verbs whose object a phrase of place is about, not their subject.
PLACING_OBJECTS = _words(" ".join(_file("placing_verbs")))
# With these a "not" does not deny: "not only above a dog", "not far above a dog".
LIMITING = _words("only just merely simply far")
# Forms that are verbs wherever they follow a noun.
POSTURES = (
    _words(_PAST)
    | _words(
        """sit lie hang lean kneel crouch squat hover loom soar glide graze lurk prowl emerge appear peek peer snooze huddle"""
    )
    | frozenset(form for verb in _RESTING.split() for form in _present_participles(verb))
    | _words("sits lies hangs stands floats flies rests lays hovers perches sleeps")
)
FACING = _words("face faces facing faced")
LOOKING = _words("look looks looking looked turn turns turning turned face faces facing faced point points pointing")
DIRECTIONS = LOOKING | _words("lean leans leaning heads heading moving moves tilted tilting glancing staring gazing")

WANTED = _words("do like want love see need")
# After these, "from above" and the like are about the camera.
FILMED = _words(
    """seen shot viewed photographed taken looking filmed captured rendered observed watched view shown pictured look"""
)
VIEWPOINTS = _words("above below")

IMPERATIVES = _words(
    """draw paint put place add show make create generate render include position set imagine depict sketch picture visualize
    give"""
)

CLAUSE_WORDS = _words("while whereas where when as because so then with but")
QUIET_PREPOSITIONS = _words(
    "before after at from for into to off out up down past during about like than via per except despite till until"
)
RELATION_ADVERBS = _words(
    """directly just immediately slightly exactly right straight far high well closely somewhere located both all positioned
    placed situated clearly partly partially mostly entirely half completely almost halfway deep off smack bang squarely"""
)

# Nouns that stand for what follows their "of": groups are plural, portions single.
GROUPS = _words(
    """dozen hundred thousand plenty bunch group row lot lots herd flock pack crowd cluster number set series handful line
    collection array"""
)
PAIRS = {"pair": 2, "couple": 2, "duo": 2, "trio": 3, "threesome": 3, "quartet": 4, "quintet": 5}
COLLECTIVES = _words("couple pair duo trio family crowd group team band flock herd people audience choir quartet")
PORTIONS = _words("piece slice kind type sort bit")

NAMED_BY_PLURAL = _words(
    """scissors skis glasses sunglasses eyeglasses jeans pants trousers shorts binoculars headphones earphones goggles tongs
    pliers pajamas pyjamas tweezers leggings tights overalls shears stairs clothes"""
)

SINGULAR_IN_S = NAMED_BY_PLURAL | _words("lens news species series canvas atlas christmas chaos cosmos sports goods")

COLOURS = _words(
    """red orange yellow green blue purple violet pink brown black white gray grey beige turquoise teal cyan magenta maroon
    navy crimson scarlet indigo tan ivory gold silver bronze golden lavender mint cream multicolored colorful"""
)
# Colours of clothes, and things in other places: "in lilac".
CLOTH_COLOURS = COLOURS | _words(
    """lilac mauve khaki charcoal burgundy fuchsia peach azure amber taupe plum olive coral rust mustard aqua ochre sepia
    magnolia cobalt emerald ruby sapphire champagne lime tartan camouflage"""
)
COLOUR_NAMES = frozenset(
    f"{shade} {colour}"
    for shade in _words(
        """emerald ruby sapphire jet navy royal sky baby forest lime olive mint sea neon hot pale light dark deep bright blood
    fire cherry rose lemon mustard canary burnt chocolate coffee snow pearl ivory slate steel midnight powder ice dusty
    pastel electric cobalt turquoise wine brick rust apple bottle jade moss army hunter pea off charcoal"""
    )
    for colour in _words("red orange yellow green blue purple violet pink brown black white grey gray")
)
MATERIALS = _words(
    """gold silver bronze copper brass iron steel metal wood glass plastic leather stone brick marble concrete ceramic
    porcelain clay cotton silk velvet wool denim straw bamboo wicker cardboard crystal diamond jade rubber granite enamel
    chrome tin pewter platinum aluminum aluminium titanium paper rattan linen satin lace felt fur terracotta tweed canvas
    plaid flannel oak pine walnut mahogany teak cedar birch ebony driftwood obsidian onyx amber quartz limestone sandstone
    slate adobe stained-glass wrought-iron cast-iron"""
)

# Names whose parts the tagger may take for adjectives, verbs or participles.
COMPOUNDS = _file("compounds")

# Words that the dictionary has as nouns, and that describe the noun after them.
DESCRIBING = (
    COLOURS
    | MATERIALS
    | _words(
        """stray cozy cosy rundown fat crescent rubber steampunk cyberpunk leftover ginger acrylic travertine giant round square
    oval vintage derelict antique miniature ornate plum retro modern classic deluxe novelty mini maxi mega jumbo rogue
    veteran teen teenage adult infant juvenile elder senior junior female male human alien native indigenous medieval
    victorian gothic baroque rustic tribal exotic plush premium luxury"""
    )
)
QUALITIES = _words("cozy cosy antique retro modern vintage ornate rustic exotic gothic medieval miniature plush")
# Nouns in -ing that a verb has too; before another noun they are part of its name.
NOUNS_IN_ING = _words(
    """building wedding evening ceiling painting string ring king wing spring clothing lightning railing awning pudding icing
    dumpling earring viking darling duckling sibling sterling stocking landing dressing frosting filling topping
    engineering writing drawing morning meeting plumbing bedding lining siding roofing flooring thing swing sling fling
    wellington"""
)

MEDIA = _words(
    """photo photograph picture image painting drawing sketch illustration render rendering portrait close-up closeup
    snapshot shot view scene artwork depiction poster print watercolor watercolour cartoon mosaic mural collage engraving
    screenshot footage still art polaroid woodcut woodblock lithograph etching fresco doodle selfie photography storyboard
    diorama logo icon sticker badge emblem vignette sprite tapestry panel frieze cover infographic mockup advert advertisement
    snap"""
)
DEPICTING = _words("showing depicting depicts illustrating portraying")
SHOWING = _words(
    """where of showing depicting featuring with containing shows depicts features contains showcases showcasing captures
    capturing presents presenting portrays displays displaying illustrates highlights"""
)

SIDES = _words("left right top bottom front back center centre middle side corner edge foreground background rear")
STYLE = _words(
    """western documentary architecture editorial artstation 4k 8k 2k 16k hd uhd hdr octane unreal masterpiece lighting bokeh
    quality resolution render rendering style photography photorealism photorealistic hyperrealistic realism aesthetic cgi
    wallpaper detail details focus texture textures art artwork illustration composition palette colors colours color
    colour tones vibe mood atmosphere dslr lens 35mm 50mm 85mm raytracing ambiance contrast saturation grain deviantart
    pinterest behance pixiv cinema4d anime vector isometric minimalism perspective angle exposure definition backdrop
    design trending watercolor watercolour cinematic sunlight moonlight starlight daylight shadows shadow reflections hour
    season day night morning evening afternoon noon dawn dusk midnight weather winter summer autumn horror noir macro vhs
    layout academia futurism americana prompt vibes screencap shading impasto chiaroscuro baroque rococo lofi storybook
    romanticism tenebrism bloom glow halation concept matte shot niji award winner fantasy steampunk cyberpunk photoreal
    ambience softbox backlight silhouette results ink halftone gouache gothic glitch cg knolling scenery kodak portra
    brushstroke brushstrokes hyper upscaled solo panorama timelapse tilt-shift graphic graphics stylized stylised aspect
    background foreground clarity symmetry imagery storytelling vignette pastel monochrome greyscale grayscale sepia
    surrealism impressionism cubism clipart pixels pixel 3d 2d 1080p 720p"""
)
STYLE_NAMES = _lines(
    """unreal engine, depth of field, rule of thirds, golden hour, octane render, ray tracing, film still, low poly, concept
    art, digital art, pixel art, line art, oil on canvas, still life, soft light, warm light, natural light, tilt shift,
    film noir, loading screen, art nouveau, art deco, cel shading, pop art, film grain, album cover, book cover, comic
    cover, cover art, matte painting, key art, character sheet, soft focus, wide angle, fish eye, ambient light, dim
    light, bright light, studio light, neon light, golden light, morning light, evening light"""
)
# Never a thing, with an article or without: "on a plain white background".
NEVER_DRAWN = _words(
    """background backdrop foreground lighting bokeh quality resolution style aesthetic mood atmosphere vibe composition
    perspective focus artstation photography photorealism realism cgi hdr unreal octane symmetry ambience exposure aspect
    morning evening night day afternoon noon dusk dawn midnight weather season hour scene artwork depiction"""
)
ABSTRACT = _file("abstract")
# What is said "of" a thing is said of the thing: "the design of the tower looms over the city".
ASPECTS = SIDES | _words("design shape silhouette form outline presence sight bulk mass majesty beauty essence likeness")
UNDRAWN = SIDES | _words(
    """average love time sale purpose pressure construction zero budget duty fun demand hold trial schedule account behalf
    arrival strike control motion progress action turn someone somebody other others way ways thing things years months
    weeks days hours minutes degrees percent half order total stress tour instagram twitter tiktok facebook youtube radar
    drugs credit parole probation twenties thirties forties fifties sixties seventies eighties joy exam exams sorrow anger
    grief delight glee awe fear surprise business sea-level unknown mistake accident default law sight mind idea moment
    peace war harmony addition fact direction charge"""
)
# Nothing to draw only without an article: "above average", "over the moon" but "a fire".
UNDRAWN_BARE = _words(
    """fire foot board hand light water top nature stage vacation land sea air guard film paper battle combat sleep work"""
)

# With a number after them, and no thing, these say how much.
QUANTITIES = _words("over under above below around")

# Verbs whose particle only looks like a place: "watching over a flock", "chewing on a bone".
PHRASAL = frozenset(
    (form, particle)
    for line in _file("phrasal_verbs")
    for particle, *verbs in [line.split()]
    for verb in verbs
    for form in (verb, _third_person(verb), *_present_participles(verb), *_past(verb))
)
# Verbs of going: one thing that goes "around" another does not surround it.
_GOING = "come go fly walk drive chase follow ride race wander stroll march jog cycle sail travel pace sprint"
GOING = frozenset(
    form
    for verb in [
        "come",
        "go",
        "fly",
        "walk",
        "drive",
        "chase",
        "follow",
        "ride",
        "race",
        "wander",
        "stroll",
        "march",
        "jog",
        "cycle",
        "sail",
        "travel",
        "pace",
        "sprint",
    ]
    for form in (_third_person(verb), *_present_participles(verb), *_past(verb))
) | _words("came went flew drove rode ran runs")

# Fixed turns that hold a word of place; "one's" stands for every owner.
_OWNERS = ("his", "her", "its", "their", "my", "your")
IDIOMS = frozenset(turn.replace("one's", owner) for turn in _file("idioms") for owner in _OWNERS)
# What follows one of these takes back what was said: "a cat left of a dog. no wait, right of the dog".
CORRECTIONS = _lines(
    """no, no wait, wait no, wait, wait wait, hold on, scratch that, strike that, forget that, undo that, sorry, oops, whoops,
    i meant, i mean, sorry i meant, sorry i mean, i meant to say, no sorry, actually, actually no, well actually, make that,
    rather, or rather, or better, better, on second thought, on second thoughts, hmm, hmm no, hm, hm no, um no, uh no, er,
    nope, no no, correction, swap that, swap them, swap those, switch that, switch them, flip that, reverse that, change that,
    the other way round, the other way around, other way round, other way around, i'd rather have, i would rather have,
    no actually, my mistake, my bad, never mind, not quite, i take that back, that's wrong, that is wrong"""
)
LIT = _words("lit led driven worn held drawn ridden built made woven thrown")
AUTHORS = _words("photographer artist painter illustrator author designer director studio master")
CAMERA = _words(
    """shot captured filmed taken photographed printed rendered made created drawn painted done sketched modeled modelled"""
)
# After these comes the name of an artist or a school.
STYLED = frozenset({"in the style of", "in style of", "in the manner of"})
# With these right after it, without an article, a phrase of place is an idiom: "above average grades".
IDIOMATIC = _words("average all zero freezing fire time purpose sale vacation board display duty demand standby top-notch")

PLACES = _words(
    """park street road field room kitchen garden forest beach city town sky ocean sea desert meadow yard backyard living
    bedroom bathroom office studio stage jungle mountain mountains landscape countryside village space snow grass ground
    floor lawn restaurant cafe museum library station background distance world sunset sunrise rain classroom hallway farm
    zoo market square plaza savanna woods wall"""
)
# Phrases that say where a scene plays as often as where a thing is: no reason to refuse a prompt.
LOOSE = _lines(
    """in, within, through, along, against, across, outside, outside of, toward, towards, onto, upon, among, amid, amidst,
    beyond, from left to right, left to right"""
)

# What "in" puts a thing inside of; of anything else it may say the setting, the clothes or the state.
CONTAINERS = _words(
    """saucepan satchel briefcase rucksack trailer fireplace tunnel dishwasher knapsack pouch holdall hopper silo pigsty
    aviary ark bassinet bathroom-sink cauldron chalice colander cooker dustbin gourd grater hearth incinerator jacuzzi
    lunchbag minivan mousetrap pigpen pillowcase playpen pram punnet ramekin receptacle sachet sedan skip sleigh spacesuit
    spoon stein stove tepee thimble tipi toolbox trapdoor tupperware typewriter wheelbarrow woodshed bank cart oyster case
    boot shoe slipper river swamp barn toaster dumpster matchbox rowboat kayak seashell locket trench wheelchair machine
    aquarium ashtray blender mixer juicer backpack bag barrel basin basket bathtub beaker bin birdcage birdhouse boat
    booth bottle bowl box breadbasket bucket bus cabin cabinet cage can canister canoe capsule car carafe carriage carton
    cask casserole cave chamber chest churn closet cockpit coffin compartment container coop cooler crate cradle crib cup
    cupboard decanter den dish drawer dresser elevator envelope fishbowl fishtank flask flowerpot folder fountain freezer
    fridge garage glass globe goblet gondola greenhouse grotto hamper hammock handbag hangar helicopter hive hole hatbox
    hollow holster hut icebox igloo incubator jar jug kennel kettle kiln ladle lantern locker lunchbox mailbox manger
    microwave mitten mug nest net oven pail pan parcel pen pit pitcher planter plane pocket pod pond pool pot puddle purse
    quiver refrigerator ring sack saddlebag safe sandbox sandpit sarcophagus sauna scabbard shed sheath shell shoebox sink
    skillet sled sock spacecraft spaceship stable stall stocking strainer stroller submarine suitcase tank tankard taxi
    teacup teapot tent terrarium thermos tin tote train tray trashcan treehouse tree trough truck trunk tub tube tureen
    tumbler urn van vase vat vault vial vivarium wagon wallet wardrobe washbasin wastebasket well window wok wreath yurt
    bed stump log bush jail cell coconut pumpkin cocoon web trap holder doghouse dollhouse henhouse hutch burrow snowdrift
    bubble"""
)
MIDDLES = _words("center centre middle heart midst core")
# What has a middle to be in, beside containers: "in the middle of a lake", but not "of an argument".
AREAS = _words(
    """lake sea ocean bay lagoon marsh island field meadow lawn garden park yard backyard courtyard forest wood woods jungle
    desert savanna plain valley plaza square circle roundabout crossroads intersection junction street road highway path lane
    bridge runway city town village market harbor harbour room hall kitchen bathroom bedroom office studio classroom library
    museum restaurant cafe stage arena stadium court pitch rink track playground beach plate platter table desk counter board
    chessboard checkerboard shelf rug carpet mat blanket quilt towel bench couch sofa floor wall ceiling door page canvas
    napkin tablecloth pizza cake pie spiral maze labyrinth target dartboard campfire raft dock pier airfield farm zoo"""
)
PARTS = _words(
    """hat cap beard mustache moustache hair eye eyes ear ears nose mouth face tail leg legs arm arms hand hands wing wings
    fur feather feathers horn horns stripe stripes spot spots collar scarf glasses sunglasses dress shirt t-shirt jacket
    coat suit tie pants jeans skirt shoe shoes boot boots helmet glove gloves backpack necklace crown mask uniform apron
    sweater hoodie ring handle handles wheel wheels lid label door doors window windows roof smile mane beak paw paws
    teeth tooth hood pattern logo bow ribbon cape robe vest slipper slippers sleeve sleeves button buttons waistcoat
    cardigan jumper pullover blouse gown kimono sari toga tunic kilt poncho raincoat overcoat trenchcoat anorak parka blazer
    tuxedo dungarees overalls pyjamas pajamas nightgown swimsuit bikini wetsuit armour armor costume outfit wellies wellington
    sandals sneakers heels stockings socks bonnet beret turban hijab headscarf veil tiara headdress fedora visor earring
    earrings bracelet pendant watch pocket-watch brooch belt braid braids ponytail pigtails freckles tattoo tattoos"""
)
# Parts of a body, and what is worn: with an owner beside them they are the owner's, and no ground of what follows.
BODY = _words(
    """hat hair head neck shoulder shoulders back lap knee knees hand hands arm arms wrist finger fingers face nose chest
    belly tail leg legs foot feet ear ears eye eyes mouth beak paw paws wing wings waist forehead ankle horn horns mane"""
)
FIXTURES = _words(
    """door doors window windows wheel wheels roof lid label handle handles mask crown helmet backpack bow ribbon"""
)
WORN = (PARTS | BODY) - FIXTURES
PEOPLE = _words(
    """man woman boy girl person child kid lady guy people baby toddler teenager teen youth adult elder senior infant human
    alien astronaut chef cook baker barista waiter waitress bartender butler maid cleaner doctor nurse surgeon dentist vet
    farmer shepherd gardener fisherman sailor captain pirate soldier guard knight samurai ninja warrior archer king queen
    prince princess duke duchess emperor wizard witch sorcerer sorceress fairy mermaid elf dwarf goblin orc vampire zombie
    ghost clown dancer ballerina singer guitarist pianist violinist drummer musician busker player referee athlete runner
    skier surfer skateboarder skater rider cyclist jogger boxer wrestler swimmer diver climber hiker camper tourist
    traveler traveller student teacher professor scientist librarian clerk worker builder plumber electrician mechanic
    blacksmith carpenter painter sculptor photographer artist writer author poet reader policeman policewoman cop
    firefighter cowboy hunter spy detective thief judge lawyer priest nun monk bride groom bridesmaid mother father sister
    brother daughter son aunt uncle grandmother grandfather grandma grandpa mum mom dad wife husband friend neighbor
    neighbour twin couple gentleman businessman businesswoman merchant vendor customer shopper passenger driver pilot
    magician juggler acrobat model bachelor widow scholar lumberjack seamstress tailor barber stylist ranger beekeeper
    miner engineer"""
)
