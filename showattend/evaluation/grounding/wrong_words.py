"""Wrong words: did the model look at the wrong place, or see the wrong thing? Peaks and masks.

A word is *right* if the category that it names is annotated in the image, and *wrong* if it is
not. That is what the annotations can say: of a word that names none of their categories nothing is
said, and of an image without any object neither. What nobody annotated is not there for them, so
some wrong words are true (a crowd, a thing too small to annotate); human captions, measured in the
same way, say how many.

The peak of a word's map is on an object of the word's own category (of a right word only), on an
object of another one, or on none. A wrong word whose map is on another object *saw the wrong
thing*: the model looked at the truck and said "car". One whose map is on none *looked at the wrong
place*. Objects cover much of most photos, so both happen to maps that know nothing: the same is
asked of a uniform map, of one of the centre, and of the maps of the caption's other words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from showattend.caption import Caption
from showattend.evaluation.grounding.nouns import Mention, NounTable
from showattend.evaluation.grounding.pointing import (
    BASELINES,
    MAPS,
    Look,
    as_pair,
    bootstrap,
    centre_map,
    look_of_words,
    looks_of,
)

PLACES = ("own", "another", "none")
"""On an object of the category that the word names, of another category, on no object."""
BIG = 0.1
"""Share of the image that a category must cover to count as big."""
SEEN = ("peak", "mass")


class Scene:
    """What is where in an image.

    Args:
        masks: Where each annotated category is [height, width] bool; at least one.

    Attributes:
        masks: By category [height · width] bool.
        names: The categories, the smallest first.
        centre: The look of the centre's map.
    """

    def __init__(self, masks: Mapping[str, np.ndarray]) -> None:
        height, width = next(iter(masks.values())).shape
        self.masks = {name: mask.ravel() for name, mask in masks.items()}
        self.names = sorted(masks, key=lambda name: (int(masks[name].sum()), name))
        self.centre = Look(centre_map((width, height)))
        # Of the categories that share a pixel the smallest has it: the cup, not the table. After
        # the categories' numbers comes that of no object, and then that of a word's own.
        self._labels = np.full(height * width, len(self.names))
        for number in reversed(range(len(self.names))):
            self._labels[self.masks[self.names[number]]] = number

    def divided(self, own: Sequence[str]) -> Divided:
        """The image divided among its categories.

        Args:
            own: Categories that have all of their pixels, shared ones too.
        """
        labels = self._labels
        if own:
            inside = np.logical_or.reduce([self.masks[name] for name in own])
            labels = np.where(inside, len(self.names) + 1, labels)
        return Divided([*(f"on {name}" for name in self.names), "none", "own"], labels)


class Divided:
    """An image in which each pixel belongs to one place.

    Args:
        places: "on <name>" for each category, "none" for no object, "own" for a word's own ones.
        labels: The number of each pixel's place [height · width].

    Attributes:
        area: Each place's share of the image.
    """

    def __init__(self, places: Sequence[str], labels: np.ndarray) -> None:
        self._places, self._labels = places, labels
        self.area = self._shares(np.bincount(labels, minlength=len(places)))

    def shares(self, look: Look) -> dict[str, dict[str, float]]:
        """Each place's share of a map's "peak" and of its "mass"."""
        count = len(self._places)
        return {
            "peak": self._shares(np.bincount(self._labels[look.peak], minlength=count)),
            "mass": self._shares(np.bincount(self._labels, look.heat, minlength=count)),
        }

    def _shares(self, counted: np.ndarray) -> dict[str, float]:
        return dict(zip(self._places, (counted / counted.sum()).tolist(), strict=True))


def judge_caption(
    caption: Caption,
    masks: Mapping[str, np.ndarray],
    nouns: NounTable,
    looks: Sequence[Look] | None = None,
) -> dict[str, Any]:
    """Where the maps of a caption's words are, of the right ones and of the wrong ones.

    Args:
        caption: The caption with its maps.
        masks: Where each category is [height, width] bool, as `Instances.masks` gives it.
        nouns: The words to look for.
        looks: What ``looks_of`` says of the caption, if it is known already.

    Returns:
        named: for each word that names a category (of several words, the mean of their maps),
        unless the caption says nothing else, what ``_judge_word`` says. big: for each category
        that covers ``BIG`` of the image or more, what ``_judge_object`` says. Both are empty
        where the image has no object.
    """
    if not masks or not caption.words:
        return {"named": [], "big": []}
    scene = Scene(masks)
    looks = looks_of(caption) if looks is None else looks
    mentions = nouns.find(caption.words)
    spoken = {name for mention in mentions for name in mention.categories}
    named = []
    for mention in mentions:
        span = range(mention.start, mention.stop)
        others = [look for t, look in enumerate(looks) if t not in span]
        if others:
            mine = look_of_words(looks, mention)
            named.append(_judge_word(caption, mention, scene, mine, others))
    big = [
        _judge_object(name, name in spoken, scene, looks)
        for name in scene.names
        if scene.masks[name].mean() >= BIG
    ]
    return {"named": named, "big": big}


def _judge_word(
    caption: Caption, mention: Mention, scene: Scene, mine: Look, others: Sequence[Look]
) -> dict[str, Any]:
    """Where the map of one word is.

    Returns:
        word, position, categories (that it may name), right; at, the category on which most of
        the model's peak is, None for no object; peak and mass, by the names of ``MAPS`` and then
        of ``PLACES``; chance, for each category the share of uniform and centre maps that have
        their peak there.
    """
    own = [name for name in mention.categories if name in scene.masks]
    divided = scene.divided(own)
    model, centre = divided.shares(mine), divided.shares(scene.centre)
    rest = [divided.shares(look) for look in others]
    best = max(model["peak"], key=lambda place: model["peak"][place])
    result: dict[str, Any] = {
        "word": " ".join(caption.words[mention.start : mention.stop]),
        "position": mention.start,
        "categories": list(mention.categories),
        "right": bool(own),
        "at": None if best == "none" else own[0] if best == "own" else best.removeprefix("on "),
    }
    for measure in SEEN:
        result[measure] = {
            "model": _places(model[measure]),
            "uniform": _places(divided.area),
            "centre": _places(centre[measure]),
            "other_word": _mean([_places(each[measure]) for each in rest]),
        }
    result["chance"] = {
        name: {"uniform": divided.area[f"on {name}"], "centre": centre["peak"][f"on {name}"]}
        for name in scene.names
    }
    return result


def _places(shares: Mapping[str, float]) -> dict[str, float]:
    another = sum(share for place, share in shares.items() if place.startswith("on "))
    return {"own": shares["own"], "another": another, "none": shares["none"]}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _judge_object(
    category: str, mentioned: bool, scene: Scene, looks: Sequence[Look]
) -> dict[str, Any]:
    """How much a caption's words look at a category.

    Returns:
        category, mentioned; peak and mass, each for the model (the mean over the caption's
        words), uniform and the centre.
    """
    mask = scene.masks[category]
    result: dict[str, Any] = {"category": category, "mentioned": mentioned}
    for measure, of in (("peak", Look.pointing), ("mass", Look.mass)):
        result[measure] = {
            "model": float(np.mean([of(look, mask) for look in looks])),
            "uniform": float(mask.mean()),
            "centre": of(scene.centre, mask),
        }
    return result


def summary(images: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What the words of many images say together.

    Args:
        images: For each image its captions, as ``judge_caption`` gives them.

    Returns:
        right and wrong: words, images, peak and mass as means by map and place, and interval:
        by measure, place and baseline the 95 % interval of the model's share minus the
        baseline's ("object" is own and another together). confusions: for each pair of a wrong
        word's meaning and the category at its peak, words (how many), and how many uniform and
        centre maps would bring, the commonest first. big: mentioned and overlooked, each with
        objects, images, peak, mass and interval; categories, how often each is overlooked.
    """
    words = [[word for caption in image for word in caption["named"]] for image in images]
    right, wrong = (
        [some for image in words if (some := [word for word in image if word["right"] == wanted])]
        for wanted in (True, False)
    )
    things = [[thing for caption in image for thing in caption["big"]] for image in images]
    mentioned, overlooked = (
        [some for image in things if (some := [one for one in image if one["mentioned"] == wanted])]
        for wanted in (True, False)
    )
    count = Counter(one["category"] for image in overlooked for one in image)
    return {
        "right": _words(right),
        "wrong": _words(wrong),
        "confusions": confusions([word for image in wrong for word in image]),
        "big": {
            "area": BIG,
            "mentioned": _objects(mentioned),
            "overlooked": _objects(overlooked),
            "categories": dict(sorted(count.items(), key=lambda item: (-item[1], item[0]))),
        },
    }


def _words(images: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    flat = [word for image in images for word in image]
    result: dict[str, Any] = {"words": len(flat), "images": len(images)}
    if not flat:
        return result
    for measure in SEEN:
        result[measure] = {
            name: {
                place: float(np.mean([word[measure][name][place] for word in flat]))
                for place in PLACES
            }
            for name in MAPS
        }
    result["interval"] = {measure: {} for measure in SEEN}
    places = {"own": ("own",), "another": ("another",), "object": ("own", "another")}
    keys = [(m, place, name) for m in SEEN for place in places for name in BASELINES]

    def leads(word: Mapping[str, Any]) -> list[float]:
        return [
            sum(word[m]["model"][each] - word[m][name][each] for each in places[place])
            for m, place, name in keys
        ]

    found = bootstrap([np.array([leads(word) for word in image]) for image in images])
    for (measure, place, name), interval in zip(keys, found, strict=True):
        result["interval"][measure].setdefault(place, {})[name] = as_pair(interval)
    return result


def _objects(images: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    flat = [one for image in images for one in image]
    result: dict[str, Any] = {"objects": len(flat), "images": len(images)}
    if not flat:
        return result
    for measure in SEEN:
        result[measure] = {
            name: float(np.mean([one[measure][name] for one in flat]))
            for name in ("model", "uniform", "centre")
        }
    keys = [(measure, name) for measure in SEEN for name in ("uniform", "centre")]
    found = bootstrap(
        [
            np.array([[one[m]["model"] - one[m][name] for m, name in keys] for one in image])
            for image in images
        ]
    )
    result["interval"] = {measure: {} for measure in SEEN}
    for (measure, name), interval in zip(keys, found, strict=True):
        result["interval"][measure][name] = as_pair(interval)
    return result


def confusions(wrong: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the model looked at when it said wrong words.

    Args:
        wrong: The wrong words, as ``judge_caption`` gives them in ``named``.

    Returns:
        For each pair: said (the category, or the word itself where it may name several), at (the
        category at the peak), words, uniform and centre (how many of the words said would have
        their peak there by chance).
    """
    said: dict[str, list[Mapping[str, Any]]] = {}
    for word in wrong:
        categories = word["categories"]
        said.setdefault(categories[0] if len(categories) == 1 else word["word"], []).append(word)
    result = []
    for name, some in said.items():
        for at, words in Counter(word["at"] for word in some if word["at"]).items():
            chance = {
                base: float(sum(word["chance"].get(at, {}).get(base, 0.0) for word in some))
                for base in ("uniform", "centre")
            }
            result.append(
                {"said": name, "at": at, "words": words, "said_wrong": len(some), **chance}
            )
    return sorted(result, key=lambda pair: (-pair["words"], pair["said"], pair["at"]))
