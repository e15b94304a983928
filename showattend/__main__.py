"""``python -m showattend``, and what ``torchrun -m showattend train`` runs in every process."""

import sys

from showattend.cli.app import main

sys.exit(main())
