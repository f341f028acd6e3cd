"Information: every bound by hand, where each fails, what is drawn apart, and whose weights a gradient moves."
import math

import pytest
import torch
from torch import nn

from avgen_nb.information import BITS, ESTIMATORS, CriticTask, FeaturePairs, GaussianPairs, JoinedCritic, SeparableCritic
from avgen_nb.information import bits_interval, donsker_varadhan, entropy, estimates, info_nce, information_loss, jensen_shannon
from avgen_nb.information import log_mean_exp, named_information, nguyen_wainwright_jordan, off_diagonal, partner_scores, table_information
from avgen_nb.loop import Chance, Place, seeded
from avgen_nb.training import describe, fit

SCORES = torch.tensor([[2., 0, -1], [1, 3, 0], [0, 0, 1]])
OTHERS = [0, -1, 1, 0, 0, 0]


def chance(seed=0): return Chance(Place('cpu'), seed)


def test_bounds_by_hand():
    e = [math.exp(v) for v in OTHERS]
    assert donsker_varadhan(SCORES).item() == pytest.approx(2 - math.log(sum(e) / 6), abs=1e-5)
    assert nguyen_wainwright_jordan(SCORES).item() == pytest.approx(3 - sum(e) / 6, abs=1e-5)
    soft = lambda v: math.log1p(math.exp(v))
    assert jensen_shannon(SCORES).item() == pytest.approx(-sum(map(soft, (-2, -3, -1))) / 3 - sum(map(soft, OTHERS)) / 6, abs=1e-5)
    rows = [t - math.log(sum(math.exp(v) for v in row) / 3) for t, row in zip((2, 3, 1), SCORES.tolist())]
    assert info_nce(SCORES).item() == pytest.approx(sum(rows) / 3, abs=1e-5)


def test_only_what_was_drawn_apart_counts():
    apart = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]]).bool()
    wild = SCORES.clone(); wild[0, 1] = wild[1, 0] = 50.
    for bound in (donsker_varadhan, nguyen_wainwright_jordan, jensen_shannon, info_nce):
        assert torch.equal(bound(wild, apart), bound(SCORES, apart)) and bound(wild) != bound(SCORES)
    assert (partner_scores(wild, apart) <= torch.tensor([2., 2, 3]).log() + 1e-6).all()


def test_a_constant_changes_nothing_where_it_must_not():
    for bound in (donsker_varadhan, info_nce): assert torch.isclose(bound(SCORES + 7), bound(SCORES), atol=1e-5)
    best = max(nguyen_wainwright_jordan(SCORES + c) for c in torch.linspace(-3, 3, 601))
    assert best.item() == pytest.approx(donsker_varadhan(SCORES).item(), abs=1e-3)   # the best constant makes NWJ DV


def test_donsker_varadhan_is_never_below_nwj():
    for seed in range(20):
        T = 3 * torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
        assert donsker_varadhan(T) >= nguyen_wainwright_jordan(T)


def test_info_nce_has_a_ceiling_and_no_other_has():
    certain = torch.full((8, 8), -30.) + 60 * torch.eye(8)
    assert info_nce(certain).item() == pytest.approx(math.log(8), abs=1e-5) and donsker_varadhan(certain) > 10
    assert -2 * math.log(2) - 1e-6 <= jensen_shannon(torch.zeros(8, 8)) <= jensen_shannon(certain) <= 0


def test_large_scores_overflow_in_no_bound_but_nwj():
    T = torch.full((4, 4), 200.)
    for bound in (donsker_varadhan, info_nce, jensen_shannon): assert bound(T).isfinite()
    assert log_mean_exp(torch.tensor([1000., 1000.])).item() == 1000


def test_information_of_tables():
    of_both = -.75 * math.log2(.375) - .25 * math.log2(.125)
    assert table_information(torch.tensor([[3, 1], [1, 3]])) == pytest.approx(2 - of_both, abs=1e-6)
    assert table_information(torch.tensor([[2, 4], [1, 2]])) == pytest.approx(0, abs=1e-9)
    assert table_information(torch.diag(torch.tensor([1, 1, 2]))) == pytest.approx(entropy(torch.tensor([1, 1, 2])).item()) == 1.5


@pytest.mark.parametrize('dim,bits', ((1, 1.), (20, 4.)))
def test_gaussians_share_what_they_say(dim, bits):
    source = GaussianPairs(dim, bits / BITS)
    assert -dim / 2 * math.log2(1 - source.rho ** 2) == pytest.approx(bits)
    x, y = source.draw(16000, chance())
    assert abs(x.std() - 1) < .03 and abs(y.std() - 1) < .03 and abs((x * y).mean() - source.rho) < .04
    pointwise = torch.cat([source.exact(a, b).diagonal() for a, b in zip(x.split(500), y.split(500))])
    assert BITS * pointwise.mean() == pytest.approx(bits, abs=.15)
    apart = torch.cat([source.exact(a, b)[off_diagonal(torch.zeros(len(a), len(a)))] for a, b in zip(x.split(500), y.split(500))])
    if bits < 2: assert apart.exp().mean() == pytest.approx(1, abs=.1)   # a ratio of densities


def test_what_gaussians_cannot_be():
    for dim, nats in ((0, 1.), (2, -1.)):
        with pytest.raises(ValueError, match='cannot be'): GaussianPairs(dim, nats)
    x, y = GaussianPairs(3, 0.).draw(5, chance())
    assert x.shape == y.shape == (5, 3) and not torch.allclose(x, y)


def test_the_best_critic_fails_as_told():
    toy = GaussianPairs(20, 8 / BITS)
    e = {name: BITS * estimates(toy.exact, toy, read, 32, 100) for name, (_, read) in ESTIMATORS.items()}
    assert e['InfoNCE'].max() <= 5 + 1e-4 and e['InfoNCE'].std() < .5
    assert e['DV'].mean() > 8 and e['NWJ'].std() > e['InfoNCE'].std()
    assert torch.equal(e['JS'], e['NWJ'])   # read alike


@pytest.mark.parametrize('name', ESTIMATORS)
def test_a_critic_learns(name):
    climb, read = ESTIMATORS[name]
    source = GaussianPairs(2, 2 / BITS)
    with seeded(0): task = CriticTask(SeparableCritic(2, 2, 32, 16), source, climb, rate=5e-3)
    before = estimates(task.nets['T'], source, read, 64, 20).mean()
    critic = fit(task, steps=150, average=.95, precision='fp32', quiet=True).averages['T']
    after = BITS * estimates(critic, source, read, 64, 50).mean()
    assert after > BITS * before + .5 and .8 < after < 2.4


@pytest.mark.parametrize('kind', (SeparableCritic, JoinedCritic))
def test_a_score_is_of_its_own_two(kind):
    critic, x, y = kind(3, 2), torch.randn(4, 3), torch.randn(5, 2)
    T = critic(x, y)
    assert T.shape == (4, 5) and all(torch.allclose(T[i, j], critic(x[[i]], y[[j]])[0, 0], atol=1e-6) for i in range(4) for j in range(5))


def test_tasks_tell_themselves_apart():
    x, songs = torch.randn(6, 2), torch.arange(6)
    task = lambda source, climb=info_nce, **how: describe(CriticTask(SeparableCritic(2, 2), source, climb, **how))
    one = GaussianPairs(2, 1.)
    features = [FeaturePairs(x, x, songs), FeaturePairs(x, x + 1, songs), FeaturePairs(x, x, songs, noise=.1)]
    told = [task(s) for s in (one, GaussianPairs(2, 2.), *features)] + [task(one, jensen_shannon), task(one, decay=.1)]
    assert len({str(t) for t in told}) == len(told)


def test_a_batch_is_of_different_songs():
    songs = torch.tensor([5, 2, 5, 9, 2, 5, 9, 9])
    pairs = FeaturePairs(torch.arange(8.)[:, None], 10 * torch.arange(8.)[:, None], songs)
    seen = set()
    for seed in range(40):
        x, y = pairs.draw(2, chance(seed))
        assert torch.equal(y, 10 * x) and len({int(songs[int(v)]) for v in x}) == 2
        seen |= {int(v) for v in x}
    assert seen == set(range(8)) and len(pairs.draw(50, chance())[0]) == 3
    assert torch.equal(pairs.apart(), songs[:, None] != songs[None])
    group = torch.tensor([0, 1] * 4)
    assert torch.equal(pairs.apart(group), (songs[:, None] != songs[None]) & (group[:, None] == group[None]))


def test_noise_on_features_is_of_the_run():
    pairs = FeaturePairs(torch.zeros(6, 3), torch.zeros(6, 3), torch.arange(6), noise=.5)
    x, y = pairs.draw(6, chance(1))
    assert x.std() > .2 and not torch.equal(x, y) and torch.equal(x, pairs.draw(6, chance(1))[0])


def test_features_must_fit():
    with pytest.raises(ValueError, match='one of each'): FeaturePairs(torch.zeros(3, 1), torch.zeros(4, 1), torch.arange(3))


def test_a_name_tells_what_it_is_believed():
    y, prior = torch.tensor([1, 0]), torch.tensor([.25, .75])
    logits = torch.tensor([[0., 0], [math.log(3), 0]])
    assert named_information(logits, y, prior).tolist() == pytest.approx([math.log2(.5 / .75), math.log2(.75 / .25)], abs=1e-5)
    assert named_information(prior.log().expand(2, 2), y, prior).tolist() == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.filterwarnings('ignore:1 of 2 classes')
def test_bits_are_means_over_instruments_and_songs():
    bits, songs, labels = torch.tensor([0., 2, 4, 4, 10]), torch.tensor([3, 3, 5, 5, 8]), torch.tensor([1, 1, 1, 1, 2])
    value, low, high = bits_interval(bits, songs, labels)
    assert value == pytest.approx((2.5 + 10) / 2) and low == pytest.approx((1 + 10) / 2) and high == pytest.approx((4 + 10) / 2)


def test_the_gradient_reaches_the_generator_and_no_critic_moves():
    class Game:
        averaged = ()
        def __init__(self):
            with seeded(0): self.nets = dict(T=JoinedCritic(2, 2, 8), G=nn.Linear(2, 2))
            self.optimizers = {k: torch.optim.SGD(net.parameters(), .1) for k, net in self.nets.items()}
        def draw(self, loop): return loop.randn(16, 2)
        def step(self, x, loop):
            loss = information_loss(self.nets['T'], x, self.nets['G'](x))
            loop.update('G', loss)
            return dict(loss=loss.detach())
    task = Game()
    before = {k: [p.clone() for p in net.parameters()] for k, net in task.nets.items()}
    fit(task, steps=3, precision='fp32', quiet=True)
    moved = {k: any(not torch.equal(a, b) for a, b in zip(before[k], net.parameters())) for k, net in task.nets.items()}
    assert moved == dict(T=False, G=True)


def test_a_generator_of_a_plane_finds_the_partner():
    "Under the critic x·y the best that a linear generator of unit length can make is what it was given."
    W = torch.tensor([[0., 1], [-1, .2]], requires_grad=True)
    optimizer, g = torch.optim.Adam([W], .05), torch.Generator().manual_seed(0)
    for _ in range(150):
        x = torch.randn(64, 2, generator=g)
        made = x @ (W / W.norm() * math.sqrt(2)).T
        optimizer.zero_grad(); information_loss(lambda a, b: a @ b.T, x, made).backward(); optimizer.step()
    assert torch.allclose(W / W.norm() * math.sqrt(2), torch.eye(2), atol=.1)
