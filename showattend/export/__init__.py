"""A captioner as ONNX: three networks in a folder that onnxruntime runs, without PyTorch.

``graphs`` makes the networks, ``folder`` writes and checks them. ``program`` goes with them as
``caption.py``; it imports nothing of showattend. ``engine`` captions with such a folder from within
showattend, and uses that program's search. PyTorch is imported only where something is exported.
"""

import os

# From 1.29 on onnxruntime reports its use to Microsoft, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
