"""Damaged and random files for every parser. POINTSEG_FUZZ_EXAMPLES sets how many of them each parser gets."""

import os

import pytest
from fuzz_mutations import random_files, samples_damaged
from fuzz_oracle import check_file
from fuzz_parsers import PARSERS
from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = int(os.environ.get("POINTSEG_FUZZ_EXAMPLES", "150"))
RANDOM_SHARE = 4
NEEDS = {"las": "laspy", "laz": "lazrs", "e57": "pye57"}


def bounded(examples):
    """The same examples in every run, and no clock of hypothesis's: a machine may be busy."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


@pytest.fixture(params=PARSERS)
def parser(request):
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return PARSERS[request.param]


def test_files_are_read_or_refused_in_one_line(parser, tmp_path, capfd):
    path = parser.place(tmp_path)
    for sample in parser.samples():
        path.write_bytes(sample.join(sample.parts))
        # The first time, libraries are loaded and threads started, which no bound on memory should count.
        parser.read(path)
        assert check_file(parser.read, path, parser.allowance)

    def check(data):
        path.write_bytes(data)
        check_file(parser.read, path, parser.allowance)
        assert capfd.readouterr() == ("", "")

    capfd.readouterr()
    examples = int(EXAMPLES * parser.share)
    bounded(examples)(given(samples_damaged(parser.samples()))(check))()
    bounded(examples // RANDOM_SHARE)(given(random_files(parser.samples()))(check))()
