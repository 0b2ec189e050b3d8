"""The rule of a draw: how many points it takes, which, and that nothing else decides them."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointseg.data.label_rule import draw_points, parse_rule
from pointseg.data.sparse_labels import default_name

PINNED = [30, 36, 42, 58, 82, 92, 118, 122, 146]
"""A draw written down once, so that a change of the generator or of NumPy shows."""

PINNED_WHOLE = [8, 16, 46, 62, 120, 134, 138, 140, 154]
"""The same of a draw over all classes at once."""


def test_rate_is_exact_where_floats_are_not():
    assert int(0.29 * 100) == 28
    assert parse_rule("29%").number(100) == 29
    assert parse_rule("0.1%").number(3000) == 3


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_number_is_the_published_formula(per_mille_of_percent, candidates):
    rate = Fraction(per_mille_of_percent, 10**6)
    text = f"{per_mille_of_percent / 10**4:.4f}%"
    rule = parse_rule(text)
    assert rule.rate == rate
    assert rule.number(candidates) == max(candidates * per_mille_of_percent // 10**6, 1)


@pytest.mark.parametrize(
    ("given_text", "text", "label"),
    [
        ("1%", "1%", "1pct"),
        ("1.0%", "1%", "1pct"),
        ("00.10%", "0.1%", "0.1pct"),
        ("0.02%", "0.02%", "0.02pct"),
        ("100%", "100%", "100pct"),
        ("10%", "10%", "10pct"),
        ("12.5%", "12.5%", "12.5pct"),
        ("1pt", "1pt", "1pt"),
        ("020pt", "20pt", "20pt"),
        ("0.10%/scene", "0.1%/scene", "0.1pct_scene"),
        ("200pt/scene", "200pt/scene", "200pt_scene"),
    ],
)
def test_a_rule_has_one_spelling(given_text, text, label):
    assert parse_rule(given_text).text == text
    assert parse_rule(text) == parse_rule(given_text)
    assert default_name(given_text, 3) == f"{label}_seed3"


def test_scenes_of_one_name_in_two_splits_get_draws_of_their_own():
    candidates, label = np.arange(1000), np.zeros(1000, int)
    rule = parse_rule("10pt")
    draws = [draw_points(candidates, label, rule, seed=0, scene=s)[0].tolist() for s in ("Area_1/a", "Area_2/a")]
    assert draws[0] != draws[1]


def test_the_draw_is_the_same_on_every_machine():
    index, label = draw_points(
        np.arange(0, 200, 2), np.arange(100) % 3, parse_rule("3pt"), seed=0, scene="Area_1/office_1"
    )
    assert index.tolist() == PINNED
    np.testing.assert_array_equal(label, (index // 2) % 3)


def test_seeds_differ_and_every_candidate_can_win():
    candidates, label = np.arange(10, 20), np.zeros(10, int)
    wins = Counter(
        int(draw_points(candidates, label, parse_rule("1pt"), seed=seed, scene="a/b")[0][0]) for seed in range(1000)
    )
    assert set(wins) == set(range(10, 20))
    # Chi-square with 9 degrees of freedom: 27.9 is exceeded with probability 0.001.
    assert sum((n - 100) ** 2 / 100 for n in wins.values()) < 27.9


@pytest.mark.parametrize("suffix", ["", "/scene"])
def test_smaller_rates_are_subsets_of_larger_ones(suffix):
    candidates, label = np.arange(5000), np.arange(5000) % 4
    drawn = [
        set(draw_points(candidates, label, parse_rule(rule + suffix), seed=0, scene="a/b")[0].tolist())
        for rule in ("1pt", "0.1%", "1%", "10%", "100%")
    ]
    assert all(small <= large for small, large in pairwise(drawn))
    assert drawn[-1] == set(range(5000))


@pytest.mark.parametrize("text", ["5%", "5%/scene"])
def test_order_of_candidates_does_not_matter(text):
    rng = np.random.default_rng(0)
    candidates, label = rng.permutation(1000), rng.integers(-1, 3, 1000)
    shuffle = rng.permutation(1000)
    one = draw_points(candidates, label, parse_rule(text), seed=2, scene="a/b")
    other = draw_points(candidates[shuffle], label[shuffle], parse_rule(text), seed=2, scene="a/b")
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1%/scene", 9), ("0.01%/scene", 1), ("29%/scene", 261), ("100%/scene", 900), ("40pt/scene", 40)],
)
def test_a_rule_over_the_scene_counts_all_labelled_candidates_at_once(text, number):
    candidates = np.arange(0, 2000, 2)
    label = np.repeat([-1, 0, 5], [100, 895, 5])
    index, drawn = draw_points(candidates, label, parse_rule(text), seed=0, scene="a/b")
    assert len(index) == number
    assert (np.diff(index) > 0).all()
    np.testing.assert_array_equal(drawn, label[index // 2])
    assert (drawn >= 0).all()


def test_more_points_than_there_are_takes_all():
    index, _ = draw_points(np.arange(7), np.array([0, 1, -1, 1, 0, 0, -1]), parse_rule("20pt/scene"), seed=0, scene="a")
    assert index.tolist() == [0, 1, 3, 4, 5]


def test_nothing_is_drawn_where_nothing_is_labelled():
    index, label = draw_points(np.arange(3), np.full(3, -1), parse_rule("1%/scene"), seed=0, scene="a")
    assert len(index) == len(label) == 0


def test_a_rule_over_the_scene_takes_classes_by_their_share():
    candidates, label = np.arange(400), np.repeat([0, 1], [300, 100])
    rule = parse_rule("10pt/scene")
    rare = sum(int((draw_points(candidates, label, rule, seed=seed, scene="a/b")[1] == 1).sum()) for seed in range(400))
    # 4000 draws without replacement, a quarter of class 1: mean 1000, standard deviation 27; 4 of them are allowed.
    assert abs(rare - 1000) < 108


def test_the_draw_over_the_scene_is_the_same_on_every_machine_and_has_a_stream_of_its_own():
    candidates, one_class = np.arange(0, 200, 2), np.zeros(100, int)
    whole, _ = draw_points(candidates, one_class, parse_rule("9pt/scene"), seed=0, scene="Area_1/office_1")
    by_class, _ = draw_points(candidates, one_class, parse_rule("9pt"), seed=0, scene="Area_1/office_1")
    assert whole.tolist() == PINNED_WHOLE
    assert whole.tolist() != by_class.tolist()
