"""The store of prepared scenes, the one place to import it from: reading and writing live in a file each."""

from pointseg.data.scene_reader import PreparedScene, list_scenes, list_splits, open_scene
from pointseg.data.scene_writer import add_grids, hash_file, prepare_root, write_scene

__all__ = [
    "PreparedScene",
    "add_grids",
    "hash_file",
    "list_scenes",
    "list_splits",
    "open_scene",
    "prepare_root",
    "write_scene",
]
