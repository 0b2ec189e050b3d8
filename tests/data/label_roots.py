"""A prepared root that sparse labels are drawn on."""

from pointseg.data.classes import load_classes
from pointseg.data.scene import prepare_root


def four_scenes(folder, add_scene):
    """A root of S3DIS's classes with two scenes in Area_1 and one each in Area_2 and Area_5.

    Each is made by ``add_scene(root, split, name, seed)``.
    """
    root = prepare_root(folder / "root", load_classes("s3dis"))
    for seed, (split, name) in enumerate([("Area_1", "a"), ("Area_1", "b"), ("Area_2", "a"), ("Area_5", "a")]):
        add_scene(root, split, name, seed)
    return root
