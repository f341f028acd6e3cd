"Lesson 24, dense: what every control changes and what it leaves alone, and who learns from which songs."
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from avgen_nb import missing
from avgen_nb.judges import balanced_accuracy, paired_interval
from avgen_nb.missing import MISSING, PARTNERS, SAW, WAYS, WORKS, Column, Fusion, FusionTask, Lab
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.pairs import Pairs
from avgen_nb.runs import changed
from avgen_nb.sound import lms, lms_to_db
from avgen_nb.loop import Budget, Loop, Place, place_nets

CLASSES = ('flute', 'tuba', 'violin')
TINY = replace(WORKS['test'], songs=1, classify=2, encode=2, game=2, learn=1, test=2, levels=(missing.INF, 0), seeds=(0, 1))


def made_up_pairs(seed=0, songs=4, first=0, windows=6):
    "`songs` songs an instrument; pair i has a picture and a sound of its own."
    g, n = torch.Generator().manual_seed(seed), 3 * songs * windows
    label, every = torch.arange(3).repeat_interleave(songs * windows), torch.arange(n)
    pictures, sounds = torch.randint(256, (n, 3, 64, 64), generator=g, dtype=torch.uint8), (torch.rand(n, 1, 128, 44, generator=g) * 2 - 1).half()
    return Pairs(pictures, sounds, label, label, first + every // windows, CLASSES, every, every, truth=dict(row=every + 1000 * first))


@pytest.fixture(scope='module')
def data(): return dict(train=made_up_pairs(0), dev=made_up_pairs(1, 2, 100), test=made_up_pairs(2, 2, 200))


class Echo:
    "Makes pictures whose brightness is the mean of the sound."
    source, target = SOUND, PICTURE
    def make(self, given, seed=0): return given.mean((1, 2, 3), keepdim=True).expand(-1, 3, 64, 64)
    def code(self, x): return x.mean((1, 2, 3))[:, None].expand(-1, 4)


class Mirror(Echo):
    "The other way round."
    source, target = PICTURE, SOUND
    def make(self, given, seed=0): return given.mean((1, 2, 3), keepdim=True).expand(-1, 1, 128, 44)


def every(pairs): return pairs.batch(torch.arange(len(pairs)))


def test_two_encoders_of_one_sense_do_not_share_weights(data):
    net = Fusion(('sound', 'sound'), WAYS[0].encoder, CLASSES).eval()
    a, b = net.encoders
    assert not any(p is q for p in a.parameters() for q in b.parameters())
    assert sum(p.numel() for p in net.parameters()) == 2 * sum(p.numel() for p in a.parameters()) + 2 * 64 * 3 + 3
    batch = every(data['test'])
    assert torch.equal(net(batch), net(batch._replace(picture=-batch.picture)))


def test_both_encoders_of_one_sense_hear_the_same_variation(data):
    task = FusionTask(('sound', 'sound'), changed(WAYS[0].encoder, vary=1.), data['train'])
    loop = Loop(task, Budget(steps=1), Place(torch.device('cpu')))
    place_nets(loop)
    batch = task.draw(loop)
    assert not torch.equal(batch.sound, data['train'].batch(batch.index).sound)
    assert torch.equal(batch.picture, data['train'].batch(batch.index).picture), 'nobody looks, nothing is varied'


@pytest.mark.parametrize('model', [Echo(), Mirror()], ids=lambda m: m.target.name)
def test_generated_replaces_one_half_only(model, data):
    pairs = data['test'].subset(torch.tensor([30, 2, 17, 5]))
    made, real = missing.generated(pairs, model), every(pairs)
    there, new = model.source.name, model.target.name
    assert torch.equal(getattr(every(made), there), getattr(real, there))
    want = getattr(real, there).mean((1, 2, 3))
    assert torch.allclose(getattr(every(made), new).mean((1, 2, 3)), want, atol=.005)
    for k in ('labels', 'songs'): assert torch.equal(getattr(made, k), getattr(pairs, k))
    assert torch.equal(made.truth['row'], pairs.truth['row'])
    assert getattr(made, f'{new}s').dtype == getattr(pairs, f'{new}s').dtype, 'as it was stored'


def test_generated_does_not_touch_what_it_is_given(data):
    before = data['test'].pictures.clone()
    missing.generated(data['test'], Echo())
    assert torch.equal(data['test'].pictures, before)


@given(st.integers(0, 10_000))
def test_shuffled_partners(seed):
    pairs, g = made_up_pairs(), torch.Generator().manual_seed(seed)
    other, same = (PARTNERS[k](pairs, g) for k in ('other instrument', 'same instrument'))
    assert (pairs.labels[other] != pairs.labels).all() and (pairs.labels[same] == pairs.labels).all()
    assert other.unique().numel() > 10 and PARTNERS['own'](pairs, g) is None


@given(st.integers(0, 10_000), st.integers(1, 2))
def test_halves_have_no_song_in_common(seed, songs):
    pairs = made_up_pairs()
    a, b = missing.halves(pairs, songs, seed)
    assert not set(a.songs.tolist()) & set(b.songs.tolist())
    for half in (a, b): assert torch.bincount(half.labels).tolist() == [6 * songs] * 3
    assert torch.equal(a.songs, missing.halves(pairs, songs, seed)[0].songs)


def test_halves_need_songs():
    with pytest.raises(ValueError, match='4 songs of flute, too few for two halves of 3'): missing.halves(made_up_pairs(), 3)


def test_halves_differ_by_seed():
    assert len({tuple(missing.halves(made_up_pairs(), 1, s)[0].songs.unique().tolist()) for s in range(20)}) > 5


def test_join_keeps_every_pair(data):
    a, b = data['train'].subset(torch.tensor([3, 1, 60])), data['test'].subset(torch.tensor([8, 0]))
    both = missing.join(a, b)
    for x, y, z in zip(every(both)[:3], every(a)[:3], every(b)[:3]): assert torch.equal(x, torch.cat([y, z]))
    assert both.songs.tolist() == a.songs.tolist() + b.songs.tolist() and both.truth['row'].tolist() == a.truth['row'].tolist() + b.truth['row'].tolist()


def test_by_window_puts_songs_on_both_sides(data):
    split = missing.by_window(data['train'])
    rows = torch.cat([p.truth['row'] for p in split.values()])
    assert sorted(rows.tolist()) == data['train'].truth['row'].tolist(), 'every window once'
    assert [round(len(p) / len(data['train']), 1) for p in split.values()] == [.7, .1, .2]
    assert set(split['test'].songs.tolist()) & set(split['train'].songs.tolist())


answers = st.lists(st.integers(0, 2), min_size=36, max_size=36).map(torch.tensor)


@given(answers, answers)
def test_gain_is_the_difference(before, after):
    true, songs = torch.arange(3).repeat_interleave(12), torch.arange(36) // 4
    value, low, high = paired_interval(true, {0: after}, {0: before}, songs)
    assert value == pytest.approx(balanced_accuracy(true, after, 3) - balanced_accuracy(true, before, 3)) and low <= high
    back = paired_interval(true, {0: before}, {0: after}, songs)
    assert back == pytest.approx((-value, -high, -low))


def test_a_paired_gain_is_surer_than_two_intervals():
    "Songs differ widely, and every song grows a little."
    true, songs = torch.zeros(400).long(), torch.arange(400) // 20
    at = torch.arange(400) % 20
    before, after = ((at >= songs % 10 + k).long() for k in (1, 3))
    value, low, high = paired_interval(true, {0: after}, {0: before}, songs)
    assert low > 0 and np.isclose(value, .1) and high - low < .01


def test_noise_is_as_loud_as_it_says(data):
    g = torch.Generator().manual_seed(7)                          # not the noise's own seed
    white = .05 * torch.randn(len(data['test']), 22050, generator=g)
    waves = lambda pairs, rows: white[rows]
    db = lambda x: lms_to_db(x).mean().item()
    clean = db(lms(white))
    for level, more in ((0, 3.01), (10, .41), (-10, 10.41)):      # 10 log10(1 + 10^(-level/10))
        assert db(every(missing.noisy(data['test'], 'sound', level, waves)).sound) - clean == pytest.approx(more, abs=.15)


@pytest.mark.parametrize('level', [30, 20, 10])
def test_noise_on_pictures(level, data):
    soft = replace(data['test'], pictures=(data['test'].pictures // 8 + 112))      # far from black and white: nothing is clipped
    x, y = every(soft).picture, every(missing.noisy(soft, 'picture', level)).picture
    assert (y - x).std() / x.std() == pytest.approx(10 ** (-level / 20), rel=.08)


def test_noise_leaves_the_other_half_and_can_be_none(data):
    assert missing.noisy(data['test'], 'picture', missing.INF) is data['test']
    assert torch.equal(every(missing.noisy(data['test'], 'picture', 0)).sound, every(data['test']).sound)
    a, b = (missing.noisy(data['test'], 'picture', 0, seed=s).pictures for s in (1, 1))
    assert torch.equal(a, b)


@pytest.fixture
def watched(monkeypatch, data):
    "A lab in which nothing is trained, and everyone says from what they would have learnt."
    seen = []
    def train_fusion(inputs, train, dev, *more, **options): seen.append((inputs, train, dev)); return Fusion(inputs, WAYS[0].encoder, CLASSES).eval(), 0.
    def train_generators(train, *more, **options): seen.append(('generators', train)); return dict(picture=Echo(), sound=Mirror())
    monkeypatch.setattr(missing, 'train_fusion', train_fusion)
    monkeypatch.setattr(missing, 'train_generators', train_generators)
    return Lab(data, TINY, lambda pairs, rows: torch.randn(len(rows), 22050) * .1), seen


@pytest.mark.parametrize('saw', SAW)
def test_who_learns_from_which_songs(saw, watched, data):
    lab, seen = watched
    songs = lambda p: set(p.songs.tolist())
    missing.partner_rows(lab, saw, split='test')
    mine, others = lab.halves(0)
    made = next(train for what, train, *_ in seen if what == 'generators')
    want = {'same songs': songs(mine), 'other songs': songs(others), 'test songs too': songs(mine) | songs(data['test'])}
    assert songs(made) == want[saw]
    for inputs, train, dev in (s for s in seen if s[0] != 'generators'):
        assert songs(train) in (songs(lab.halves(0)[0]), songs(lab.halves(1)[0])), 'the classifiers always learn from their own half'
        assert songs(dev) == songs(data['dev']), 'and are chosen on development songs'


def test_as_used_means_generated_partners_in_training(watched):
    lab, seen = watched
    missing.partner_rows(lab, 'same songs', split='test')
    flat = lambda x: (x.flatten(1).std(1) < .01).all().item()        # what Echo and Mirror make is flat, what is real is not
    kinds = {(inputs, flat(every(train).picture), flat(every(train).sound), flat(every(dev).picture)) for inputs, train, dev in (s for s in seen if s[0] != 'generators')}
    both = ('picture', 'sound')
    real = {(inputs, False, False, False) for inputs in missing.INPUTS.values()}
    assert kinds == real | {(both, True, False, True), (both, False, True, False)}


def test_every_net_is_trained_once(watched):
    lab, seen = watched
    for _ in range(2): rows = missing.real_rows(lab, split='test') + missing.noise_rows(lab, 'GV + A', split='test')
    inputs = [s[0] for s in seen]
    assert inputs.count(('sound',)) == 4 and inputs.count('generators') == 2, 'two seeds, two twins'
    assert {r.split for r in rows} == {'test', 'test, sound at inf dB', 'test, sound at 0 dB'}
    assert all(r.paper is None for r in rows if ' at ' in r.split)


def test_rows_of_a_partner(watched):
    lab, _ = watched
    real, rows = missing.real_rows(lab, split='test'), missing.partner_rows(lab, 'same songs', split='test')
    names = {r.system for r in rows}
    for m, (_, maker, alone) in MISSING.items():
        assert {f'{m}, same songs, {how}, {who}' for how in ('real pairs', 'as used') for who in PARTNERS} <= names
        gains = {r.system.partition(' over ')[2] for r in rows if r.system.startswith(f'{m}, same songs, as used, own over')}
        assert gains == {alone, 'V + A', f'{alone} + {alone}', f'{alone} and code, same songs', f'{m}, same songs, as used, other instrument'}
        assert [r.split for r in rows if r.system == f'G{maker}, same songs'] == ['test'] * 3 + ['train'] * 2
    assert not {r.system for r in real} & names, 'no row is written twice'


def test_a_partner_that_knows_the_label_is_found_out(data):
    "The controls tell a leak: with the label in the partner, own and same help, another instrument's ruins."
    class Knows(Echo):
        def make(self, given, seed=0): return given[:, :, :1, :1].expand(-1, 3, 64, 64)
    told = data['test'].labels[:, None, None, None].float() - 1
    pairs = replace(data['test'], sounds=told.expand(-1, 1, 128, 44).half())
    def says(made): return torch.nn.functional.one_hot((every(made).picture.mean((1, 2, 3)) + 1).round().long(), 3).float()
    share = {who: missing.right(says(missing.generated(pairs, Knows(), draw(pairs, torch.Generator().manual_seed(0)))), pairs) for who, draw in PARTNERS.items()}
    assert share == {'own': 1, 'same instrument': 1, 'other instrument': 0}


def test_reader_reads_new_songs(data):
    class Coded:
        source = SOUND
        def code(self, x): return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)
    def loud(pairs): return replace(pairs, sounds=(.4 * (pairs.labels - 1.)[:, None, None, None] + .3 * pairs.sounds).half())
    assert missing.right(missing.reader(Coded(), loud(data['train']))(loud(data['test'])), data['test']) == 1


def test_models_in_a_folder_make_partners(tmp_path, monkeypatch):
    monkeypatch.setattr(missing, 'load_run', lambda p: f'{p.parent.name}: {p.name}')
    for way in ('sound-picture', 'picture-sound'): (tmp_path/'CMCGAN+guide'/way).mkdir(parents=True)
    found = missing.given_in(tmp_path)
    assert found == {'CMCGAN+guide': dict(picture='CMCGAN+guide: sound-picture', sound='CMCGAN+guide: picture-sound')}


ONE = replace(TINY, seeds=(0,))

def all_rows(lab):
    made = missing.partner_rows(lab, 'same songs', split='test') + missing.noise_rows(lab, 'V + GA', split='test') + missing.real_rows(lab, split='test')
    return {(r.system, r.split, r.metric, r.seed): (r.value, r.low, r.high, r.n, r.songs, r.seeds) for r in made}


def test_a_restart_gives_the_same_rows(data, tmp_path, monkeypatch):
    "Row by row, whatever is there already; and no net is trained again."
    fresh = all_rows(Lab(data, ONE, out=tmp_path))
    steps, step = [], FusionTask.step
    monkeypatch.setattr(FusionTask, 'step', lambda *a: steps.append(1) or step(*a))
    monkeypatch.setattr(missing.CrossModalGAN, 'step', lambda *a: steps.append(1))
    assert all_rows(Lab(data, ONE, out=tmp_path)) == fresh and not steps
    assert {k[0] for k in fresh} >= {f'V + GA, same songs, as used, own over {k}' for k in ('V', 'V + A', 'V + V')}


def test_which_rows_there_are_depends_on_arguments_only(watched):
    lab, _ = watched
    names = lambda rows: [(r.system, r.split, r.metric, r.seed) for r in rows]
    first = names(missing.partner_rows(lab, 'same songs', split='test'))
    missing.real_rows(lab, split='test')
    assert names(missing.partner_rows(lab, 'same songs', split='test')) == first
    fewer = names(missing.partner_rows(lab, 'same songs', ('V', 'A', 'V + A'), split='test'))
    assert set(first) - set(fewer) == {(f'{m}, same songs, {how}, own over {a} + {a}', 'test', 'gain', None)
        for m, (_, _, a) in MISSING.items() for how in ('real pairs', 'as used')}


def test_nets_of_other_data_are_other_nets(data, tmp_path):
    "Two labs with one folder: neither takes what the other has learnt, or stops at it."
    other = data | dict(train=replace(data['train'], sounds=-data['train'].sounds))
    a, b, c = Lab(data, ONE, out=tmp_path/'both'), Lab(other, ONE, out=tmp_path/'both'), Lab(other, ONE, out=tmp_path/'alone')
    weights = lambda lab: torch.cat([v.flatten().float() for v in lab.net('A', 0).state_dict().values()])
    first, second, third = map(weights, (a, b, c))
    assert torch.equal(second, third) and not torch.equal(first, second)


def test_gains_are_over_songs_and_seeds(data):
    "One seed gains, the other loses as much: nothing is gained."
    labels = data['test'].labels
    right, wrong = (torch.nn.functional.one_hot(x, 3).float() for x in (labels, (labels + 1) % 3))
    A, B = Column('A'), Column('B')
    rows = missing.rows_of({A: {0: wrong, 1: right}, B: {0: right, 1: wrong}}, data['test'], {A: (B,)}, split='test', factors=dict(decibels=3))
    gain = next(r for r in rows if r.metric == 'gain')
    assert rows[0].factors == dict(column='A', decibels=3) and gain.factors == rows[0].factors | {'of': 'A', 'over': 'B'}
    assert (gain.value, gain.low, gain.high, gain.songs, gain.seeds) == (0, -1, 1, 6, 2)


def test_training_leaves_the_callers_randomness_alone(data):
    before = torch.get_rng_state()
    missing.train_fusion(('sound',), data['train'], data['dev'], WAYS[0].encoder, 1)
    models = missing.train_generators(data['train'], encode=1, game=1)
    missing.reader(models['picture'], data['train'])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('half', ('picture', 'sound'))
def test_noise_stays_where_the_pairs_are(half, data, monkeypatch):
    "Tried on torch's meta device, on which Pairs cannot be checked: every index and every number has to be there."
    monkeypatch.setattr(Pairs, '__post_init__', lambda self: setattr(self, 'labels', self.sound_labels[self.sound_of]))
    there = data['test'].to('meta')
    waves = lambda pairs, rows: torch.zeros(len(rows), 22050)          # files and arrays give waveforms on the CPU
    made = missing.noisy(there, half, 0, waves)
    assert {v.device.type for v in vars(made).values() if torch.is_tensor(v)} == {'meta'}


def test_every_part_and_seed_has_its_own_chance(data):
    seeds = []
    class Noted(Echo):
        def make(self, given, seed=0): seeds.append(seed); return super().make(given, seed)
    for seed in range(3): missing.generated(data['test'], Noted(), seed=seed, part=9)
    assert len(seeds) == len(set(seeds)) > 9


def test_figures_draw_what_is_there(watched):
    import matplotlib.pyplot as plt
    lab, _ = watched
    rows = missing.real_rows(lab, split='test') + missing.partner_rows(lab, 'same songs', split='test') + missing.noise_rows(lab, 'GV + A', split='test')
    columns, noise = missing.columns_figure(rows, 'GV + A'), missing.noise_figure(rows, 'GV + A')
    assert len(columns.axes) == 1 and len(columns.axes[0].lines) == 2 * len(missing.ladder('GV + A', 'same songs'))
    assert [t.get_text() for t in noise.axes[0].get_xticklabels()] == ['clean', '0 dB']
    plt.close('all')


def test_list(capsys):
    assert missing.main(['--list', '--only', 'partner,windows']) == 0
    assert capsys.readouterr().out.split('\n')[:-1] == [*(f'partner {s}' for s in SAW), 'partner shipped', 'windows']
    missing.main(['--list', '--budget', 'test'])
    assert 'partner shipped' in capsys.readouterr().out, 'the small orchestra shares no song with the default one'


def test_what_the_paper_prints_stands_beside_its_own_column_only():
    assert Column('GV + A', 'other songs', 'real pairs', 'own').paper == '.9804' and Column('V + A').paper == '.9741'
    others = (Column('A, two nets'), Column('GV + A', 'same songs', 'as used', 'same instrument'), Column('code of A', 'same songs'), Column('GV', 'same songs'))
    for c in others: assert c.paper is None


def test_a_column_s_facts_are_its_row_s(watched):
    "Every row says which column, whose partners, learnt how, made from what; noise says how loud, clean is none."
    lab, _ = watched
    rows = missing.partner_rows(lab, 'same songs', split='test') + missing.noise_rows(lab, 'GV + A', split='test')
    names = ('column', 'saw', 'how', 'partner')
    for r in rows: assert (r.factors.get('of') or r.system) == Column(**{k: v for k, v in r.factors.items() if k in names}).name and r.recipe == 'fusion'
    assert {r.factors['decibels'] for r in rows if 'noisy' in r.factors} == {None, 0}
