"""The fields that labels of points have in the files written: their type and what they mean."""

from __future__ import annotations

LABEL_FIELDS: dict[str, tuple[str, str]] = {
    "pred": ("i2", "class"),
    "gt": ("i2", "true class"),
    "error": ("i1", "1 wrong, 0 right"),
    "confidence": ("f4", "of the class"),
    "entropy": ("f4", "nats"),
    "pseudo": ("i2", "pseudo-label"),
    "annotated": ("i2", "class annotated with"),
}
"""Part of a cloud -> NumPy type, and a description of at most 22 letters, the room that a LAS file leaves for it."""
