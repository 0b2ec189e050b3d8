"""``pointseg predict``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from pointseg.cli.predict_clouds import add_cloud_arguments, model_spec, predict_clouds
from pointseg.cli.run_clouds import WrittenFiles, predicted_cloud
from pointseg.data.formats import SUFFIXES, write_predictions
from pointseg.data.scene import PreparedScene, hash_file
from pointseg.device import pick_device
from pointseg.errors import InputError
from pointseg.inference import save_model
from pointseg.progress import track
from pointseg.training import Run
from pointseg.training.checkpoint import FINAL
from pointseg.training.loop import predictor
from pointseg.viewing.ply import write_ply

HELP = """Predict cloud files with a trained model, or the prepared scenes of a run.

  pointseg predict scan.laz --model runs/mine -o labelled.laz
  pointseg predict scans/ --model models/rooms -o labelled
  pointseg predict runs/mine --export models/rooms
  pointseg predict runs/erda
  pointseg predict runs/erda --data other/root --splits Area_3 --out predictions
  pointseg predict runs/mine --native

With --model: each cloud in its own format, every original field kept, with class, confidence and entropy added, in
bounded memory and tile by tile; the same command goes on where it was stopped.

Without: prepared scenes as one PLY each, every raw point in its order, in the scan's own coordinates, with its colour
and the fields scalar_pred, scalar_gt, scalar_error, scalar_confidence, scalar_entropy and scalar_annotated (points the
run was trained on), as far as they are known; CloudCompare opens them as scalar fields."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="RUN|FILE", help="a run folder; with --model cloud files, or folders of them"
    )
    parser.add_argument("-o", "--out", help="file or folder to write to (of a run: RUN/predictions)")
    parser.add_argument("--checkpoint", help="of a run: final (default), best, or a folder in RUN/checkpoints")
    parser.add_argument("--device", help="cpu, cuda, mps (default: CUDA if there is one)")
    add_cloud_arguments(parser.add_argument_group("clouds"))
    scenes = parser.add_argument_group("prepared scenes of a run")
    scenes.add_argument("--splits", nargs="+", default=[], help="(default: the recipe's eval_splits, or all)")
    scenes.add_argument(
        "--native",
        action="store_true",
        help="write each cloud in its own format, every original field kept (scenes of 'pointseg prepare cloud')",
    )
    scenes.add_argument("--data", metavar="ROOT", help="prepared scenes, if not where the run was trained")
    scenes.add_argument("--export", metavar="FOLDER", help="write the run's network as a model folder, predict nothing")


def run(args: argparse.Namespace) -> int:
    if args.model:
        _refuse_together(args, "model", ("splits", "native", "data", "export"))
        return predict_clouds(args)
    _refuse_together(args, None, ("memory", "halo", "scheduler"))
    if len(args.inputs) > 1:
        raise InputError(f"{len(args.inputs)} inputs; give one run folder, or cloud files with --model")
    if Path(args.inputs[0]).suffix.lower() in SUFFIXES and not Path(args.inputs[0]).is_dir():
        raise InputError(f"{args.inputs[0]} is a cloud file; say with --model what to predict it with")
    run, checkpoint = Run.open(args.inputs[0]), args.checkpoint or FINAL
    if args.export:
        print(save_model(run.load_model(checkpoint), model_spec(run), args.export))
        return 0
    return _predict_scenes(run, checkpoint, args)


def _refuse_together(args: argparse.Namespace, flag: str | None, others: tuple[str, ...]) -> None:
    for other in others:
        if getattr(args, other):
            where = "without" if flag else "with"
            raise InputError(f"--{other} works {where} --model only; leave one of them out or give both")


def _predict_scenes(run: Run, checkpoint: str, args: argparse.Namespace) -> int:
    device = pick_device(args.device)
    predict = predictor(run, run.load_model(checkpoint, device), device)
    out = Path(args.out) if args.out else run.path / "predictions"
    written = WrittenFiles.of(out, run, checkpoint, args.data)
    scenes = run.scenes(args.splits, args.data)
    sources = {scene.path: _source(scene) for scene in scenes} if args.native else {}
    targets = {
        scene.path: out / scene.split / sources[scene.path].name if args.native else written.path(scene)
        for scene in scenes
    }
    _keep_sources(scenes, targets.values())
    for scene in track(scenes, "predicting"):
        prediction, target = predict(scene), targets[scene.path]
        target.parent.mkdir(parents=True, exist_ok=True)
        if args.native:
            known = {"confidence": prediction.confidence, "entropy": prediction.entropy}
            write_predictions(sources[scene.path], target, prediction.pred, **known)
        else:
            write_ply(target, predicted_cloud(run, scene, prediction), run.classes)
            written.add(scene)
        print(target)
    return 0


def _keep_sources(scenes: Sequence[PreparedScene], targets: Iterable[Path]) -> None:
    """Refuse to write over a raw file that one of the scenes was made from."""
    raw = {source.resolve() for scene in scenes for source in scene.sources}
    for target in targets:
        if target.resolve() in raw:
            raise InputError(f"{target} is a file that a scene was made from; give another folder with -o")


def _source(scene: PreparedScene) -> Path:
    """The cloud file that a scene was made from, seen to be there and unchanged.

    Raises:
        InputError: The scene was not made from one cloud file, or that has moved or changed.
    """
    sources = scene.meta.get("sources", [])
    where = f"scene {scene.split}/{scene.name}"
    path = Path(sources[0].get("path", "")) if len(sources) == 1 else None
    if path is None or path.suffix.lower() not in SUFFIXES or scene.meta["dataset"] != "cloud":
        raise InputError(f"{where} was not made from one cloud file by 'pointseg prepare cloud'; leave out --native")
    if not path.is_file() or hash_file(path) != sources[0]["sha256"]:
        raise InputError(f"{path}, which {where} was made from, is gone or has changed; prepare it again")
    return path
