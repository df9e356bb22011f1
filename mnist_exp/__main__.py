"""``python -m mnist_exp [-m] [overrides]``."""

import sys

from mnist_exp.application import main

sys.exit(main())
