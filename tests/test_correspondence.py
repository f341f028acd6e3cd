"Correspondence: what meets what, who may be a partner, losses by hand, maps on any size, and what a file keeps."
import math

import pytest, torch
from torch.nn import functional as F

from avgen_nb import correspondence as c
from avgen_nb.duets import Duets
from avgen_nb.loop import Chance, Place, seeded
from avgen_nb.many import fit
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.pairs import Pairs, orchestra_pairs
from avgen_nb.runs import changed
from avgen_nb.training import describe

SMALL = dict(plan=('4/2', 4, '8/2', 8), eye=None, hidden=8, embed=4)


@pytest.fixture(scope='module')
def data(): return orchestra_pairs('small', progress=False)


def towers(recipe, seed=0):
    with seeded(seed): return c.Towers(changed(recipe, **SMALL)).eval()


def some(n=3, m=2, wide=64):
    g = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 64, wide, generator=g) * 2 - 1, torch.rand(m, 1, 128, 44, generator=g) * 2 - 1


@pytest.mark.parametrize('recipe', c.MATCH_RECIPES.values(), ids=lambda r: r.name)
def test_all_with_all_is_each_with_each(recipe):
    net, (x, y) = towers(recipe), some()
    with torch.no_grad():
        T = net(x, y)
        assert T.shape == (3, 2)
        for i in range(3):
            for j in range(2): assert torch.allclose(net(x[[i]], y[[j]])[0, 0], T[i, j], atol=1e-4)


def test_fusion_is_one_layer_over_both_halves_and_a_softmax_of_two():
    net, (x, y) = towers(c.L3NET), some(1, 1)
    with torch.no_grad():
        both = torch.cat([net.eye(x), net.ear(y)], 1)
        weight = torch.cat([net.head.see.weight, net.head.hear.weight], 1)
        two = net.head.out(F.relu(both @ weight.T + net.head.see.bias))
        assert torch.allclose(net(x, y).sigmoid(), two.softmax(1)[:, 1:], atol=1e-5)


def test_distance_alone_decides():
    head = towers(c.AVE_NET).head
    a, b = F.normalize(torch.randn(5, 4), dim=-1), F.normalize(torch.randn(6, 4), dim=-1)
    d, T = torch.cdist(a, b).flatten(), head.meet(a, b).flatten()
    assert (T[d.argsort()].diff() <= 1e-4).all() and torch.allclose(head.meet(b, b).diagonal(), torch.full((6,), 10 * head.level.item()), atol=.2)


@pytest.mark.parametrize('recipe', c.MATCH_RECIPES.values(), ids=lambda r: r.name)
def test_maps_are_the_score_before_the_maximum_and_of_any_width(recipe):
    net, (x, y) = towers(recipe), some(2, 2)
    net.level.fill_(.5)
    maps = c.similarity_maps(net, x, y, part=1)
    assert maps.shape == (2, 16, 16)
    if net.head.places:
        with torch.no_grad(): assert torch.allclose(maps.amax((1, 2)), net(x, y).diagonal(), atol=1e-4)
    wide = c.similarity_maps(net, some(2, 2, 128)[0], y)
    assert wide.shape == (2, 16, 32)


def test_a_map_moves_with_the_picture():
    net, (x, y) = towers(c.AVOL_NET), some(1, 1)
    left = torch.zeros(1, 3, 64, 128); left[..., 8:40, 16:48] = x[..., :32, :32]
    right = torch.zeros(1, 3, 64, 128); right[..., 8:40, 80:112] = x[..., :32, :32]
    a, b = (c.similarity_maps(net, v, y) for v in (left, right))
    assert torch.allclose(a[..., 2:12], b[..., 18:28], atol=1e-3) and not torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize('kind', c.AVC_NEGATIVES)
def test_partners_are_what_their_kind_says(data, kind):
    pairs = data['train']
    i = torch.arange(len(pairs))
    j = c.Partners(pairs, kind).draw(i, torch.Generator().manual_seed(0))
    same_song, same_label = pairs.songs[i] == pairs.songs[j], pairs.labels[i] == pairs.labels[j]
    far = (pairs.truth['ms'][i] - pairs.truth['ms'][j]).abs()
    if kind == 'moments': assert same_song.all() and far.min() >= 500
    else: assert not same_song.any()
    if kind == 'players': assert same_label.all()
    if kind == 'songs': assert .02 < same_label.float().mean() < .12   # 1 of 25 other songs is of the same instrument
    assert torch.equal(j, c.Partners(pairs, kind).draw(i, torch.Generator().manual_seed(0)))
    assert len(j.unique()) > len(pairs) / 3


def test_kinds_that_cannot_be_are_named(data):
    assert c.kinds_for(data['train']) == ('songs', 'players', 'moments') and c.kinds_for(data['test']) == ('songs', 'moments')
    with pytest.raises(ValueError, match="no partner for negatives 'players'"):
        c.Partners(data['test'], 'players').draw(torch.arange(9), torch.Generator())
    with pytest.raises(ValueError, match='one of songs, players, moments'): c.Partners(data['test'], 'strangers')
    from dataclasses import replace
    with pytest.raises(ValueError, match='do not say their time'):
        c.Partners(replace(data['test'], truth={}), 'moments').draw(torch.arange(3), torch.Generator())


class Given:
    "Towers whose scores are given."
    def __init__(self, T): self.T = T
    def scores(self, a, b): return self.T


def test_losses_by_hand():
    T, songs = torch.tensor([[2., -1, 0, 3], [1, 1, 0, 0], [0, 0, -2, 1], [5, 0, 4, 0]]), torch.tensor([0, 1, 2, 0])
    soft = lambda v: math.log1p(math.exp(v))
    by_hand = (soft(-2) + soft(-1) + soft(2) + soft(0) + soft(-1) + soft(1) + soft(1) + soft(4)) / 8
    b = torch.zeros(4, 1)
    assert c.pair_loss(Given(T), None, b, songs, None).item() == pytest.approx(by_hand, abs=1e-5)
    e = lambda *v: math.log(sum(map(math.exp, v)))                      # rows 0 and 3 are of one song, and no partners: not asked
    rows = e(2, -1, 0) - 2 + e(1, 1, 0, 0) - 1 + e(0, 0, -2, 1) + 2 + e(0, 4, 0) - 0
    columns = e(2, 1, 0) - 2 + e(-1, 1, 0, 0) - 1 + e(0, 0, -2, 4) + 2 + e(0, 1, 0) - 0
    assert c.among_loss(Given(T), None, b, songs, None).item() == pytest.approx((rows + columns) / 8, abs=1e-5)


def test_another_moment_of_the_song_is_an_answer_only_as_a_partner():
    T, b = torch.zeros(4, 4), torch.zeros(4, 1)
    loss = lambda songs: c.among_loss(Given(T), None, b, torch.tensor(songs), None).item()
    assert loss([0, 1, 2, 3]) == pytest.approx(math.log(4)) == pytest.approx(loss([0, 0, 1, 1]))
    assert loss([0, 1, 0, 1]) == pytest.approx(math.log(3))


def test_a_batch_is_made_of_partners(data):
    task = c.MatchTask(changed(c.CONTRAST, negatives='players', batch=16, vary_picture=0., vary_sound=0., **SMALL), data['train'])
    x, y, songs, labels = task.draw(Chance(Place('cpu'), 3))
    assert x.shape == (16, 3, 64, 64) and y.shape == (16, 1, 128, 44)
    assert (songs[::2] != songs[1::2]).all() and torch.equal(labels[::2], labels[1::2])


def test_a_task_says_all_that_decides(data):
    tell = lambda **k: describe(c.MatchTask(changed(c.L3NET, **SMALL | k), data['train']))
    one = tell()
    for change in (dict(rate=1e-3), dict(negatives='moments'), dict(score='product'), dict(loss='among'), dict(batch=8), dict(vary_sound=0.)):
        assert tell(**change) != one
    assert one == tell()


def test_training_learns_a_toy_and_repeats_itself():
    g = torch.Generator().manual_seed(0)
    kinds, every = torch.randint(2, (200,), generator=g), torch.arange(200)
    pictures = (40 * torch.rand(200, 3, 16, 16, generator=g) + 180 * kinds.view(-1, 1, 1, 1)).to(torch.uint8)
    sounds = .1 * torch.randn(200, 1, 16, 8, generator=g) + kinds.view(-1, 1, 1, 1)
    pairs = Pairs(pictures, sounds, kinds, kinds, every, ('a', 'b'), every, every)
    def learnt():
        task = c.MatchTask(changed(c.L3NET, vary_picture=0., vary_sound=0., rate=1e-2, **SMALL), pairs)
        return fit(task, steps=60, average=.9, precision='fp32', quiet=True).averages['towers']
    one, two = learnt(), learnt()
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters()))
    right = c.avc_answers(c.look_at_all(one, pairs), pairs).mean()
    assert .68 < right < .82                                            # two kinds: ½ + ½·½ = .75 at best


def test_calibration_puts_the_level_where_most_are_right(data):
    net = towers(c.CONTRAST)
    before = c.avc_answers(c.look_at_all(net, data['dev']), data['dev'], seed=1).mean()
    c.calibrate(net, data['dev'])
    after = c.avc_answers(c.look_at_all(net, data['dev']), data['dev'], seed=1).mean()
    assert after >= max(before, .5)


def one_duet(sounding):
    masks = torch.zeros(1, 8, 16, dtype=torch.uint8)
    masks[:, 2:7, 2:6], masks[:, 3:5, 3:5], masks[:, 2:7, 10:14], masks[:, 3:5, 11:13] = 1, 2, 3, 4
    return Duets(torch.zeros(1, 3, 8, 16).byte(), torch.zeros(1, 1, 128, 44), masks, torch.tensor([sounding]), torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))


def test_where_a_map_points_by_hand():
    maps = torch.zeros(1, 8, 16); maps[:, 3:5, 3:5] = 1
    v = lambda found: {k: round(float(x), 3) for k, x in found.items()}
    assert v(c.found_at(maps, one_duet([True, False]))) == dict(peak_on_side=1, peak_on_player=1, peak_on_instrument=1, iou=1)
    assert v(c.found_at(maps, one_duet([False, True]))) == dict(peak_on_side=0, peak_on_player=0, peak_on_instrument=0, iou=0)
    maps[0, 6, 2] = 2                                                    # the peak on the person, half as bright on the instrument
    assert v(c.found_at(maps, one_duet([True, False]), .4)) == dict(peak_on_side=1, peak_on_player=1, peak_on_instrument=0, iou=.8)
    assert v(c.found_at(maps, one_duet([True, False]), .9))['iou'] == 0 and c.best_level(maps, one_duet([True, False])) < .5


def test_the_middle_is_nobody():
    duet = one_duet([True, False])
    assert c.middle_maps(duet).shape == (1, 8, 16) and c.found_at(c.middle_maps(duet), duet)['peak_on_player'] == 0


def test_towers_come_back_from_their_file(tmp_path):
    net, (x, y) = towers(c.CONTRAST), some()
    net.level.fill_(.25)
    c.save_towers(tmp_path/'t.safetensors', net, steps=7)
    back = c.load_towers(tmp_path/'t.safetensors')
    assert back.recipe == net.recipe and back.meta == dict(steps=7)
    with torch.no_grad(): assert torch.allclose(back(x, y), net(x, y), atol=.3)
    from avgen_nb.files import save_nets
    save_nets(tmp_path/'other.safetensors', dict(a=torch.nn.Linear(1, 1)), {})
    with pytest.raises(ValueError, match='holds no towers'): c.load_towers(tmp_path/'other.safetensors')


def test_match_scores_take_pictures_of_any_size():
    net, (x, y) = towers(c.CONTRAST), some(2, 2)
    T = c.match_scores(net, list(y.split(1)), [x[:1], F.pad(x[1:], (32, 32))])
    assert T.shape == (2, 2) and torch.allclose(T[:, 0], net(x[:1], y)[0], atol=1e-5)
