"""``python -m skad``, the same as the command ``skad``."""

import sys

from .cli import main

sys.exit(main())
