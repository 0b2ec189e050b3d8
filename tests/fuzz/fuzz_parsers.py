"""Every parser: what it reads, small valid files of that kind, and what it promises."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fuzz_clouds
import fuzz_data_sets
import fuzz_own_files
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
    """

    file: str
    samples: Callable[[], list[Sample]]
    read: Callable[[Path], None]
    surround: Callable[[Path], None] = _nothing
    allowance: int = 64 << 20

    def place(self, folder: Path) -> Path:
        """Where to write the files; what has to be beside them is there."""
        self.surround(folder)
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


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
