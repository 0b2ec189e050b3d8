"""Drawing sparse labels from the ground truth by a rule (``label_rule.py``), once for every method and every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes, load_classes
from pointseg.data.label_rule import Rule, draw_points, parse_rule
from pointseg.data.label_store import SparseLabels, scene_key
from pointseg.data.label_writer import SceneLabels, checked_truth, per_class, store_labels, stored_before
from pointseg.data.scene_reader import PreparedScene, list_scenes
from pointseg.errors import InputError


def default_name(rule: str, seed: int) -> str:
    """The name a draw gets when none is given: ``0.1pct_seed0``, ``1pt_seed0``, ``200pt_scene_seed0``."""
    return f"{parse_rule(rule).label}_seed{seed}"


def draw(
    root: str | Path, rule: str, *, seed: int, voxel_size: float, splits: Sequence[str], name: str | None = None
) -> SparseLabels:
    """Draw sparse labels and store them; an existing draw with the same settings is checked and kept.

    Args:
        root: Folder of prepared scenes.
        rule: ``"0.1%"`` or ``"20pt"``, per scene and class; ``"0.1%/scene"`` or ``"200pt/scene"``, per scene.
        seed: Not negative.
        voxel_size: Of the stored grid whose representative points are the candidates, metres.
        splits: What to annotate.
        name: Of the draw; None = ``default_name``.

    Returns:
        The stored draw.

    Raises:
        InputError: A bad rule, seed or name, no such split or grid, scenes without ground truth, or a draw of that
            name that was made with other settings, on other scenes, or is damaged.
    """
    root, parsed = Path(root), parse_rule(rule)
    if seed < 0:
        raise InputError(f"the seed is {seed}; it must be 0 or more")
    if not splits:
        raise InputError("no splits to draw labels for; name at least one")
    name = default_name(rule, seed) if name is None else name
    settings = {"rule": parsed.text, "seed": seed, "voxel_size": float(voxel_size), "splits": sorted(set(splits))}
    classes = load_classes(root / "classes.yaml")
    scenes = list_scenes(root, splits)
    before = stored_before(root, name, settings, scenes)
    if before is not None:
        return before
    drawn = (_draw_scene(scene, parsed, seed, voxel_size, classes) for scene in scenes)
    return store_labels(root, name, settings, classes, drawn)


def _draw_scene(scene: PreparedScene, rule: Rule, seed: int, voxel_size: float, classes: Classes) -> SceneLabels:
    segment = checked_truth(scene, classes, "draw labels from")
    candidates = np.asarray(scene.sound_grid(voxel_size).point)
    own = np.asarray(segment[candidates])
    index, label = draw_points(candidates, own, rule, seed=seed, scene=scene_key(scene))
    if len(index) == 0:
        raise InputError(
            f"scene {scene_key(scene)} has only ignored points and nothing to annotate; remove it from its split"
        )
    return SceneLabels(
        scene, index, label, len(candidates), per_class(np.asarray(segment), classes), per_class(own, classes), {}
    )
