"""Lets ``python -m verify`` start the command line."""

import sys

from verify.cli import main

sys.exit(main())
