"What votes are worth: statistics checked against known answers, and nothing simulated passes for a person."
import math

import numpy as np
import pytest
import torch

from avgen_nb import votes
from avgen_nb.rating import PAPER_COUNTS, PAPER_MEANS, blind, latest, mean_score, rating_items
from avgen_nb.votes import (agreement_rows, alpha, are_simulated, coincidences, data_and_raters, difference_rows, drawn_means, expected_score,
                            middle, paper_rows, percent_agreement, rater_biases, rating_rows, score_counts, score_table, show_votes,
                            simulate, simulated_rater, system_difference, system_means)
from raters import QUALITY, a_rating, systems


def crowd(biases, noise=.5, seed=0): return {f'simulated {i}': simulated_rater(b, noise, [seed, i]) for i, b in enumerate(biases)}



def test_paper():
    assert {r.system: f'{r.value:.2f}' for r in paper_rows()} == PAPER_MEANS
    for system, counts in PAPER_COUNTS.items(): assert sum(counts) == 390 and mean_score(counts) == pytest.approx(float(PAPER_MEANS[system]), abs=.0075)


KRIPPENDORFF = [[1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],   # 0: no answer
                [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
                [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
                [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0]]


def test_alpha_of_krippendorffs_example():
    "Krippendorff (2011), example C: four observers, twelve units, answers missing: ordinal α = .815."
    scores = np.array(KRIPPENDORFF, float)
    scores[scores == 0] = np.nan
    assert alpha(scores - 1, levels=5) == pytest.approx(.815, abs=.0005)
    assert coincidences(scores - 1, 5).sum() == 40, 'the unit with one answer does not count'


def by_definition(scores):
    "α from all pairs of answers, without a table of coincidences."
    units = [x[~np.isnan(x)] for x in scores.T]
    units = [u for u in units if len(u) > 1]
    every = np.concatenate(units)
    n = {c: (every == c).sum() for c in set(every)}
    d = lambda c, k: (sum(n.get(g, 0) for g in range(int(min(c, k)), int(max(c, k)) + 1)) - (n[c] + n[k]) / 2) ** 2
    seen = sum(d(a, b) / (len(u) - 1) for u in units for i, a in enumerate(u) for j, b in enumerate(u) if i != j) / len(every)
    dealt = sum(d(a, b) for i, a in enumerate(every) for j, b in enumerate(every) if i != j) / (len(every) * (len(every) - 1))
    return 1 - seen / dealt


@pytest.mark.parametrize('seed', range(6))
def test_alpha_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    scores = np.clip(rng.integers(0, 4, 9) + rng.integers(-1, 2, (3, 9)), 0, 3).astype(float)
    scores[rng.random(scores.shape) < .25] = np.nan
    assert alpha(scores) == pytest.approx(by_definition(scores))


def test_alpha_by_hand():
    assert alpha([[0, 1, 2, 3]] * 3) == 1 and percent_agreement([[0, 1, 2, 3]] * 3) == 1
    assert alpha([[0, 3], [3, 0]]) == -.5 and percent_agreement([[0, 3], [3, 0]]) == 0
    assert alpha([[0, 0, 3], [0, 1, 3]]) == pytest.approx(7 / 9) and percent_agreement([[0, 0, 3], [0, 1, 3]]) == pytest.approx(2 / 3)
    assert percent_agreement([[3, 0], [3, 0], [3, 1]]) == pytest.approx((3 + 1) / (3 + 3))
    assert all(math.isnan(f(x)) for f in (alpha, percent_agreement) for x in ([[1, 2, 3]], [[1, np.nan], [np.nan, 2]]))
    assert math.isnan(alpha([[3, 3], [3, 3]]))


def test_alpha_does_not_mind_who_or_in_which_order():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (4, 12)).astype(float)
    assert alpha(x) == pytest.approx(alpha(x[::-1])) == pytest.approx(alpha(x[:, rng.permutation(12)])) == pytest.approx(alpha(3 - x))


def test_chance_raters_have_alpha_zero():
    rng = np.random.default_rng(0)
    assert abs(np.mean([alpha(rng.integers(0, 4, (4, 30))) for _ in range(200)])) < .015


def test_alpha_falls_as_noise_rises():
    items = blind(systems())
    mean = lambda noise: np.mean([alpha(score_table(simulate(items, QUALITY, crowd([0] * 4, noise, s))).scores) for s in range(5)])
    found = [mean(noise) for noise in (.05, .3, .6, 1.2, 2.5, 5)]
    assert all(a > b + .02 for a, b in zip(found, found[1:])) and found[0] > .95 and found[-1] < .1


@pytest.mark.parametrize('noise', [.3, .5, 1.])
@pytest.mark.parametrize('quality, bias', [(1.5, 0.), (2.6, .3), (.2, -.4), (1.2, .5)])
def test_simulated_rater_has_the_mean_of_the_formula(noise, quality, bias):
    rater = simulated_rater(bias, noise, 1)
    assert np.mean([rater(quality) for _ in range(6000)]) == pytest.approx(expected_score(quality, bias, noise), abs=4 * min(noise + .3, 1.2) / 6000**.5)


def test_known_bias_is_recovered():
    "In the middle of the scale nothing is clipped, so the bias found is the bias built in."
    biases = [-.45, -.15, .1, .5]
    items = [i for s in ('good', 'fair') for i in rating_items(s, ['tuba'] * 300, torch.zeros(300, 3, 2, 2))]
    found = rater_biases(score_table(simulate(items, dict(good=1.7, fair=1.3), crowd(biases))))
    assert list(found.values()) == pytest.approx(biases, abs=.09) and sum(found.values()) == pytest.approx(0, abs=1e-9)


def test_bias_with_holes_is_taken_item_by_item():
    "Who rated only the good items is not kind for that."
    x = [a_rating(f'{s}{i}', score, rater, s) for s, score in (('good', 3), ('bad', 0)) for i in range(5) for rater in ('a', 'b') if (rater, s) != ('b', 'bad')]
    assert rater_biases(score_table(x)) == dict(a=0, b=0)


def test_means_of_systems_are_the_formulas():
    table = score_table(simulate(blind(systems()), QUALITY, crowd([0.] * 20)))
    for s, mean in system_means(table).items(): assert mean[0] == pytest.approx(expected_score(QUALITY[s]), abs=.1)


def test_interval_holds_the_truth_as_often_as_it_says():
    "Raters and items vary both; the truth is the mean over both. The bootstrap over both may be too wide, not too narrow."
    rng, hits, naive, runs = np.random.default_rng(0), 0, 0, 150
    truth = np.mean([expected_score(1.5 + a, b) for a in rng.normal(0, .3, 400) for b in rng.normal(0, .3, 50)])
    names = [f'i{i}' for i in range(30)]
    for run in range(runs):
        quality, bias = rng.normal(1.5, .3, 30), rng.normal(0, .3, 10)
        scores = np.clip(np.floor(quality + bias[:, None] + .5 * rng.normal(size=(10, 30)) + .5), 0, 3)
        low, high = middle(drawn_means(votes.ScoreTable(scores, list(range(10)), names, np.array(['s'] * 30)), run, 300)['s'])
        hits += low <= truth <= high
        naive += abs(scores.mean() - truth) < 1.96 * scores.std() / 300**.5
    assert hits / runs > .9 and naive / runs < .75


def test_difference_leaves_out_kindness():
    "A rater kind to both systems moves both means and not the difference."
    ratings = simulate(blind(systems()), QUALITY, crowd([-1, -.5, 0, .5, 1]))
    table = score_table(ratings)
    value, low, high = system_difference(table, 'good', 'fair')
    wide = np.diff(middle(drawn_means(table)['good']))[0] + np.diff(middle(drawn_means(table)['fair']))[0]
    assert low < value < high and high - low < .6 * wide
    assert value == pytest.approx(-system_difference(table, 'fair', 'good')[0])
    assert system_difference(table, 'good', 'good') == (0, 0, 0)
    with pytest.raises(ValueError, match="nobody rated 'best'"): system_difference(table, 'good', 'best')


def test_equal_systems_are_not_told_apart():
    missed = 0
    for seed in range(40):
        ratings = simulate(blind(systems(), seed), dict.fromkeys(QUALITY, 1.5), crowd([0, .2, -.2], seed=seed))
        _, low, high = system_difference(score_table(ratings), 'good', 'fair', n=300)
        missed += not low <= 0 <= high
    assert missed <= 4


def test_one_rater_and_holes():
    ratings = simulate(blind(systems(10)), QUALITY, crowd([0., .3]))
    rows = rating_rows(ratings[:25])            # one rater, not done
    assert sum(r.n for r in rows) == 25 and all(r.low <= r.value <= r.high for r in rows)
    rows = rating_rows(ratings[:55])            # the second has just begun
    assert sum(r.n for r in rows) == 55 and all(math.isfinite(v) for r in rows for v in (r.value, r.low, r.high))
    with pytest.raises(ValueError, match='no ratings yet'): rating_rows([])


def test_same_seed_same_rows():
    ratings = simulate(blind(systems()), QUALITY, crowd([0, 0]))
    assert rating_rows(ratings, seed=1) == rating_rows(ratings[::-1], seed=1) != rating_rows(ratings, seed=2)


def test_rows():
    ratings = simulate(blind(systems()), QUALITY, crowd([0] * 3))
    rows = rating_rows(ratings, data='toy', split='test', device='nobody')
    assert [r.system for r in rows] == list(QUALITY) and all((r.metric, r.n, r.split) == ('human_score', 90, 'test') for r in rows)
    assert [r.paper for r in rows] == ['2.59', None, None, None] and [r.ceiling for r in rows] == [None] + [rows[0].value] * 3
    assert all(r.value == pytest.approx(mean_score(score_counts(ratings)[r.system])) for r in rows)
    assert len(difference_rows(ratings)) == 6 and [r.metric for r in agreement_rows(ratings)] == ['krippendorff_alpha', 'percent_agreement']


def test_changed_minds_count_once():
    ratings = [a_rating(score=3), a_rating('b', 3), a_rating(score=0)]
    assert score_counts(ratings) == {'s': [1, 0, 0, 1]} and len(latest(ratings)) == 2
    assert score_table(ratings).scores.tolist() == [[0, 3]]


# --- nothing simulated passes for a person

def test_simulated_is_always_marked():
    import matplotlib.pyplot as plt
    plt.switch_backend('Agg')
    items = blind(systems(4))
    with pytest.raises(ValueError, match="must begin with 'simulated'"): simulate(items, QUALITY, {'ada': simulated_rater()})
    mixed = simulate(items, QUALITY, crowd([0])) + [a_rating(items[0].name, 3, system=items[0].system)]
    assert are_simulated(mixed) and not are_simulated(mixed[-1:])
    assert all('simulated' in r.data for r in rating_rows(mixed, data='x') + difference_rows(mixed) + agreement_rows(mixed))
    fig = show_votes(mixed)
    assert 'simulated' in fig.axes[0].get_title() and 'Chen' in fig.axes[1].get_title()
    plt.close('all')
    assert data_and_raters(mixed[-1:]) == '1 rater' and data_and_raters([a_rating(), a_rating(rater='b')], 'x') == 'x, 2 raters'
