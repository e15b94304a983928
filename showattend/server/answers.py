"""What the API answers with."""

from __future__ import annotations

from pydantic import BaseModel


class Said(BaseModel):
    """One caption.

    ``confidences`` are the model's probabilities of the words. ``confidence`` is the geometric mean
    of these and of the end's. ``unsure`` marks words that are often wrong, since their probability
    is low. ``half_area`` is, for each map, the smallest share of the grid that holds half of it.
    ``parts`` are the maps of heads, hops or levels, if there are any, and ``sentinel`` is the
    sentinel's share of the attention.
    """

    caption: str
    words: list[str]
    log_probs: list[float | None]
    log_prob: float | None
    score: float | None
    confidences: list[float | None]
    confidence: float | None
    unsure: list[bool]
    betas: list[float] | None
    attention: list[list[list[float]]]
    half_area: list[float]
    parts: list[list[list[list[float]]]] | None = None
    part_names: list[str] | None = None
    sentinel: list[float] | None = None


class Answer(BaseModel):
    """A photo's captions, best first, with a map ``[rows][columns]`` for each word.

    ``geometry.box`` is the rectangle that the maps cover, in pixels of the upright photo, whose
    size is ``geometry.image_size``. ``fixed`` is the number of words given as the prefix. Words
    with a probability below ``unsure_below`` are unsure, except function words. Maps with a
    ``half_area`` up to ``somewhere`` point to a place; the others are spread over the image.
    ``betas`` is null if the model has no gate. ``familiarity`` is the share of ordinary photos that
    differ from the training photos at least as much as this one (null if the model cannot tell);
    ``note`` warns if it is small. ``token`` stands for the photo in further requests, for a few
    minutes (null if the server keeps nothing).
    """

    name: str
    model: str
    captions: list[Said]
    geometry: dict[str, list[float]]
    unsure_below: float
    somewhere: float
    familiarity: float | None
    note: str | None
    fixed: int
    notes: list[str]
    seed: int | None
    seconds: float
    preview: str | None
    token: str | None


class Problem(BaseModel):
    """An error, in one line."""

    error: str
