"""Sparse labels: which points are annotated, stored once, and read by every method and every run.

The one place to import drawing and reading from; each lives in a file of its own, as do the imports of labels that
exist already (``label_import.py``, ``label_clicks.py``).
"""

from pointseg.data.label_draw import default_name, draw
from pointseg.data.label_store import SPEC_VERSION, SparseLabels, open_labels

__all__ = ["SPEC_VERSION", "SparseLabels", "default_name", "draw", "open_labels"]
