"""Export to ONNX: a folder with three networks that run in onnxruntime without PyTorch.

``graphs`` builds the networks, ``folder`` writes and checks them. ``program`` is exported with them
as ``caption.py`` and imports nothing from showattend. ``engine`` captions with such a folder from
within showattend, using that program's search. PyTorch is imported only for exporting.
"""

import os

# From 1.29 on, onnxruntime reports its use to Microsoft unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
