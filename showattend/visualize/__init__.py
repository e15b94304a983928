"""Showing a caption: where the model looked for each word, over the photo."""

from showattend.visualize.figure import FORMS, check_output, figure_bytes, save_figure
from showattend.visualize.maps import overlay

__all__ = ["FORMS", "check_output", "figure_bytes", "overlay", "save_figure"]
