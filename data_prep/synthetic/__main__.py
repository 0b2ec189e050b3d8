"""``python -m data_prep.synthetic``."""

import sys

from data_prep._main import run_module
from data_prep.synthetic import HELP, add_arguments, run

if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
