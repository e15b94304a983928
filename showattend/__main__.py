"""``python -m showattend``, and what ``torchrun -m showattend train`` runs in every process."""

import sys

from showattend.cli import main

sys.exit(main())
