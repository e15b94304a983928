"""Wrong words: whether the model looked in the wrong place or misnamed what it saw.

A word is *right* if the category that it names is annotated in the image, and *wrong* otherwise.
Words for categories that are not annotated at all, and images without objects, are left out. Since
annotations are incomplete (crowds, small objects), some wrong words are in fact true; measuring
human captions in the same way shows how many.

The peak of a word's map falls on an object of the word's own category (right words only), on an
object of another category, or on no object. A wrong word with its peak on another object *saw the
wrong thing*: the model looked at the truck and said "car". One with its peak on no object *looked
in the wrong place*. Objects cover much of most photos, so both also happen to uninformed maps: a
uniform map, a map at the centre, and the maps of the caption's other words are the baselines.
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
"""On an object of the category that the word names, on one of another category, on no object."""
BIG = 0.1
"""A category is big if it covers at least this fraction of the image."""
SEEN = ("peak", "mass")


class Scene:
    """The annotated categories of an image and the pixels that each covers.

    Args:
        masks: The mask of each annotated category, [height, width] bool; at least one.

    Attributes:
        masks: The flattened masks by category, [height · width] bool.
        names: The categories, the smallest first.
        centre: The centre baseline for this image.
    """

    def __init__(self, masks: Mapping[str, np.ndarray]) -> None:
        height, width = next(iter(masks.values())).shape
        self.masks = {name: mask.ravel() for name, mask in masks.items()}
        self.names = sorted(masks, key=lambda name: (int(masks[name].sum()), name))
        self.centre = Look(centre_map((width, height)))
        # A pixel shared by several categories goes to the smallest: to the cup, not the table.
        # Labels are the categories' indices, then one for no object and one for a word's own.
        self._labels = np.full(height * width, len(self.names))
        for number in reversed(range(len(self.names))):
            self._labels[self.masks[self.names[number]]] = number

    def divided(self, own: Sequence[str]) -> Divided:
        """Divide the image's pixels among its categories.

        Args:
            own: Categories that keep all of their pixels, including shared ones.
        """
        labels = self._labels
        if own:
            inside = np.logical_or.reduce([self.masks[name] for name in own])
            labels = np.where(inside, len(self.names) + 1, labels)
        return Divided([*(f"on {name}" for name in self.names), "none", "own"], labels)


class Divided:
    """An image in which each pixel belongs to one place.

    Args:
        places: "on <name>" for each category, "none" for no object, "own" for a word's own.
        labels: The index of each pixel's place, [height · width].

    Attributes:
        area: The fraction of the image that each place covers.
    """

    def __init__(self, places: Sequence[str], labels: np.ndarray) -> None:
        self._places, self._labels = places, labels
        self.area = self._shares(np.bincount(labels, minlength=len(places)))

    def shares(self, look: Look) -> dict[str, dict[str, float]]:
        """The fraction of a map's "peak" and of its "mass" in each place."""
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
    """Locate the maps of a caption's right and wrong words.

    Args:
        caption: The caption with its maps.
        masks: The mask of each category, [height, width] bool, from `Instances.masks`.
        nouns: The words to look for.
        looks: The result of ``looks_of`` for the caption, if already computed.

    Returns:
        named: the result of ``_judge_word`` for each mention of a category, unless the caption has
        no other words. big: the result of ``_judge_object`` for each category that covers at least
        ``BIG`` of the image. Both are empty if the image has no object.
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
    """Locate the map of one word.

    Returns:
        word, position, categories (that it may name), right; at, the category on which most of the
        model's peak lies, None for no object; peak and mass, by ``MAPS`` and then ``PLACES``;
        chance, for each category the probability that a uniform or centre map peaks there.
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
    """Measure how much a caption's words look at a category.

    Returns:
        category, mentioned; peak and mass, each for the model (the mean over the caption's words)
        and for the uniform and centre maps.
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
    """Summarise the words of many images.

    Args:
        images: The captions of each image, from ``judge_caption``.

    Returns:
        right and wrong: words, images, mean peak and mass by map and place, and interval: by
        measure, place and baseline the 95 % interval of the model's value minus the baseline's
        ("object" is own and another together). confusions: the result of `confusions`. big:
        mentioned and overlooked, each with objects, images, peak, mass and interval; categories,
        how often each is overlooked.
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
    """Count what the model looked at for wrong words.

    Args:
        wrong: The wrong words, from ``named`` of ``judge_caption``.

    Returns:
        For each pair, the most common first: said (the category, or the word itself if it may name
        several), at (the category at the peak), words (the number), uniform and centre (the number
        of such peaks in these maps).
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
