"""Captioning on many machines with Ray (the extra ``cluster``).

`caption_many` is ``showattend caption --engine ray``; `CaptionBatch` is a step for your own Ray
Data pipeline.
"""

from showattend.export.cluster.caption_batch import CaptionBatch
from showattend.export.cluster.jobs import caption_many

__all__ = ["CaptionBatch", "caption_many"]
