"The experiments of Hao et al. 2018 in miniature: one checkpoint for two directions, paired differences, what is kept, and the ledger."
from dataclasses import replace

import pytest
import torch
from torch import nn

from avgen_nb import hao
from avgen_nb.cgan import Generator
from avgen_nb.cmcgan import ABLATIONS, CMCGAN_GUIDED, HAO, ablated, crossing
from avgen_nb.experiments import Effort, thin
from avgen_nb.hao import HAO_EFFORTS, Study
from avgen_nb.judges import Judge, ceiling_of
from avgen_nb.metrics import Row
from avgen_nb.nets import MODALITIES
from avgen_nb.pairs import Pairs
from avgen_nb.runs import changed
from avgen_nb.many import choose

CLASSES = ('flute', 'tuba', 'violin')
SMALL = dict(hidden=(8,), keep=(.8,), norm=True, batch=12, vary=0.)
EFFORT = Effort('test', 'small', (0, 1), 2, 2, 4, 2, 2, (1, 1), 2, 2, 12)   # 4 epochs of 24 pairs in batches of 12: 8 steps


def made_up_pairs(seed=0, n=24, first_song=0):
    g = torch.Generator().manual_seed(seed)
    label, every = torch.arange(n) % 3, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) - 1 + .4 * label[:, None, None, None]).clamp(-1, 1)
    pictures = (torch.rand(n, 3, 64, 64, generator=g) * 80 + 80 * label[:, None, None, None]).to(torch.uint8)
    return Pairs(pictures, sounds.half(), label, label, first_song + every // 6 * 3 + label, CLASSES, every, every)


@pytest.fixture(scope='module')
def data(): return dict(train=made_up_pairs(0), dev=made_up_pairs(1, first_song=100), test=made_up_pairs(2, first_song=200))


@pytest.fixture
def study(data, tmp_path, monkeypatch):
    "A study of tiny recipes, with judges that need not be trained."
    def judge(kind, *a, **k):
        torch.manual_seed(0)
        made = Judge(MODALITIES[kind].channels, CLASSES, kind, 4).eval()
        made.meta = dict(ceiling=dict(value=.9))
        return made
    monkeypatch.setattr(hao, 'judge_for', judge)
    alone, both = dict(encoder=SMALL | dict(plan=('8/2', '8/2')), game=dict(guide_vary=0.)), dict(encoder=SMALL | dict(plan=(('8/2', '8/2'),) * 2), game=dict(z=2))
    monkeypatch.setattr(hao, 'SINGLES', {t: changed(r, **alone) for t, r in hao.SINGLES.items()})
    monkeypatch.setattr(hao, 'CMCGAN_GUIDED', changed(CMCGAN_GUIDED, **both))
    monkeypatch.setattr(hao, 'HAO', changed(HAO, **both))
    monkeypatch.setattr(Study.encoders, '__defaults__', (hao.CMCGAN_GUIDED,))
    monkeypatch.setattr(Study.cmcgan, '__defaults__', (hao.CMCGAN_GUIDED,))
    return Study(data, EFFORT, tmp_path, dict(size='small'))


def test_choose_keeps_several_nets_of_one_moment():
    class Two:
        averaged = ()
        def __init__(self):
            self.nets, self.optimizers = {k: nn.Linear(1, 1, bias=False) for k in 'ab'}, {}
            for n in self.nets.values(): nn.init.zeros_(n.weight)
        def draw(self, loop): return None
        def step(self, batch, loop):
            with torch.no_grad():
                for n in self.nets.values(): n.weight += 1
            return {}
    run = choose(Two(), ('a', 'b'), lambda a, b: -abs(a.weight.item() + b.weight.item() - 10), 12, 12, quiet=True, device='cpu')
    assert run.averages['a'].weight.item() == run.averages['b'].weight.item() == 5


def test_rows_say_songs_and_seeds_and_the_ceiling_of_the_very_pairs(study):
    "Round trips are scored on every fourth pair, and their ceiling is of these; what a judge remembers from its birth is not asked."
    trained, test = study.cmcgan(), study.data['test']
    sounds, songs = {s: m['sound'] for s, m in trained.items()}, len(test.songs.unique())
    gap = hao.gap_rows(sounds, sounds, study.data, study.effort)[0]
    assert (gap.songs, gap.seeds, gap.value) == (songs, 2, 0)
    for rows, pairs in ((hao.accuracy_rows(trained, study.data, study.effort), test), (hao.trip_rows('x', trained, study.data, study.effort), thin(test, 4))):
        assert [(r.seed, r.seeds) for r in rows] == 2 * [(0, 1), (1, 1), (None, 2)] and {r.songs for r in rows} == {len(pairs.songs.unique())}
        for r in rows: assert r.ceiling == ceiling_of(hao.judge_for(r.direction.rpartition(' ')[2], study.data), pairs)['value'] != .9


def test_a_run_that_is_there_is_scored_by_the_study_s_judge(study):
    first = study.cmcgan()[0]
    fresh = {k: hao.judge_for(k, study.data) for k in hao.NAMES}
    again = hao.train_both(hao.CMCGAN_GUIDED, study.data, hao.place_of(study.out, hao.CMCGAN_GUIDED, study.data, study.effort, 0), study.effort, fresh, ({}, []))
    assert set(again) == set(first) and all(again[t].jury is fresh[t] for t in again)


def test_a_study_of_other_data_does_not_take_what_is_there(study):
    "One folder, two data sets: the second is trained on its own, as in a folder of its own."
    other = study.data | dict(train=made_up_pairs(5))
    one = replace(study.effort, seeds=(0,))
    ours = Study(study.data, one, study.out, study.opened).cmcgan(hao.HAO)[0]
    theirs, alone = (Study(other, one, out, study.opened).cmcgan(hao.HAO)[0] for out in (study.out, study.out/'own'))
    weights = lambda models: torch.cat([v.flatten().float() for v in models['sound'].G.state_dict().values()])
    assert torch.equal(weights(theirs), weights(alone)) and not torch.equal(weights(theirs), weights(ours))
    assert list(hao.place_of(study.out, hao.HAO, other, one, 0).glob('game/checkpoint-*')), 'a killed run can go on'


def test_training_leaves_the_callers_randomness_alone(study):
    encoders, judges = study.encoders(0), study.judges()
    before = torch.get_rng_state()
    hao.train_both(hao.CMCGAN_GUIDED, study.data, study.out/'x', study.effort, judges, encoders)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_begin_with_the_same_encoders(study):
    both, single = study.cmcgan(), hao.singles(study, hao.SINGLES['picture'])
    E, minutes = study.encoders(1)
    assert len(list(study.shelf.iterdir())) == 4 and len(minutes) == 2, 'two seeds, two modalities, trained once'
    assert all(torch.equal(a, b) for a, b in zip(single[1].E.state_dict().values(), E['sound'].state_dict().values()))
    assert set(both) == {0, 1} and all(isinstance(m, Generator) for of in both.values() for m in of.values())


def test_what_is_there_is_not_trained_again(study, monkeypatch):
    first, single = study.cmcgan(), hao.singles(study, hao.SINGLES['sound'], 2)
    def never(*a, **k): raise AssertionError('trained again')
    for name in ('choose', 'train_system', 'encoder_for_system'): monkeypatch.setattr(hao, name, never)
    monkeypatch.setattr(Study, 'encoders', lambda self, seed, recipe=None: None)
    again = Study(study.data, study.effort, study.out, study.opened)
    x = study.data['test'].batch(torch.arange(3))
    for one, other in zip(first.values(), again.cmcgan(hao.CMCGAN_GUIDED).values()):
        assert all(torch.allclose(one[t].make(getattr(x, s)), other[t].make(getattr(x, s)), atol=1e-5) for s, t in crossing(('picture', 'sound')))
    assert hao.singles(again, hao.SINGLES['sound'], 2)[1].meta['steps'] == single[1].meta['steps'] == 16


def test_k_is_compared_at_the_same_generator_steps(study):
    few, many = (study.cmcgan(ablated(hao.CMCGAN_GUIDED, k))[0]['sound'].meta['steps'] for k in ('K=4', 'K=2'))
    assert (few, many) == (2, 4)


def test_the_paper_s_recipe_needs_no_encoders(study):
    assert study.encoders(0, hao.HAO) == ({}, []) and not study.shelf.exists()
    rows = hao.cycle_table({0: study.cmcgan(hao.HAO)[0]}, study.data, study.effort)
    assert {r.paper for r in rows if r.paper} == {'.9105', '.7661', '.8109', '.5189'}


def test_without_latent_the_spread_over_z_is_nothing(study):
    trained = study.cmcgan(ablated(hao.CMCGAN_GUIDED, 'no latent'))
    rows = [row for f in (hao.accuracy_rows, hao.spread_rows) for row in f(trained, study.data, study.effort)] + hao.trip_rows('CMCGAN+guide, no latent', trained, study.data, study.effort)
    assert {r.value for r in rows if r.metric == 'spread_over_z'} == {0.}
    assert all(r.value > 0 for r in rows if r.metric == 'spread_over_given')
    assert {r.direction for r in rows} == {'sound → picture', 'picture → sound', 'sound → picture → sound', 'picture → sound → picture'}
    assert {r.system for r in rows} == {'CMCGAN+guide, no latent'} and not any(r.paper for r in rows)


def test_the_plan_names_every_ablation_and_both_races(study):
    plan = {e.name: e.run for e in hao.experiments(study.data, study.effort, study.out, study.opened)}
    assert {f'ablation {k}' for k in ABLATIONS} | {'gap', 'gap longer', 'table CMCGAN+guide', 'table S2I-C+guide longer', 'trips two single models'} <= set(plan)
    assert not any(k.startswith('pose') for k in plan), 'these pairs know no pose'
    rows = plan['gap longer']()
    assert [(r.system, r.metric) for r in rows] == [('CMCGAN+guide - S2I-C+guide longer', 'balanced_accuracy_gap'), ('CMCGAN+guide - I2S+guide longer', 'balanced_accuracy_gap')]
    assert all(r.low <= r.value <= r.high and (r.data, r.budget) == ('orchestra', 'test') for r in rows)
    assert rows[0].factors == dict(of='CMCGAN+guide', over='S2I-C+guide longer', times=hao.LONGER) and rows[0].recipe == 'CMCGAN+guide'


def test_an_accuracy_s_row_is_found_by_the_ledger():
    row = Row('CMCGAN', 'picture → sound', 'orchestra', 'test', 'balanced_accuracy', .6, .5, .7, ceiling=.95, minutes=1., device='x')
    text = hao.ledgers([row])
    assert '+0.081' in text['picture → sound'] and '+0.081' not in text['sound → picture']
    assert '.5189' in text['picture → sound'] and '.9105' in text['sound → picture']
    assert text['sound → picture'].count('not run yet') == 8


def test_the_papers_figures_stand_beside_the_papers_recipe_only():
    names = ('CMCGAN+guide', 'I2S+guide', 'I2S+guide longer', 'CMCGAN')
    rows = [Row(name, 'picture → sound', 'orchestra', 'test', 'balanced_accuracy', .6, .5, .7, budget='cpu') for name in names]
    lines = [line for line in hao.ledgers(rows)['picture → sound'].splitlines() if '0.600' in line]
    assert [any(figure in line for figure in ('.5189', '.1117', '.8109')) for line in lines] == ['+guide' not in line for line in lines] and len(lines) == 4


def test_budgets_are_lesson_10bs():
    from avgen_nb.chen import CHEN_EFFORTS
    assert list(HAO_EFFORTS) == list(CHEN_EFFORTS)
    assert all(len(HAO_EFFORTS[b].seeds) >= 3 for b in ('cpu', 'gpu'))
