"A run goes on only from what began as it would have begun: the same songs, instruments, recipe, encoders and seed."
from dataclasses import replace

import pytest
import torch

from avgen_nb import cgan, cmcgan
from avgen_nb.cgan import CHEN_S2I, RECIPES, EncoderTask, train_encoders, train_run
from avgen_nb.chen import AutoencoderTask, SquareGAN
from avgen_nb.cmcgan import CMCGAN_GUIDED, train_cycle
from avgen_nb.judges import Judge, JudgeTask
from avgen_nb.missing import FusionTask
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.runs import Schedule, changed
from avgen_nb.probes import PoseNet, ProbeTask
from avgen_nb.files import nets_identity
from avgen_nb.training import describe
from test_processes import CLASSES, made_up_pairs

SMALL = dict(batch=6, hidden=(16,), keep=(.8,), norm=True, plan=('8/2', '8/2'), steps=Schedule(2, 2, 2))
TINY = dict(width=4, batch=6, steps=Schedule(2, 2, 2))
S2I, POSE = (changed(RECIPES[name], encoder=SMALL, game=TINY) for name in ('S2I-C+guide', 'S2I-pose+guide'))
BOTH = changed(CMCGAN_GUIDED, encoder=SMALL | dict(plan=(('8/2', '8/2'),) * 2), game=TINY)


def splits(change=lambda p: p): return {k: change(made_up_pairs()) for k in ('train', 'dev', 'test')}
def louder(p): return replace(p, sounds=(p.sounds.float() * .9).half())
def fewer(p): return p.subset(torch.arange(0, len(p), 2))


@pytest.fixture(autouse=True)
def quick_judge(monkeypatch):
    judge = lambda data, target, *more: Judge(1 if target == 'sound' else 3, CLASSES, target, 4)
    for module in (cgan, cmcgan): monkeypatch.setattr(module, 'judge_of', judge)


def begin(train, recipe, out, change=lambda p: p, **options):
    return train(recipe, splits(change), out, budget='test', quiet=True, **options)


@pytest.mark.parametrize('recipe, other, says', [
    (S2I, dict(change=louder), 'data'), (S2I, dict(change=fewer), 'data'), (S2I, dict(seed=1), 'seed is 0, not 1'),
    (S2I, dict(recipe=changed(S2I, game=dict(match=1.))), 'recipe game match is 300.0, not 1.0'), (S2I, dict(recipe=changed(S2I, game=dict(mismatch=False))), 'recipe game mismatch'),
    (S2I, dict(recipe=changed(S2I, encoder=dict(rate=.1))), 'recipe rate is 0.001, not 0.1'), (S2I, dict(recipe=changed(S2I, game=dict(average=.5))), 'average'),
    (POSE, dict(only='tuba'), r"only is \['violin'\], not \['tuba'\]"), (BOTH, dict(change=louder), 'data'), (BOTH, dict(seed=1), 'seed is 0, not 1'),
    (BOTH, dict(recipe=changed(BOTH, game=dict(cycle=0.))), 'recipe game cycle is 10.0, not 0.0')])
def test_another_run_is_refused(recipe, other, says, tmp_path, recwarn):
    train, only = (train_cycle if recipe is BOTH else train_run), dict(only='violin') if recipe is POSE else {}
    begin(train, recipe, tmp_path, **only)
    with pytest.raises(ValueError, match=f'is of another run: its .*{says}') as e:
        begin(train, **dict(recipe=recipe, out=tmp_path, resume=True, steps=4) | only | other)
    assert '\n' not in str(e.value) and len(str(e.value)) < 500 and not [w for w in recwarn if 'trying' in str(w.message)]


@pytest.mark.parametrize('recipe', [S2I, BOTH])
def test_the_same_run_goes_on(recipe, tmp_path):
    train = train_cycle if recipe is BOTH else train_run
    begin(train, recipe, tmp_path)
    model = begin(train, recipe, tmp_path, resume=True, steps=4)
    assert (model['sound'] if recipe is BOTH else model).meta['steps'] == 4


def test_more_minutes_do_not_train_the_encoders_of_a_game_that_has_begun(tmp_path):
    first = begin(train_run, S2I, tmp_path, minutes=.01)
    more = begin(train_run, S2I, tmp_path, minutes=.03, resume=True)
    assert nets_identity(first.E) == nets_identity(more.E) and more.meta['steps'] > first.meta['steps']


def test_shared_encoders_have_learnt_from_the_same_songs(tmp_path):
    begin(train_run, S2I, tmp_path/'one', encoders=tmp_path/'encoders')
    begin(train_run, changed(S2I, name='other', game=dict(match=1.)), tmp_path/'two', encoders=tmp_path/'encoders')
    with pytest.raises(ValueError, match='encoders/encoder-sound/.* is of another run: its data'):
        begin(train_run, S2I, tmp_path/'three', louder, encoders=tmp_path/'encoders')


def test_what_decides_a_result_is_told():
    "Everything that is changed here changes what the task says of itself."
    tasks = dict(encoder=lambda p, r: EncoderTask(SOUND, r.encoder, p), autoencoder=lambda p, r: AutoencoderTask(SOUND, r.encoder, p), fusion=lambda p, r: FusionTask(('sound',), r.encoder, p),
                 judge=lambda p, r: JudgeTask(Judge(1, CLASSES, 'sound', r.game.width), p, r.encoder.batch), probe=lambda p, r: ProbeTask(PoseNet(4), p, r.encoder.batch))
    for name, make in tasks.items():
        pairs = made_up_pairs()
        same, again = (describe(make(p, S2I)) for p in (pairs, made_up_pairs()))
        assert same == again and same['data'] == pairs.identity, name
        assert describe(make(louder(pairs), S2I)) != same != describe(make(pairs, changed(S2I, encoder=dict(batch=3), game=dict(width=8)))), name


def test_two_games_of_one_recipe_are_two():
    a, b = (cgan.CrossModalGAN(SOUND, PICTURE, r, cgan.encoder_for(SOUND, r.encoder, CLASSES), made_up_pairs()) for r in [changed(CHEN_S2I, encoder=SMALL, game=TINY)] * 2)
    assert describe(a)['encoder'] != describe(b)['encoder'], 'another encoder'
    assert describe(SquareGAN(SOUND, PICTURE, a.recipe, a.E, a.pairs))['task'] != describe(a)['task']
