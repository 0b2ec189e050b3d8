"""What a data set's reader needs, the one place to import it from: scenes to prepare, their running, their flags."""

from data_prep._command import add_store_arguments, run_prepare
from data_prep._runner import Report, prepare_scenes
from data_prep._scene_job import RawScene, SceneJob, SceneResult, Store, join_scenes, prepare_scene

__all__ = [
    "RawScene",
    "Report",
    "SceneJob",
    "SceneResult",
    "Store",
    "add_store_arguments",
    "join_scenes",
    "prepare_scene",
    "prepare_scenes",
    "run_prepare",
]
