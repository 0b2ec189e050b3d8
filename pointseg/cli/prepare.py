"""``pointseg prepare``: one nested subcommand a data set, each a module of ``data_prep``."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import Any

HELP = """Turn raw scans into prepared scenes: memory-mapped arrays with their voxel grids. Safe to run again.

  pointseg prepare s3dis --raw Stanford3dDataset_v1.2_Aligned_Version --out data/s3dis
  pointseg prepare scannet --raw ScanNet --out data/scannet
  pointseg prepare cloud scans/*.laz --classes mine.yaml --out data/mine
  pointseg prepare synthetic --raw data/synthetic_raw --out data/synthetic --voxel-size 0.08

See 'pointseg prepare DATASET --help' for the flags of each."""

DATASETS: dict[str, tuple[str, str]] = {
    "s3dis": ("data_prep.s3dis", "S3DIS in its native layout"),
    "sensaturban": ("data_prep.sensaturban", "SensatUrban's native tiles"),
    "scannet": ("data_prep.scannet", "ScanNet v2's native meshes, 20 or 200 classes"),
    "cloud": ("data_prep.cloud", "your own PLY, LAS/LAZ, E57, PCD, text and NumPy files"),
    "pointcept": ("data_prep.pointcept", "folders as Pointcept's preprocessing writes them"),
    "synthetic": ("data_prep._s3dis_synthetic", "procedural rooms, generated first if they are not there"),
}
"""Name -> (module, line in ``--help``); a module is imported only when its data set is asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the nested subcommands; each fills in its own flags when it is the one that was called."""
    datasets = parser.add_subparsers(
        dest="prepare_dataset", required=True, metavar="DATASET", parser_class=_lazy(type(parser))
    )
    for name, (_, line) in DATASETS.items():
        datasets.add_parser(name, help=line)


def run(args: argparse.Namespace) -> int:
    """Prepare the data set that was named."""
    return int(_module(args.prepare_dataset).run(args))


def _module(name: str) -> ModuleType:
    return importlib.import_module(DATASETS[name][0])


def _lazy(parent: type[argparse.ArgumentParser]) -> type[argparse.ArgumentParser]:
    """A parser that asks its data set's module for its flags only when it has to parse something."""

    class Lazy(parent):  # type: ignore[valid-type,misc]
        def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
            module = _module(self.prog.rsplit(" ", 1)[-1])
            self.description = module.HELP
            module.add_arguments(self)
            return super().parse_known_args(*args, **kwargs)

    return Lazy
