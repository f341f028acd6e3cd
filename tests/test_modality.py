"A modality is a value: one that no lesson knows of trains, is kept, loaded and made from."
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import avgen_nb
from avgen_nb import cli, nets
from avgen_nb.cgan import S2I_C_GUIDED, train_run
from avgen_nb.cmcgan import CMCGAN_GUIDED, load_cycle, round_trips, train_cycle
from avgen_nb.judges import judge_for, judges_for, load_judge, save_judge, train_judge
from avgen_nb.nets import PICTURE, SOUND, Decoder, Discriminator, Encoder, Modality, draw_numbers, modality_named, register_modality
from avgen_nb.pairs import Pairs
from avgen_nb.runs import changed, evaluate_run, load_run
from avgen_nb.sound import write_sound
from trees import tone

CLASSES = ('flute', 'tuba', 'violin')
SMALL = dict(hidden=(8,), keep=(.8,), batch=12)
TINY = dict(width=2, batch=6)


def vary_moves(x, generator, strength=1.):
    "Larger and smaller movements."
    return x * (1 + .1 * strength * draw_numbers(torch.randn, len(x), 1, 1, 1, generator=generator, device=x.device))


class MoveBatch(NamedTuple):
    sound: torch.Tensor
    move: torch.Tensor
    label: torch.Tensor
    index: torch.Tensor


class MovePairs(Pairs):
    "Sounds, and how twelve joints move in eight moments."
    def batch(self, index, generator=None):
        whole = super().batch(index, generator)
        return MoveBatch(whole.sound, self.truth['move'][index], whole.label, index)


def made_up_pairs(seed=0, n=24):
    g, label, every = torch.Generator().manual_seed(seed), torch.arange(n) % 3, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) - 1 + .4 * label[:, None, None, None]).clamp(-1, 1)
    moves = (torch.rand(n, 1, 12, 8, generator=g) - .5 + .4 * (label[:, None, None, None] - 1)).clamp(-1, 1)
    return MovePairs(torch.zeros(n, 3, 64, 64, dtype=torch.uint8), sounds.half(), label, label, 100 * seed + every // 6 * 3 + label, CLASSES,
                     every, every, truth=dict(move=moves))


@pytest.fixture
def move(monkeypatch, tmp_path):
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path/'cache'))
    monkeypatch.setattr(nets, 'MODALITIES', dict(nets.MODALITIES))
    return register_modality(Modality('move', 1, (12, 8), vary_moves, judge_steps=6))


@pytest.fixture
def data(): return dict(train=made_up_pairs(0), dev=made_up_pairs(1), test=made_up_pairs(2))


def test_a_modality_is_known_by_its_name_once_it_is_registered(move):
    assert modality_named('move') is modality_named(move) is move and modality_named(PICTURE.at(128)).size == (128, 128)
    with pytest.raises(ValueError, match="'smell'; it must be one of picture, sound, move"): modality_named('smell')


def test_what_is_hung_on_a_modality_is_its_own_and_all_its_sizes_have_it(move):
    with pytest.raises(AttributeError, match="'move' has no tile"): move.tile
    move.add(tile=lambda x, caption: caption)
    assert move.tile(None, 'a') == move.at(24).tile(None, 'a') == 'a' and move.at(24) != move
    assert not hasattr(Modality('move', 1, (12, 8), vary_moves), 'tile')


def test_its_nets_have_its_shape(move):
    x, code = torch.randn(2, *move.shape), torch.randn(2, 74)
    assert Encoder(move, 3, ('8/2',)).eval()(x).shape == (2, 3) and Encoder(move, 3).eval()(x).shape == (2, 3)
    assert Decoder(move, 74, 2)(code).shape == x.shape and Discriminator(move, 64, 2)(x, torch.randn(2, 64)).shape == (2,)


def test_its_judge_is_trained_as_the_value_says_kept_and_loaded(move, data, tmp_path):
    judge = train_judge(move, data['train'], data['dev'], width=4)
    assert judge.modality == 'move' and judge.meta['steps'] == move.judge_steps and judge.stride == move.judge_stride
    save_judge(judge, tmp_path/'judge.safetensors')
    x = data['test'].batch(torch.arange(5)).move
    assert torch.allclose(load_judge(tmp_path/'judge.safetensors').predict(x), judge.predict(x), atol=1e-6)
    two = judges_for(data, (SOUND, move), steps=2)
    assert set(two) == {'sound', 'move'} and torch.equal(judge_for('move', data, steps=2).predict(x), two['move'].predict(x))


def test_a_game_from_sound_to_it_is_trained_kept_loaded_and_made_from(move, data, tmp_path):
    recipe = changed(S2I_C_GUIDED, name='S2M', target='move', encoder=SMALL | dict(plan=('8/2', '8/2')), game=TINY)
    run = train_run(recipe, data, tmp_path/'run', steps=3, budget='test', quiet=True)
    again, x = load_run(tmp_path/'run'), data['test'].batch(torch.arange(5)).sound
    assert again.source is SOUND and again.target is move and again.jury.modality == 'move'
    assert torch.allclose(again.make(x, 1), run.make(x, 1), atol=1e-5) and again.make(x).shape == (5, 1, 12, 8)
    accuracy = evaluate_run(again, data)[0]
    assert accuracy.metric == 'balanced_accuracy' and accuracy.direction == 'sound → move'


def write_moves(x, stem):
    "Write STEM.txt."
    path = Path(f'{stem}.txt')
    path.write_text('\n'.join(' '.join(f'{v:.3f}' for v in row) for row in x[0, 0].tolist()))
    return path


def test_its_command_is_there_once_it_says_how_it_is_written(move, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['move', 'a.wav']) == 2 and "invalid choice: 'move'" in capsys.readouterr().err
    move.add(write=write_moves, writes=('.txt',), given=SOUND)
    with pytest.raises(SystemExit): cli.main(['--help'])
    assert '\n    move      make the move of each sound; a judge names what was made\n' in capsys.readouterr().out
    write_sound('a.wav', tone(220))
    assert cli.main(['move', 'a.wav']) == 2 and 'no run in runs or demo/runs makes a move of a sound; give one with --model' in capsys.readouterr().err
    recipe = changed(S2I_C_GUIDED, name='S2M', target='move', encoder=SMALL | dict(plan=('8/2', '8/2')), game=TINY)
    train_run(recipe, data, tmp_path/'runs'/'S2M', steps=3, budget='test', quiet=True)
    assert cli.main(['move', 'a.wav', '--out', 'made']) == cli.main(['move', 'a.wav', '--model', 'runs/S2M', '--out', 'again']) == 0
    (file, judged, sure), _ = (line.split('\t') for line in capsys.readouterr().out.splitlines())
    assert file == 'a.wav' and judged in CLASSES and 0 < float(sure) <= 1
    text = (tmp_path/'made'/'a.txt').read_text()
    assert [len(line.split()) for line in text.splitlines()] == [8] * 12 and (tmp_path/'again'/'a.txt').read_text() == text
    assert cli.main(['picture', 'a.wav', '--model', 'runs/S2M']) == 2 and 'takes a sound and makes a move, but a picture was wanted; use `avgen move`' in capsys.readouterr().err


@pytest.mark.parametrize('turned', (False, True))
def test_cmcgan_of_it_and_sound(move, data, tmp_path, turned):
    two = (SOUND, move) if turned else (move, SOUND)
    recipe = changed(CMCGAN_GUIDED, encoder=SMALL | dict(plan=(('8/2',), ('4/2',))), game=TINY | dict(match=(3., 5.)))
    made = train_cycle(recipe, data, tmp_path/'run', steps=3, budget='test', quiet=True, two=two)
    again, batch = load_cycle(tmp_path/'run', two), data['test'].batch(torch.arange(5))
    assert set(made) == set(again) == {'sound', 'move'}
    for t, s in (('sound', 'move'), ('move', 'sound')):
        x = getattr(batch, s)
        assert torch.allclose(made[t].make(x, 1), again[t].make(x, 1), atol=1e-5) and again[t].make(x).shape == (5, *modality_named(t).shape)
        at = [m.name for m in two].index
        assert again[t].recipe.encoder.plan == recipe.encoder.plan[at(s)] and again[t].recipe.game.match == recipe.game.match[at(t)]
    assert [trip.walk.split(' → ')[0] for trip in round_trips(again, two)] == [m.name for m in two]
    assert round_trips(again, two)[0].make(getattr(batch, two[0].name)).shape == (5, *two[0].shape)


def test_only_the_lesson_of_nets_knows_the_names_of_all_modalities():
    modules = Path(avgen_nb.__file__).parent.glob('*.py')
    assert [m.name for m in modules if m.name[0] != '_' and 'MODALITIES' in m.read_text(encoding='utf-8')] == ['nets.py']
