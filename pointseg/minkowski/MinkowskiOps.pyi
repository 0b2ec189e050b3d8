# ruff: noqa: N999, F403
# For type checkers, which do not see the modules that names.py makes.
from pointseg.minkowski.ops import *
