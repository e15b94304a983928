"""Showing a caption: where the model looked for each word, over the photo."""

from showattend.visualize.figure import figure_bytes
from showattend.visualize.fonts import lettering
from showattend.visualize.formats import FORMS, check_output, save_figure
from showattend.visualize.heat import light_up, overlay

__all__ = [
    "FORMS",
    "check_output",
    "figure_bytes",
    "lettering",
    "light_up",
    "overlay",
    "save_figure",
]
