"CMCGAN: weights really shared, each loss against a hand-computed case, switches that change what they say, runs that are kept and resumed."
import json
import math
from dataclasses import asdict

import pytest
import torch

from avgen_nb import cmcgan
from avgen_nb.cgan import CHEN_S2I, S2I_C_GUIDED, Generator, encoder_for
from avgen_nb.cmcgan import (ABLATIONS, BOTH, CMCGAN, CMCGAN_GUIDED, HAO, PairDiscriminator, RoundTrip, ablated, codes, cycles, l_cons,
                             minus_l_d, minus_l_df, minus_l_dw, minus_l_g, one_way, pair_scores, path, paths, rounds, staying)
from avgen_nb.files import flattened
from avgen_nb.nets import MODALITIES
from avgen_nb.pairs import Pairs
from avgen_nb.runs import Schedule, changed, marks_of, recipe_from
from avgen_nb.loop import Budget, Loop, Place, place_nets
from avgen_nb.many import fit

CLASSES = ('flute', 'tuba', 'violin')
NAMES = tuple(m.name for m in BOTH)
TINY = dict(encoder=dict(hidden=(8,), keep=(.8,), plan=(('8/2', '8/2'),) * 2, norm=True, batch=12, steps=Schedule(2, 2, 2)),
            game=dict(width=2, batch=6, z=3, steps=Schedule(4, 4, 4)))
SCORES = dict(rr=2., rw=-1., wr=.5, rf=-.25, fr=1.5)


def made_up_pairs(seed=0, n=24, first_song=0):
    g = torch.Generator().manual_seed(seed)
    label, every = torch.arange(n) % 3, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) - 1 + .4 * label[:, None, None, None]).clamp(-1, 1)
    pictures = (torch.rand(n, 3, 64, 64, generator=g) * 80 + 80 * label[:, None, None, None]).to(torch.uint8)
    return Pairs(pictures, sounds.half(), label, label, first_song + every // 6 * 3 + label, CLASSES, every, every)


@pytest.fixture
def data(): return dict(train=made_up_pairs(0), dev=made_up_pairs(1, first_song=100), test=made_up_pairs(2, first_song=200))


def tiny(recipe, **game): return changed(changed(recipe, **TINY), game=game)


def encoders_of(recipe):
    torch.manual_seed(7)
    return {m.name: encoder_for(m, recipe.encoder_of(m), CLASSES) for m in BOTH}


def game(recipe, pairs=None):
    encoders = encoders_of(recipe) if recipe.game.start or recipe.game.guide else None
    torch.manual_seed(0)
    return CMCGAN(recipe, pairs or made_up_pairs(0), encoders)


def scores(**changed): return {k: torch.tensor([v]) for k, v in (SCORES | changed).items()}

def S(s): return 1 / (1 + math.exp(-s))


# --- the losses, by hand ---

def test_wrong_pairs_by_hand():
    by_hand = math.log(S(2)) + .5 * (math.log(1 - S(-1)) + math.log(1 - S(.5)))
    assert minus_l_dw(scores()).item() == pytest.approx(-by_hand, rel=1e-5)


def test_fake_pairs_by_hand():
    by_hand = math.log(S(2)) + .5 * (math.log(1 - S(-.25)) + math.log(1 - S(1.5)))
    assert minus_l_df(scores()).item() == pytest.approx(-by_hand, rel=1e-5)


def test_joint_is_the_sum_and_standard_hears_of_no_wrong_pair():
    assert minus_l_d(scores()).item() == pytest.approx((minus_l_dw(scores()) + minus_l_df(scores())).item())
    assert minus_l_d(scores(), corresponding='standard') == minus_l_d(scores(rw=9., wr=9.), corresponding='standard') == minus_l_df(scores())
    with pytest.raises(ValueError, match="'joint' or 'standard'"): minus_l_d(scores(), corresponding='both')


def test_generators_by_hand():
    assert minus_l_g(scores()).item() == pytest.approx(-math.log(S(-.25)) - math.log(S(1.5)), rel=1e-5)
    assert minus_l_g(scores(), 'hinge').item() == pytest.approx(.25 - 1.5)


def test_hinge_of_the_pairs_by_hand():
    assert minus_l_dw(scores(), 'hinge').item() == pytest.approx(0 + .5 * (0 + 1.5))
    assert minus_l_df(scores(), 'hinge').item() == pytest.approx(0 + .5 * (.75 + 2.5))


def test_consistency_by_hand():
    truth = dict(picture=torch.zeros(2, 3), sound=torch.ones(2, 5))
    ends = {c: truth[c[2]] + k for k, c in enumerate(rounds(NAMES), 1)}
    assert l_cons(ends, truth).item() == 1 + 2 + 3 + 4
    assert l_cons({rounds(NAMES)[0]: ends[rounds(NAMES)[0]]}, truth).item() == 1


def test_pairs_meet_whom_they_should():
    seen = lambda v, a: 10 * v[:, 0] + a[:, 0]
    real = dict(picture=torch.tensor([[1.], [2.], [3.]]), sound=torch.tensor([[1.], [2.], [3.]]))
    made = dict(picture=torch.tensor([[7.]] * 3), sound=torch.tensor([[8.]] * 3))
    s = pair_scores(seen, real, made, torch.tensor([1, 2, 0]))
    assert {k: x.tolist() for k, x in s.items()} == dict(rr=[11, 22, 33], rw=[12, 23, 31], wr=[21, 32, 13], rf=[18, 28, 38], fr=[71, 72, 73])
    assert set(pair_scores(seen, real, {})) == {'rr'}


# --- four paths, four nets ---

def test_the_cycles_are_the_papers():
    V, A = 'picture', 'sound'
    assert set(rounds(NAMES)) == {(A, V, A), (V, A, V), (A, A, V), (V, V, A)} and len(rounds(NAMES)) == 4


def test_every_path_is_made_of_the_same_four_nets():
    "Changing one encoder or decoder changes exactly the two paths that it is part of."
    g = game(tiny(HAO))
    x = {m: torch.randn(2, *MODALITIES[m].shape) for m in NAMES}
    z = lambda n: torch.zeros(n, 3)
    for net in g.nets.values(): net.eval()
    every = [(s, t) for s in NAMES for t in NAMES]
    walk = lambda: {p: path(g.E, g.G, x[p[0]], *p, z).detach() for p in every}
    before = walk()
    for letter, end in (('E', 0), ('G', 1)):
        for m in NAMES:
            kept = {k: v.clone() for k, v in g.nets[f'{letter}_{m}'].state_dict().items()}
            with torch.no_grad():
                for p in g.nets[f'{letter}_{m}'].parameters(): p.mul_(1.5).add_(.01)
            after = walk()
            assert {p for p in every if not torch.equal(before[p], after[p])} == {p for p in every if p[end] == m}
            g.nets[f'{letter}_{m}'].load_state_dict(kept)


def test_a_cycle_reaches_every_net_on_its_way():
    on_the_way = {('sound', 'picture', 'sound'): {'E_sound', 'G_picture', 'E_picture', 'G_sound'}, ('picture', 'picture', 'sound'): {'E_picture', 'G_picture', 'G_sound'}}
    for walk, wanted in on_the_way.items():
        g = game(tiny(HAO))
        x, z = {m: torch.randn(2, *MODALITIES[m].shape) for m in NAMES}, lambda n: torch.randn(n, 3)
        cycles(g.E, g.G, paths(g.G, codes(g.E, x), z), z)[walk].square().sum().backward()
        assert {k for k, net in g.nets.items() if any(p.grad is not None for p in net.parameters())} == wanted


def test_every_weight_is_trained_by_one_optimizer_and_once():
    g = game(tiny(CMCGAN_GUIDED))
    held = [p for o in g.optimizers.values() for group in o.param_groups for p in group['params']]
    assert len(held) == len({id(p) for p in held}) == sum(len(list(n.parameters())) for n in g.nets.values())


@pytest.mark.parametrize('recipe', (HAO, CMCGAN_GUIDED), ids=lambda r: r.name)
def test_a_step_moves_the_four_nets_and_d_and_no_guide(recipe):
    g = game(tiny(recipe))
    nets = g.nets | ({'guides': g.guides} if g.guides else {})
    before = {k: [p.clone() for p in n.parameters()] for k, n in nets.items()}
    run = fit(g, steps=1, quiet=True, average=g.recipe.game.average)
    moved = {k for k, n in nets.items() if any(not torch.equal(a, b) for a, b in zip(before[k], n.parameters()))}
    assert moved == set(g.nets)
    assert set(run.averages) == (set(g.nets) - {'D'} if recipe.game.average else set())


def test_encoders_begin_as_copies_that_leave_the_originals_alone():
    recipe = tiny(CMCGAN_GUIDED)
    given = encoders_of(recipe)
    before = {m: [p.clone() for p in E.parameters()] for m, E in given.items()}
    g = CMCGAN(recipe, made_up_pairs(0), given)
    fit(g, steps=2, quiet=True)
    assert all(torch.equal(a, b) for m, E in given.items() for a, b in zip(before[m], E.parameters()))
    assert any(not torch.equal(a, b) for a, b in zip(before['sound'], g.nets['E_sound'].parameters()))


def test_a_recipe_that_wants_encoders_says_so():
    with pytest.raises(ValueError, match='start=False'): CMCGAN(tiny(CMCGAN_GUIDED), made_up_pairs(0))


# --- the switches ---

def one_step(recipe):
    g = game(recipe)
    loop = Loop(g, Budget(steps=2), Place(torch.device('cpu')), seed=3)
    moves, update = [], loop.update
    loop.update = lambda name, loss: (moves.append(name), update(name, loss))[1]
    place_nets(loop); loop.begin()
    batch = g.draw(loop)
    return {k: v.item() for k, v in g.step(batch, loop).items()}, moves, g


def test_each_ablation_changes_one_value():
    for recipe in (HAO, CMCGAN_GUIDED):
        told = lambda r: flattened(asdict(r)).items()
        differ = {what: {k for k, _ in told(recipe) - told(ablated(recipe, what))} - {'name'} for what in ABLATIONS}
        assert differ == {'no cycles': {'game cycle'}, 'no latent': {'game z'}, 'standard loss': {'game corresponding'}, 'K=2': {'game K'}, 'K=4': {'game K'}}
    with pytest.raises(ValueError, match='no ablation.*no cycles'): ablated(HAO, 'no nothing')


def test_the_recipe_is_made_of_the_parts_of_lesson_20():
    for r, parts in ((HAO, CHEN_S2I), (CMCGAN_GUIDED, S2I_C_GUIDED)):
        assert recipe_from(cmcgan.CycleRecipe, json.loads(json.dumps(asdict(r)))) == r
        assert {name for name, *_ in marks_of(r)} == {f'{part} {name}' for part in ('encoder', 'game') for name in asdict(r)[part]}
        there = r.way('sound', 'picture')
        assert (there.encoder, there.source, there.target) == (r.encoder_of(MODALITIES['sound']), 'sound', 'picture') and type(there.game) is type(parts.game)
        assert there.encoder == parts.encoder, 'both papers begin with the same encoder, though they word its numbers otherwise'
    words = [{name: words for name, _, _, words in marks_of(r)} for r in (HAO, CHEN_S2I)]
    assert words[0]['encoder norm'] != words[1]['encoder norm'] and words[0]['game rates'] != words[1]['game rates']


def test_without_cycles_nothing_but_the_cycles_is_missing():
    whole, moves, _ = one_step(tiny(HAO, K=1))
    less, same_moves, _ = one_step(tiny(HAO, K=1, cycle=0.))
    assert set(whole) - set(less) == {'Cons'} and moves == same_moves == ['D', 'G']
    assert all(whole[k] == less[k] for k in less), 'the losses of the first step are the same numbers'


def test_k_is_how_often_the_generators_move():
    first = one_step(tiny(HAO, K=1))
    third = one_step(tiny(HAO, K=3))
    assert first[1] == ['D', 'G'] and third[1] == ['D', 'G', 'G', 'G']
    assert first[0]['D'] == third[0]['D']


def test_the_standard_loss_changes_what_d_learns_and_nothing_before_it():
    joint, _, a = one_step(tiny(HAO, K=1))
    standard, _, b = one_step(tiny(HAO, K=1, corresponding='standard'))
    assert joint['D'] > standard['D'] and joint['Cons'] == standard['Cons']
    assert set(joint) == set(standard)


def test_without_latent_one_sound_gives_one_picture():
    recipe = tiny(HAO, z=0)
    g, with_z = game(recipe), game(tiny(HAO))
    x = torch.randn(2, *MODALITIES['sound'].shape)
    made = [one_way(r, t.nets, CLASSES, 'sound', 'picture') for r, t in ((recipe, g), (tiny(HAO), with_z))]
    assert torch.equal(made[0].make(x, seed=1), made[0].make(x, seed=2))
    assert not torch.equal(made[1].make(x, seed=1), made[1].make(x, seed=2))
    assert {k for k in g.nets if [p.shape for p in g.nets[k].parameters()] != [p.shape for p in with_z.nets[k].parameters()]} == {'G_picture', 'G_sound'}
    fit(g, steps=1, quiet=True)


# --- what is kept ---

@pytest.fixture
def quick_judge(monkeypatch):
    "A judge that need not be trained."
    from avgen_nb.judges import Judge
    ready = {m: Judge(MODALITIES[m].channels, CLASSES, m, width=4).eval() for m in NAMES}
    monkeypatch.setattr(cmcgan, 'judge_of', lambda data, target, *a: ready[target])


@pytest.mark.parametrize('recipe', (HAO, CMCGAN_GUIDED), ids=lambda r: r.name)
def test_a_run_is_kept_opened_and_scored(recipe, data, tmp_path, quick_judge):
    made = cmcgan.train_cycle(tiny(recipe), data, tmp_path / 'run', budget='test', quiet=True)
    again = cmcgan.load_cycle(tmp_path / 'run')
    batch = data['test'].batch(torch.arange(5))
    for t, model in again.items():
        x = getattr(batch, model.source.name)
        assert model.target.name == t
        assert torch.allclose(made[t].make(x), model.make(x), atol=1e-5) and model.make(x).shape == (5, *MODALITIES[t].shape)
    json.dumps(again['sound'].meta)
    rows = cmcgan.evaluate_cycle(again, data)
    assert [r.paper for r in rows if r.paper] == [cmcgan.PAPER_CMCGAN[t, 'test'] for t in again if recipe.name == 'CMCGAN']
    assert all(r.steps == 4 and r.system == recipe.name for r in rows)


def test_a_run_cut_off_and_resumed_is_the_run_left_alone(data, tmp_path, quick_judge, monkeypatch):
    recipe, step, fitted = tiny(CMCGAN_GUIDED, K=2), CMCGAN.step, cmcgan.fit
    monkeypatch.setattr(cmcgan, 'fit', lambda *a, **k: fitted(*a, save_steps=1, **k))
    whole = cmcgan.train_cycle(recipe, data, tmp_path / 'whole', budget='test', quiet=True)
    def cut(task, batch, loop):
        if loop.step == 2: raise KeyboardInterrupt
        return step(task, batch, loop)
    with monkeypatch.context() as m:
        m.setattr(CMCGAN, 'step', cut)
        with pytest.raises(KeyboardInterrupt): cmcgan.train_cycle(recipe, data, tmp_path / 'cut', budget='test', quiet=True)
    on = cmcgan.train_cycle(recipe, data, tmp_path / 'cut', budget='test', resume=True, quiet=True)
    for t in whole:
        for one, other in ((whole[t].E, on[t].E), (whole[t].G, on[t].G)):
            for a, b in zip(one.state_dict().values(), other.state_dict().values()): assert torch.equal(a, b)


def test_training_leaves_the_callers_randomness_alone(data, tmp_path, quick_judge):
    before = torch.get_rng_state()
    cmcgan.train_cycle(tiny(HAO), data, tmp_path / 'run', budget='test', quiet=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_split_without_a_figure_of_the_paper_is_scored_too(data, tmp_path, quick_judge):
    models = cmcgan.train_cycle(tiny(HAO), data, tmp_path / 'run', budget='test', quiet=True)
    rows = cmcgan.evaluate_cycle(models, data, 'dev')
    assert {r.split for r in rows} == {'dev'} and not any(r.paper for r in rows)


def test_a_path_as_a_generator_is_the_path_of_the_game():
    r = tiny(CMCGAN_GUIDED)
    g = game(r)
    for net in g.nets.values(): net.eval()
    x = torch.randn(3, *MODALITIES['sound'].shape)
    z = torch.randn(3, r.game.z, generator=torch.Generator().manual_seed(5))
    for t in NAMES:
        model = one_way(r, g.nets, CLASSES, 'sound', t)
        assert torch.allclose(model.make(x, seed=5), path(g.E, g.G, x, 'sound', t, lambda n: z), atol=1e-5)
        assert all(p.requires_grad for p in g.nets['E_sound'].parameters()), 'the game may go on'


def test_a_round_trip_is_one_after_the_other(data, tmp_path, quick_judge):
    models = cmcgan.train_cycle(tiny(HAO), data, tmp_path / 'run', budget='test', quiet=True)
    trip = RoundTrip(models['picture'], models['sound'])
    x = data['test'].batch(torch.arange(3)).sound
    assert trip.walk == 'sound → picture → sound'
    assert torch.equal(trip.make(x, 4), models['sound'].make(models['picture'].make(x, 4), 5))
    rows = cmcgan.round_trip_rows(models, data)
    assert {r.direction for r in rows} == {'sound → picture → sound', 'picture → sound → picture'}
    assert {r.metric for r in rows} >= {'balanced_accuracy', 'diversity_within'}


def test_unknown_names_and_empty_folders_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="no recipe 'CycleGAN'.*CMCGAN"): cmcgan.cycle_named('CycleGAN')
    with pytest.raises(ValueError, match='no finished run'): cmcgan.load_cycle(tmp_path)


def test_d_looks_at_both():
    d = PairDiscriminator(width=2, spectral=True).eval()
    x = {m: torch.randn(2, *MODALITIES[m].shape) for m in NAMES}
    v, a = (d.code(x[m], m) for m in ('picture', 'sound'))
    s = d.score(v, a)
    assert s.shape == (2,) and not torch.allclose(s, d.score(v.flip(0), a)) and not torch.allclose(s, d.score(v, a.flip(0)))
