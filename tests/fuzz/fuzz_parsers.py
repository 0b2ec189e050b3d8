"""Every parser: what it reads, small valid files of that kind, and what it promises."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fuzz_clouds
import fuzz_data_sets
import fuzz_own_files
import fuzz_predicted
import fuzz_runs
import fuzz_stores
from fuzz_mutations import Sample

LAZ_THREADS = 384 << 20
"""Room that the threads of lazrs reserve for stacks and chunks, and hardly use."""


def _nothing(_: Path) -> None:
    """A parser that needs no other files."""


@dataclass(frozen=True)
class Parser:
    """A parser under test.

    Attributes:
        file: Name of the file, which the parser may go by.
        samples: Valid files.
        read: Reads the file and asserts what is promised.
        surround: Writes the other files it needs into a folder.
        allowance: Bytes it may take whatever the size of the file.
        share: Of the examples that it gets: less where it is slow, or much like another one.
    """

    file: str
    samples: Callable[[], list[Sample]]
    read: Callable[[Path], None]
    surround: Callable[[Path], None] = _nothing
    allowance: int = 64 << 20
    share: float = 1.0

    def place(self, folder: Path) -> Path:
        """Where to write the files; what has to be beside them is there."""
        self.surround(folder)
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


_SCENE, _LABELS = "root/all/x", "root/sparse_labels/drawn"


def _of_scene(name: str) -> Parser:
    samples = fuzz_stores.text if name.endswith(".json") else fuzz_stores.array
    file = f"{_SCENE}/{name}"
    return Parser(file, partial(samples, file), fuzz_stores.read_scene, fuzz_own_files.prepared, share=0.6)


def _of_labels(name: str, write: Callable[[Path], None] = fuzz_stores.drawn) -> Parser:
    samples = fuzz_stores.text if name.endswith(".json") else fuzz_stores.array
    file = f"{_LABELS}/{name}"
    return Parser(file, partial(samples, file, write), fuzz_stores.read_labels, write, share=0.6)


def _of_checkpoint(name: str, read: Callable[[Path], None] = fuzz_runs.read_checkpoint) -> Parser:
    samples = fuzz_runs.checkpoint_json if name.endswith(".json") else fuzz_runs.checkpoint_tensors
    return Parser(f"{fuzz_runs.STEP}/{name}", partial(samples, name), read, fuzz_runs.checkpoint, share=0.6)


PARSERS = {
    "las": Parser("cloud.las", fuzz_clouds.las, fuzz_clouds.read, allowance=LAZ_THREADS),
    "laz": Parser("cloud.laz", fuzz_clouds.laz, fuzz_clouds.read, allowance=LAZ_THREADS),
    "ply": Parser("cloud.ply", fuzz_clouds.ply, fuzz_clouds.read),
    "pcd": Parser("cloud.pcd", fuzz_clouds.pcd, fuzz_clouds.read),
    "e57": Parser("cloud.e57", fuzz_clouds.e57, fuzz_clouds.read),
    "text": Parser("cloud.csv", fuzz_clouds.text, fuzz_clouds.read),
    "npy": Parser("cloud.npy", fuzz_clouds.npy, fuzz_clouds.read),
    "npz": Parser("cloud.npz", fuzz_clouds.npz, fuzz_clouds.read),
    "labelled ply": Parser("view.ply", fuzz_own_files.view_ply, fuzz_own_files.read_view_ply),
    "classes": Parser("classes.yaml", fuzz_own_files.classes, fuzz_own_files.read_classes),
    "clicks": Parser("clicks.csv", fuzz_own_files.clicks, fuzz_own_files.read_click_file),
    "weights pth": Parser("weights.pth", fuzz_own_files.torch_weights, fuzz_own_files.read_weights),
    "weights safetensors": Parser("w.safetensors", fuzz_own_files.safetensors, fuzz_own_files.read_weights),
    "exported": Parser("out/pointseg.json", fuzz_own_files.export, fuzz_own_files.read_export, fuzz_own_files.prepared),
    "scene": _of_scene("meta.json"),
    "scene coordinates": _of_scene("coord.npy"),
    "scene classes": _of_scene("segment.npy"),
    "grid voxels": _of_scene("grid_0.5/coord.npy"),
    "grid inverse": _of_scene("grid_0.5/inverse.npy"),
    "labels": _of_labels("spec.json"),
    "labels of a scene": _of_labels("all/x.npy"),
    "labels of clicks": _of_labels("spec.json", fuzz_stores.clicked),
    "recipe": Parser("recipe.yaml", fuzz_runs.recipe, fuzz_runs.read_recipe),
    "overrides": Parser("overrides.txt", fuzz_runs.overrides, fuzz_runs.read_overrides),
    "run": Parser("config.yaml", fuzz_runs.recipe, fuzz_runs.read_run, fuzz_runs.beside_config, share=0.3),
    "checkpoint manifest": _of_checkpoint("manifest.json", fuzz_runs.read_newest),
    "checkpoint state": _of_checkpoint("state.json"),
    "checkpoint optimizer": _of_checkpoint("optimizer.safetensors"),
    "checkpoint model": _of_checkpoint("model.safetensors"),
    "metrics": Parser("metrics.jsonl", fuzz_runs.metrics, fuzz_runs.read_metrics),
    "model": Parser("model/model.json", fuzz_runs.model_json, fuzz_runs.read_model, fuzz_runs.model_folder, share=0.6),
    "model weights": Parser(
        "model/model.safetensors",
        fuzz_runs.model_weights,
        fuzz_runs.read_model_of_any_hash,
        fuzz_runs.model_folder,
        share=0.3,
    ),
    "journal": Parser(
        "finished.jsonl", fuzz_predicted.journal_lines, fuzz_predicted.read_journal, fuzz_predicted.journal
    ),
    "predicted grid": Parser(
        "grid/grid.json", fuzz_predicted.grid_facts, fuzz_predicted.read_grid, fuzz_predicted.grid
    ),
    "predicted files": Parser(
        ".predicted.jsonl", fuzz_predicted.finished_lines, fuzz_predicted.read_finished, fuzz_predicted.outputs
    ),
    "made by": Parser(
        fuzz_predicted.MADE_BY, fuzz_predicted.made_by, fuzz_predicted.read_made_by, fuzz_predicted.predictions
    ),
    "scannet submission": Parser(
        "send/x.txt",
        fuzz_predicted.scannet_submission,
        fuzz_predicted.read_scannet_submission,
        fuzz_own_files.prepared,
        share=0.6,
    ),
    "sensaturban submission": Parser(
        "send/x.label",
        fuzz_predicted.sensaturban_submission,
        fuzz_predicted.read_sensaturban_submission,
        fuzz_own_files.prepared,
        share=0.3,
    ),
    "s3dis text": Parser("wall_1.txt", fuzz_data_sets.s3dis, fuzz_data_sets.read_s3dis),
    "scannet scene list": Parser("train.txt", fuzz_data_sets.scene_list, fuzz_data_sets.read_scenes),
    "scannet point lists": Parser("points20", fuzz_data_sets.point_lists, fuzz_data_sets.read_points),
    "scannet points of a scene": Parser("scene0000_00.npy", fuzz_data_sets.one_list, fuzz_data_sets.read_points),
    "scannet mesh": Parser("scene_vh_clean_2.ply", fuzz_data_sets.mesh, fuzz_data_sets.read_scene_mesh),
    "scannet labels": Parser("scene_labels.ply", fuzz_data_sets.mesh, fuzz_data_sets.read_mesh_labels),
    "scannet segments": Parser(
        "s.segs.json", fuzz_data_sets.segments, fuzz_data_sets.read_segments, fuzz_data_sets.beside_segments
    ),
    "scannet aggregation": Parser(
        "s.aggregation.json",
        fuzz_data_sets.aggregation,
        fuzz_data_sets.read_aggregation,
        fuzz_data_sets.beside_aggregation,
    ),
    "scannet label table": Parser("labels.tsv", fuzz_data_sets.label_table, fuzz_data_sets.read_table),
    "scannet info": Parser("scene.txt", fuzz_data_sets.info, fuzz_data_sets.read_info),
    "sensaturban tile": Parser("tile.ply", fuzz_data_sets.tile, fuzz_data_sets.read_sensaturban),
    "pointcept coord": Parser("coord.npy", fuzz_data_sets.pointcept_coord, fuzz_data_sets.read_pointcept),
    "pointcept segment": Parser(
        "segment.npy", fuzz_data_sets.pointcept_segment, fuzz_data_sets.read_pointcept, fuzz_data_sets.beside_segment
    ),
}
"""By name."""
