"""What is trained: suites of data and label rules, variants of methods, and the cells they make together.

Within a suite every cell has the same backbone, schedule, augmentation, number of steps and evaluation; cells of one
seed also share the draw of labels and the initial network. Only the method differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

BASELINE = "supervised"


@dataclass(frozen=True)
class Variant:
    """A row of a table.

    Attributes:
        name: of the row and of its run folders.
        recipe: the method's part of a recipe's name, as ``erda`` in ``synthetic_erda``.
        settings: overrides of that recipe.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """One data set at a size that trains in minutes.

    Attributes:
        name: of the suite.
        data: name of its folder of prepared scenes.
        runs: name of its folder of runs; suites with the same settings share their cells.
        rules: the label rules, or names of imported lists.
        settings: overrides that every cell gets.
        variants: the rows.
    """

    name: str
    data: str
    runs: str
    rules: tuple[str, ...]
    settings: tuple[str, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Cell:
    """One training: a rule, a variant and a seed of a suite."""

    suite: Suite
    rule: str
    variant: Variant
    seed: int

    def setting(self, key: str) -> str:
        """A setting of its suite, as written there."""
        return dict(setting.split("=", 1) for setting in self.suite.settings)[key]

    def run(self, out: Path) -> Path:
        """The folder of its run."""
        rule = self.rule.replace("%", "pct")
        return out / "runs" / self.suite.runs / rule / f"{self.variant.name}_{self.seed}"

    def origin_file(self, out: Path) -> Path:
        """Where the versions of the code and of the settings that train it are written."""
        return self.run(out).with_suffix(".version")

    @property
    def training_splits(self) -> list[str]:
        """The splits it is trained on."""
        return self.setting("data.train_splits").strip("[]").split(", ")

    @property
    def scores_own(self) -> bool:
        """Whether the unannotated points of its training scenes are scored too, beside those of other scenes."""
        return self.rule != "full" and self.setting("data.train_splits") != self.setting("data.eval_splits")


METHODS = (
    *(
        Variant(name, name)
        for name in (
            BASELINE,
            "weighted",
            "entropy_minimization",
            "pseudo_label",
            "mean_teacher",
            "consistency",
            "u2pl",
            "u2pl_plus",
            "mllc",
            "erda",
            "query_erda",
        )
    ),
    Variant("averaged", BASELINE, ("ema_momentum=0.99",)),
)
"""The last is supervised-only, scored by a moving average of its weights, as mean_teacher and u2pl are."""

SELECTED = (64, 500, 2000)
"""Pseudo-labelled points a scene in the comparison of dense with selected pseudo-labels; 0 = all of them."""

PLAIN = (
    "method.projection=false",
    "method.initial=zeros",
    "method.momentum=0.99",
    "method.temperature=0.1",
)
"""ERDA with prototypes in the decoder's own features, whose pseudo-labels are sure of something from the start."""

LIGHT = ("method.weight=0.01",)
"""ERDA's weight in the three released configurations whose cross-entropy is not weighted.

Elsewhere it is 0.1 here, as in the two whose cross-entropy is, RandLA-Net's."""

DETACHED = (*PLAIN, "method.hard=true", "method.detach_p=true")

CLAIMS = (
    Variant(BASELINE, BASELINE),
    Variant("erda", "erda"),
    Variant("erda_weight0.01", "erda", LIGHT),
    Variant("plain", "erda", PLAIN),
    Variant("plain_weight0.01", "erda", (*PLAIN, *LIGHT)),
    *(Variant(f"plain_top{n}", "erda", (*PLAIN, f"method.top_n={n}")) for n in SELECTED),
    *(Variant(f"one_hot_top{n}", "erda", (*DETACHED, f"method.top_n={n}")) for n in SELECTED),
    Variant("one_hot", "erda", DETACHED),
    Variant("er_only", "erda", (*PLAIN, "method.form=none")),
    Variant("da_only", "erda", (*PLAIN, "method.entropy_weight=0.0")),
    Variant("kl_reverse", "erda", (*PLAIN, "method.form=kl_reverse")),
    Variant("js", "erda", (*PLAIN, "method.form=js")),
    Variant("mse", "erda", (*PLAIN, "method.form=mse")),
    Variant("detach_p", "erda", (*PLAIN, "method.detach_p=true")),
    Variant("detach_q", "erda", (*PLAIN, "method.detach_q=true")),
)
"""Supervised-only, ERDA and its ablations: what the paper's qualitative claims are checked on.

ERDA is ``PLAIN`` here: only the gradient to p trains the projection, so that arms without this gradient would also get
worse pseudo-labels. At temperature 1 such p would be uniform to the second digit.
"""

LONG_METHODS = (
    *(variant for variant in CLAIMS if LIGHT[0] not in variant.settings),
    *(Variant(name, name) for name in ("entropy_minimization", "pseudo_label", "mean_teacher", "mllc")),
)
"""What is worth four times the time: the claims, and what gains in shorter trainings."""

PARTS = (
    Variant(BASELINE, BASELINE),
    Variant("u2pl", "u2pl"),
    Variant("u2pl_plus", "u2pl_plus"),
    Variant("u2pl_plus_one_way", "u2pl_plus", ("method.symmetric_weight=0.0",)),
    Variant("u2pl_plus_noisy", "u2pl_plus", ("method.denoise=false",)),
    Variant("u2pl_plus_means", "u2pl_plus", ("method.prototype_momentum=0.0",)),
    Variant("mllc", "mllc"),
    Variant("mllc_minimum", "mllc", ("method.minimum_threshold=0.5",)),
    Variant("mllc_sample2048", "mllc", ("method.sample_size=2048",)),
    Variant("mllc_sample4096", "mllc", ("method.sample_size=4096",)),
    Variant("mllc_cells", "mllc", ("method.nodes=cells", "method.cell=0.2")),
)
"""U2PL+ without each of its parts; MLLC with a floor under its class thresholds, and on other graphs."""

WHOLE_SCENES = ("data.max_voxels=30000", "data.voxel_size=0.15")
ROOMS = (
    *WHOLE_SCENES,
    "batch_size=2",
    "data.train_splits=[Area_1, Area_2, Area_3]",
    "data.eval_splits=[Area_5, Area_6]",
    "steps=600",
    "eval_every=150",
)
"""24 rooms to train on and 16 to score: rare classes need many rooms for a score that is not chance."""

LONG = (*ROOMS, "steps=2400", "eval_every=600")
"""Four times as long: does anything part once supervised-only has fitted its few labels for long?"""

LARGE = (
    *ROOMS,
    "data.voxel_size=0.05",
    "data.max_voxels=120000",
    "model.name=MinkUNet34C",
    "model.planes=[]",
    "precision=bf16",
    "steps=10000",
    "eval_every=2000",
)
"""The same rooms at the size of published trainings, for a GPU."""

REAL = (*WHOLE_SCENES, "batch_size=1", "steps=200", "eval_every=100")
"""One scene, trained on its annotated points and scored on all the others."""


def suites() -> dict[str, Suite]:
    """Every suite by name."""
    scannet = (*REAL, "data.train_splits=[train]", "data.eval_splits=[train]")
    s3dis = (*REAL, "data.train_splits=[Area_3]", "data.eval_splits=[Area_3]")
    return {
        suite.name: suite
        for suite in (
            Suite("synthetic", "synthetic", "synthetic", ("1%", "0.1%", "1pt"), ROOMS, METHODS),
            Suite("full", "synthetic", "synthetic", ("full",), ROOMS, METHODS[:1]),
            Suite("claims", "synthetic", "synthetic", ("1%", "1pt"), ROOMS, CLAIMS),
            Suite("parts", "synthetic", "synthetic", ("1%",), ROOMS, PARTS),
            Suite("long", "synthetic", "long", ("1pt",), LONG, LONG_METHODS),
            Suite(
                "scannet", "scannet", "scannet", ("points20", "points50", "points100", "points200"), scannet, METHODS
            ),
            Suite("s3dis", "s3dis", "s3dis", ("1pt", "0.1%"), s3dis, METHODS),
            Suite("large", "synthetic", "large", ("1%", "0.1%", "1pt"), LARGE, METHODS),
        )
    }


def narrowed(suite: Suite, rules: Sequence[str], variants: Sequence[str]) -> Suite:
    """A suite with only those of its rules and variants that are named here; nothing named = all."""
    return replace(
        suite,
        rules=tuple(rule for rule in suite.rules if not rules or rule in rules),
        variants=tuple(variant for variant in suite.variants if not variants or variant.name in variants),
    )


def cells(chosen: Sequence[Suite], seeds: int) -> list[Cell]:
    """The cells of suites, seed by seed, so that whole comparisons come early."""
    return [
        Cell(suite, rule, variant, seed)
        for seed in range(seeds)
        for suite in chosen
        for rule in suite.rules
        for variant in suite.variants
    ]
