"""``python -m mnist_exp [-m] [overrides]``."""

import sys

from mnist_exp.compose import main

sys.exit(main())
