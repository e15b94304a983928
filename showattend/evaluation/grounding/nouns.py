"""Which words of a caption name which object category.

The table lists the nouns that people use for each of COCO's 80 categories: synonyms, narrower words
(puppy for dog), and a few wider ones that several categories share (bike, vehicle). Plurals are
derived. Words that usually mean something else (light, sign, glass, seat, baseball the game) and
general collectives (group, pair, herd) are left out. A category that is not in the table is
matched by its own name and its plural.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Nouns are separated by commas and may contain spaces. The category's own name is implied.
_NOUNS = {
    "person": "man, woman, child, boy, girl, guy, lady, gentleman, male, female, adult, kid, baby,"
    "toddler, infant, teen, teenager, youth, youngster, mother, father, mom, dad, parent, son,"
    "daughter, brother, sister, wife, husband, friend, bride, groom, someone, human, player,"
    "skier, snowboarder, surfer, skateboarder, skater, biker, cyclist, bicyclist, motorcyclist,"
    "rider, jockey, swimmer, runner, jogger, hiker, climber, dancer, singer, musician,"
    "guitarist, drummer, performer, artist, actor, athlete, batter, pitcher, catcher,"
    "umpire, referee, goalie, coach, fan, spectator, pedestrian, passenger, driver, pilot,"
    "worker, chef, cook, waiter, waitress, officer, policeman, policewoman, fireman,"
    "firefighter, soldier, guard, cowboy, farmer, fisherman, vendor, customer, shopper, student,"
    "teacher, doctor, nurse, tourist, traveler, businessman, businesswoman, photographer, clown,"
    "boarder, snow boarder, skate boarder, wrestler, boxer, golfer, crowd, audience, family, team",
    "bicycle": "bike, cycle, tricycle",
    "car": "automobile, sedan, taxi, cab, suv, jeep, van, minivan, convertible, vehicle, limousine",
    "motorcycle": "motorbike, motor bike, motor cycle, moped, scooter, dirt bike, bike, vehicle",
    "airplane": "plane, aeroplane, aircraft, jet, airliner, jetliner, biplane, jumbo jet",
    "bus": "minibus, school bus, double decker, vehicle",
    "train": "locomotive, tram, trolley, streetcar, subway, monorail",
    "truck": "lorry, pickup, pickup truck, van, vehicle, trailer",
    "boat": "ship, canoe, kayak, sailboat, rowboat, motorboat, speedboat, yacht, raft, ferry,"
    "vessel, dinghy, gondola",
    "traffic light": "stoplight, stop light, traffic signal, street light",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "meter",
    "bench": "park bench",
    "bird": "seagull, gull, duck, goose, swan, pigeon, dove, parrot, owl, eagle, hawk, penguin,"
    "peacock, sparrow, crow, egret, heron, flamingo, pelican, ostrich, rooster, hen, duckling,"
    "parakeet, hummingbird, animal",
    "cat": "kitten, kitty, tabby, animal",
    "dog": "puppy, pup, doggy, doggie, hound, greyhound, poodle, terrier, retriever, labrador, lab,"
    "bulldog, collie, dalmatian, dachshund, chihuahua, pug, husky, beagle, rottweiler, pit bull,"
    "german shepherd, dane, spaniel, animal",
    "horse": "pony, foal, colt, stallion, mare, animal",
    "sheep": "lamb, ram, ewe, animal",
    "cow": "calf, bull, ox, steer, cattle, livestock, animal",
    "elephant": "animal",
    "bear": "polar bear, grizzly, grizzly bear, brown bear, black bear, cub, bear cub, animal",
    "zebra": "animal",
    "giraffe": "animal",
    "backpack": "back pack, rucksack, knapsack, bag, luggage",
    "umbrella": "parasol",
    "handbag": "hand bag, purse, bag, luggage",
    "tie": "necktie, neck tie, bow tie, bowtie",
    "suitcase": "luggage, baggage, suit case, briefcase, bag",
    "frisbee": "disc, disk, frizbee, frisbe",
    "skis": "ski, skiis",
    "snowboard": "snow board, board",
    "sports ball": "ball, tennis ball, soccer ball, soccerball, beach ball",
    "kite": "parasail, para sail",
    "baseball bat": "bat",
    "baseball glove": "glove, mitt, baseball mitt, catcher mitt",
    "skateboard": "skate board, board",
    "surfboard": "surf board, boogie board, bodyboard, paddleboard, board",
    "tennis racket": "racket, racquet, tennis racquet, raquet",
    "bottle": "wine bottle, beer bottle, water bottle",
    "wine glass": "wineglass, glass of wine, champagne glass",
    "cup": "mug, coffee cup, teacup, tea cup, coffee mug",
    "fork": "utensil, silverware, cutlery",
    "knife": "utensil, silverware, cutlery, butter knife",
    "spoon": "utensil, silverware, cutlery, ladle",
    "bowl": "",
    "banana": "fruit",
    "apple": "fruit",
    "sandwich": "burger, hamburger, cheeseburger, sub, panini, sandwhich",
    "orange": "tangerine, mandarin, clementine, fruit",
    "broccoli": "brocolli, broccolli, vegetable, veggie",
    "carrot": "vegetable, veggie",
    "hot dog": "hotdog, corn dog, chili dog",
    "pizza": "pizza pie",
    "donut": "doughnut, dough nut",
    "cake": "cupcake, cheesecake, birthday cake, wedding cake",
    "chair": "armchair, stool, recliner, rocking chair, lawn chair, office chair",
    "couch": "sofa, loveseat, love seat, settee",
    "potted plant": "plant, houseplant, house plant, flower pot, flowerpot",
    "bed": "mattress, bunk bed, bunk, crib",
    "dining table": "table, desk, dinner table, dining room table, coffee table, picnic table",
    "toilet": "urinal, commode",
    "tv": "television, tv screen, tv set, television set, monitor, screen, computer monitor,"
    "computer screen, flat screen, computer",
    "laptop": "laptop computer, notebook computer, computer, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, controller, wii remote, wii controller, game controller",
    "keyboard": "computer keyboard",
    "cell phone": "cellphone, cell, phone, smartphone, smart phone, mobile phone, iphone",
    "microwave": "microwave oven",
    "oven": "stove, stove top, stovetop",
    "toaster": "",
    "sink": "wash basin, washbasin, basin",
    "refrigerator": "fridge, freezer, refridgerator",
    "book": "paperback, textbook, novel, magazine",
    "clock": "alarm clock, clock face",
    "vase": "",
    "scissors": "pair of scissors, scissor, shears",
    "teddy bear": "teddy, bear, stuffed bear, stuffed animal, stuffed toy",
    "hair drier": "hair dryer, hairdryer, blow dryer, blow drier, hair blower",
    "toothbrush": "tooth brush",
}

# Phrases that contain a noun of the table but mean something else.
_NOT_THESE = (
    "cutting board, guinea pig, car park, cat food, dog food, dog house, bus stop, bus station,"
    "bus terminal, train station, train track, train platform, subway station, boat house,"
    "table cloth, ski lift, ski slope, ski resort, ski pole, toilet paper, toilet brush,"
    "cake pan, pizza oven, pizza box, pizza cutter, book shelf, book case"
)

_IRREGULAR = {
    "person": ("persons", "people"),
    "child": ("children",),
    "mouse": ("mice",),
    "goose": ("geese",),
    "sheep": ("sheep",),
    "ox": ("oxen",),
    "human": ("humans",),
    "aircraft": ("aircraft",),
    "skis": ("skis",),
    "scissors": ("scissors",),
    "calf": ("calves",),
    "knife": ("knives",),
}


@dataclass(frozen=True)
class Mention:
    """A span of a caption that names object categories.

    Attributes:
        start: Index of its first word.
        stop: Index after its last word.
        categories: The names of the categories that it may mean, sorted.
    """

    start: int
    stop: int
    categories: tuple[str, ...]


class NounTable:
    """Finds the words of a caption that name one of the given categories."""

    def __init__(self, categories: Iterable[str]) -> None:
        """Build the table.

        Args:
            categories: The names of the categories, from COCO or elsewhere.
        """
        self._phrases: dict[tuple[str, ...], set[str]] = {}
        for category in categories:
            own = category.lower().replace("_", " ")
            nouns = [own, *listed(_NOUNS.get(own, ""))]
            for noun in nouns:
                *before, last = noun.split()
                for form in (last, *plurals(last)):
                    self._phrases.setdefault((*before, form), set()).add(category)
        for phrase in listed(_NOT_THESE):
            *before, last = phrase.split()
            for form in (last, *plurals(last)):
                self._phrases.setdefault((*before, form), set())
        self._longest = max(len(phrase) for phrase in self._phrases)

    def find(self, words: Sequence[str]) -> list[Mention]:
        """Find the mentions in a caption from left to right, preferring longer phrases.

        Args:
            words: The caption's words; case does not matter.
        """
        lower = [word.lower() for word in words]
        mentions = []
        start = 0
        while start < len(lower):
            for length in range(min(self._longest, len(lower) - start), 0, -1):
                categories = self._phrases.get(tuple(lower[start : start + length]))
                if categories is not None:
                    break
            if categories:
                mentions.append(Mention(start, start + length, tuple(sorted(categories))))
            start += length
        return mentions


def listed(nouns: str) -> list[str]:
    """Split a comma-separated list."""
    return [noun.strip() for noun in nouns.split(",") if noun.strip()]


def plurals(noun: str) -> tuple[str, ...]:
    """The plural forms of an English noun."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("man"):
        return (noun[:-2] + "en",)
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return (noun[:-1] + "ies",)
    if noun.endswith(("s", "x", "ch", "sh")):
        return (noun + "es",)
    return (noun + "s",)
