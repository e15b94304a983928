"""Which captions mention people, and how often a model invents them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from showattend.evaluation.mistakes.caption_errors import Fault, find_errors, find_faults
from showattend.evaluation.mistakes.errors_report import to_markdown
from showattend.evaluation.mistakes.people import _lexicon, find_people, mentions_people, rate

NAMED = """
a man in a hat
two women and their kids
Skiers on a slope.
a baby elephant next to a zookeeper
someone left a bike here
a crowd watches a parade
a crowd of people
a couple sitting on a bench with a dog
a family eats dinner
a picture of a man on a wall
a man's hand holds a phone
a baby lies next to a cat
somebody's lap
a pedestrian crossing the road
a mother and her dog
a pitcher throws the ball
a batter and an umpire
a baseball player
a passenger waits for the train
passengers board a train
police riding horses
kids playing with toys
a rock-climber on a cliff
a statue next to a tall man
a cook in a kitchen
"""
HINTED = """
a hand holding a hot dog
a laptop on a lap
he is working on a meal
a statue of a man on a horse
a painting of two women
a toy man in a toy car
a stuffed little girl
a crowded street
a tennis match
a group at a table
a giraffe near a baby
"""
NONE = """
a kid's bedroom
a child's toy on the floor
a woman's clothing on a bed
a baby elephant
a mother zebra and her baby
a mother and baby giraffe
an adult and a younger giraffe
two adult polar bears
elephants with their baby
a family of giraffes
a crowd of sheep
an elephant family
a couple of dogs
a couple zebras drink
a team of horses
a group of sheep
a man-made lake
a snowman in the snow
a pitcher of water and a glass
pancake batter in a bowl
a catcher's mitt on the grass
a doll and a teddy bear couple
a passenger train
a pedestrian crossing sign
police cars on the street
kids toys on a rug
a family room with a couch
a dvd player and a remote
a hand towel in a bathroom
a clock with an hour hand
a dog shakes his head
a bench with no people
a room empty of people
no one on the beach
a street without any people
a living room with a ceiling fan
an ottoman in front of a couch
a bunch of bananas
"""


@pytest.mark.parametrize("caption", NAMED.strip().splitlines())
def test_people_are_named(caption: str) -> None:
    assert mentions_people(caption) == "named"


@pytest.mark.parametrize("caption", HINTED.strip().splitlines())
def test_people_are_hinted_at(caption: str) -> None:
    assert mentions_people(caption) == "hinted"


@pytest.mark.parametrize("caption", NONE.strip().splitlines())
def test_what_only_looks_like_people(caption: str) -> None:
    assert mentions_people(caption) == "none"


def test_the_tables_know_the_words_of_people() -> None:
    lexicon = _lexicon()
    words = (
        "man woman boy girl child kid baby person player rider skier surfer skateboarder catcher "
        "umpire someone lady guy gentleman bride toddler officer policeman worker men women "
        "children people gentlemen policemen babies ladies skiers"
    )
    for word in words.split():
        (span,) = lexicon.find([word])
        assert "person" in span.concepts, word


# Counting ----------------------------------------------------------------------------------------

REFERENCES = {
    "empty street": ["a red bus", "a bus on a street", "a bus"],
    "empty room": ["a bed", "a bedroom", "a kid's bed"],
    "zoo": ["a zebra", "a baby zebra", "a zebra in a pen"],
    "hand": ["a phone", "a phone in a hand", "a phone"],
    "small": ["a beach", "a beach with a man far off", "a beach"],
    "surf": ["a surfer", "a man on a wave", "a person surfs"],
    "park": ["a woman sits", "a lady on a bench", "two people"],
}
CANDIDATES = {
    "empty street": "a man is riding a bus",
    "empty room": "a hand on a bed",
    "zoo": "a zebra",
    "hand": "a man on a phone",
    "small": "a man on a beach",
    "surf": "a wave",
    "park": "a woman on a bench",
}


def test_people_invented_and_left_out() -> None:
    report = find_people(REFERENCES, CANDIDATES)
    # "hand" and "small" are in neither count, and the model's "hand" does not count as invented.
    assert (report.put_in.count, report.put_in.of) == (1, 3)
    assert report.put_in_captions == (("empty street", "a man is riding a bus"),)
    assert (report.left_out.count, report.left_out.of) == (1, 2)
    assert report.left_out_captions == (("surf", "a wave"),)
    # Three photographs of three rounds each, and the rounds of "hand" and "small" that leave out
    # the one that mentions somebody.
    assert report.human_put_in is not None
    assert report.human_left_out is not None
    assert (report.human_put_in.count, report.human_put_in.of) == (1, 11)
    assert (report.human_left_out.count, report.human_left_out.of) == (0, 6)


def test_one_reference_each_gives_no_comparison() -> None:
    report = find_people({1: ["a bus"]}, {1: "a man"})
    assert report.put_in.share == 1
    assert report.human_put_in is None
    assert report.human_left_out is None
    assert (report.left_out.share, report.left_out.interval) == (None, None)


def test_the_interval_is_wilsons() -> None:
    low, high = rate(10, 100).interval or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert rate(0, 20).interval == (0.0, pytest.approx(0.1611, abs=1e-4))
    assert rate(20, 20).interval == (pytest.approx(0.8389, abs=1e-4), 1.0)


def test_the_page_and_the_json_have_the_count() -> None:
    report = find_errors(REFERENCES, CANDIDATES)
    page = to_markdown(report)
    assert "| invents people | 1 | 3 | 33.3 % | 6.1 % to 79.2 % | 9.1 % |" in page
    assert "| empty street | a man is riding a bus |" in page
    assert "| surf | a wave |" in page
    found = json.loads(json.dumps(report.to_dict()))["people"]
    assert found["put_in"]["share"] == 1 / 3
    assert found["put_in_captions"] == [["empty street", "a man is riding a bus"]]


def test_the_page_lists_the_first_dozen() -> None:
    references = {k: ["a bus"] for k in range(1000, 1020)}
    page = to_markdown(find_errors(references, dict.fromkeys(references, "a man")))
    assert "The first 12 of the 20 captions that invent people" in page
    assert "| 1011 | a man |" in page
    assert "| 1012 | a man |" not in page


def test_invented_people_are_marked_in_the_gallery() -> None:
    faults = find_faults("a man on a bus", ["a bus", "a red bus"])
    assert faults[0] == Fault("people", "somebody", ("nobody",))
    assert faults[0].tag == "people: somebody / nobody"
    for references in (["a bus", "a bus driver"], ["a bus", "a hand"]):
        assert all(fault.kind != "people" for fault in find_faults("a man", references))


def test_on_real_captions_a_plausible_share_is_without_people(real_data: Path) -> None:
    content = json.loads((real_data / "everyday" / "captions_val.json").read_text())
    references = defaultdict(list)
    for each in content["annotations"]:
        references[each["image_id"]].append(each["caption"])
    first = {image: captions[0] for image, captions in references.items()}
    report = find_people({image: captions[1:] for image, captions in references.items()}, first)
    # Two of three show people; of people's own captions hardly any disagree with the others.
    assert 0.25 < report.put_in.of / len(references) < 0.4
    assert (report.put_in.share or 0) < 0.08
    assert (report.left_out.share or 0) < 0.08
