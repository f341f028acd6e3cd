"What a trained model is: a made-up family, registered here, goes the whole way without a word in another room."
import ast, inspect, json, subprocess, sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from avgen_nb import beside, cli, explorer, runs
from avgen_nb.judges import Judge, package_judge
from avgen_nb.metrics import Row, read_rows
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.pairs import Pairs
from avgen_nb.players import INSTRUMENTS
from avgen_nb.runs import (FAMILIES, MODULES, Family, direction_of, evaluate_run, family_of, jury_of, keep_run, load_run, meta_of, name_of, of_instrument,
                           over, part_of, real_and_made, register, scored_pairs, shipped, shipped_names, steady, trainer_of)
from avgen_nb.sound import tone, write_sound
from avgen_nb.files import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parent.parent
CLASSES = tuple(INSTRUMENTS)


class Shade(nn.Module):
    "A shade of grey for each class."
    def __init__(self, n):
        super().__init__()
        self.register_buffer('grey', torch.linspace(-1, 1, n))


class Grey:
    "Answers any sound with the grey of how loud it is: has what a model must have, and inherits nothing."
    source, target = SOUND, PICTURE
    def __init__(self, nets, meta): self.nets, self.meta, self.classes = nets, meta, tuple(meta['classes'])
    def make(self, given, seed=0):
        shade = self.nets['S'].grey
        k = ((given.mean((1, 2, 3)) + 1) / 2 * (len(shade) - 1)).round().long().clamp(0, len(shade) - 1)
        speck = torch.rand(len(given), 1, 1, 1, generator=torch.Generator().manual_seed(seed)) * .01
        return (shade[k][:, None, None, None] + speck).clamp(-1, 1).expand(-1, 3, 64, 64)


META = dict(family='grey', recipe=dict(name='grey'), classes=list(CLASSES), opened=dict(data='orchestra', size='small'), seed=5, steps=0, minutes=0.)

def a_grey(**more): return Grey(dict(S=Shade(len(META['classes']))), META | more)


@pytest.fixture(autouse=True)
def grey():
    "The family, known as long as a test runs; families that are imported meanwhile stay."
    yield register(Family('grey', lambda meta: dict(S=Shade(len(meta['classes']))), Grey))
    FAMILIES.pop('grey')


@pytest.fixture
def folder(tmp_path):
    keep_run(tmp_path/'mine', a_grey())
    return tmp_path/'mine'


def made_up_pairs(n=39, songs=6):
    g = torch.Generator().manual_seed(0)
    label, every = torch.arange(n) % 13, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) * 2 - 1) * torch.linspace(0, 1, n)[:, None, None, None]
    return Pairs((torch.rand(n, 3, 64, 64, generator=g) * 255).to(torch.uint8), sounds.half(), label, label, every // 13 * 13 + label, CLASSES, every, every)


@pytest.fixture
def data(): return dict(test=made_up_pairs())


# --- the way of a made-up family

def test_it_is_kept_and_loaded(folder):
    model, x = load_run(folder), torch.randn(5, 1, 128, 44).clamp(-1, 1)
    assert sorted(p.name for p in folder.iterdir()) == ['judge.safetensors', 'model.safetensors']
    assert type(model) is Grey and model.meta == META and model.jury.modality == 'picture'
    assert torch.equal(model.make(x, 3), a_grey().make(x, 3))


def test_it_is_scored(folder, data):
    rows = evaluate_run(folder, data)
    first = rows[0]
    assert first.metric == 'balanced_accuracy' and (first.system, first.direction, first.seed, first.steps, first.n) == ('grey', 'sound → picture', 5, 0, 39)
    assert first.low <= first.value <= first.high and first.chance == pytest.approx(1 / 13) and first.paper is None
    assert {'kid_judge', 'diversity_within', 'near_copies', 'swd_level_0'} <= {r.metric for r in rows}


def test_a_model_that_no_family_knows_is_scored_too(data):
    assert evaluate_run(a_grey(family='nobody'), data)[0].system == 'grey'


def test_it_is_explored(folder):
    given, made, true = explorer.explore(str(folder), 'cello', 48)
    assert made.image.shape == (64, 64, 3) and np.ptp(made.image) == 0 and 'judged' in made.said and true.image.std() > 0
    assert str(folder) in explorer.models_here(places=(folder.parent,)) and str(folder) not in explorer.models_here('picture', places=(folder.parent,))
    tiles = beside.explore_models(names=['S2I-C+guide', str(folder)])
    assert len(tiles) == 4 and 'not scored yet' in tiles[2].note
    assert beside.explore_trip(str(folder), 'I2S+guide', times=1)[1].image.shape == (64, 64, 3)
    film = explorer.film_of(tone(57, 1.), str(folder))
    assert np.ptp(film.frames[0]) == 0
    with pytest.raises(ValueError, match='grey has no code to walk along'): beside.explore_walk(str(folder))


def test_it_is_shipped(folder, tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT/'scripts'))
    import ship_models
    monkeypatch.setattr(ship_models, 'MODELS', tmp_path/'models')
    assert list(ship_models.ship(folder)) == ['grey']
    monkeypatch.setattr(runs, 'files', lambda package: tmp_path)
    assert shipped_names() == ['grey'] and type(shipped('Grey')) is Grey
    assert shipped('grey').nets['S'].grey.dtype == torch.float32 and torch.equal(shipped('grey').nets['S'].grey, a_grey().nets['S'].grey.half().float())
    with pytest.raises(ValueError, match="No model 'S2I-C.guide' comes with the package, only grey"): shipped('S2I-C+guide')


def test_it_draws_from_the_command_line(folder, tmp_path, capsys):
    write_sound(tmp_path/'note.wav', tone(57))
    assert cli.main(['picture', str(tmp_path/'note.wav'), '--model', str(folder), '--out', str(tmp_path/'out')]) == 0
    name, judged, probability = capsys.readouterr().out.strip().split('\t')
    assert judged in CLASSES and 0 <= float(probability) <= 1 and np.ptp(np.asarray(Image.open(tmp_path/'out/note.png'))) == 0
    assert cli.main(['sound', 'x.png', '--model', str(folder)]) == 2 and 'takes a sound' in capsys.readouterr().err


def test_it_is_scored_from_the_command_line(folder, monkeypatch, data, capsys):
    monkeypatch.setattr(runs, 'open_data', lambda **k: data)
    assert cli.main(['evaluate', str(folder)]) == 0
    assert read_rows(folder/'results.jsonl')[0].system == 'grey'


def test_it_is_trained_from_the_command_line(monkeypatch, tmp_path, data, capsys):
    "A family with a recipe and a trainer is one of `avgen train`."
    recipe = type('R', (), dict(name='grey-1'))()
    def train(recipe, data, out, **options): return keep_run(out, a_grey(seed=options['seed']))
    register(replace(runs.FAMILIES['grey'], recipes={'grey-1': recipe}, train=train))
    monkeypatch.setattr(runs, 'open_data', lambda **k: data)
    assert trainer_of('grey-1') == (recipe, train)
    assert cli.main(['train', 'grey-1', '--out', str(tmp_path/'new'), '--seed', '7', '--budget', 'test']) == 0
    assert load_run(tmp_path/'new').meta['seed'] == 7 and f'{tmp_path/"new"}: trained' in capsys.readouterr().out


def test_a_family_may_score_in_its_own_way_and_quote_its_paper(data):
    seen = []
    def score(run, pairs, context, seed):
        seen.append((len(pairs), seed))
        return [Row(metric='mine', value=1., **context)]
    register(replace(runs.FAMILIES['grey'], score=score, paper=lambda meta, split: f'.5 {split}'))
    row, = evaluate_run(a_grey(), data, seed=4)
    assert seen == [(39, 4)] and (row.metric, row.paper, row.system, row.seed) == ('mine', '.5 test', 'grey', 5)


# --- families

def test_a_family_is_imported_when_a_file_asks_for_it():
    "In a process that has met no model, and only then."
    code = "import sys, avgen_nb.runs as r\nassert not {'avgen_nb.cgan', 'avgen_nb.cmcgan'} & set(sys.modules)\n" \
           "assert r.family_of({}).name == 'cgan' and 'avgen_nb.cmcgan' not in sys.modules\n" \
           "assert r.trainer_of('CMCGAN')[1].__name__ == 'train_cycle'\nassert r.shipped('I2S+guide').target.name == 'sound'"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_every_module_of_the_list_registers_its_name():
    assert [family_of(dict(family=name)).name for name in MODULES] == list(MODULES)


@pytest.mark.parametrize('family', ['smell', '', None, ['cgan'], 7])
def test_a_file_of_an_unknown_family_is_a_sentence(tmp_path, family):
    keep_run(tmp_path, a_grey())
    tensors, meta = read_tensors(tmp_path/'model.safetensors', 'nets')
    write_tensors(tmp_path/'model.safetensors', tensors, meta | dict(family=family), 'nets')
    with pytest.raises(ValueError, match='model.safetensors cannot be used: its family is .* not registered') as e: load_run(tmp_path)
    assert '\n' not in str(e.value)


def test_a_file_that_names_no_family_is_cgans():
    meta = read_tensors(ROOT/'avgen_nb/models/I2S+guide/model.safetensors', 'nets')[1]
    assert 'family' not in meta and family_of(meta).name == 'cgan' == load_run(ROOT/'avgen_nb/models/I2S+guide').meta['family']


def test_unknown_recipes_are_listed():
    with pytest.raises(ValueError, match="no recipe 'S2I-Q'.*S2I-C.guide.*CMCGAN"): trainer_of('S2I-Q')


@pytest.mark.parametrize('path', sorted((ROOT/'avgen_nb').glob('*.py')), ids=lambda p: p.stem)
def test_nobody_asks_for_the_class_of_a_model(path):
    "No `isinstance` of a model, and no class that inherits from one."
    models = {'Generator', 'RoundTrip'}
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ('isinstance', 'issubclass'): assert not models & set(ast.unparse(node.args[1]).replace('(', ' ').replace(',', ' ').split()), node.lineno
        if isinstance(node, ast.ClassDef): assert not models & {ast.unparse(b) for b in node.bases}, node.name


# --- the pieces

class Noisy(Grey):
    def noise(self, n, seed=0): return torch.rand(n, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    def make(self, given, seed=0, z=None): return super().make(given) * 0 + (self.noise(len(given), seed) if z is None else z)


def test_no_two_pairs_share_their_noise_with_or_without_a_noise_of_its_own(data):
    pairs = data['test'].subset(torch.zeros(39, dtype=torch.long))
    for model, parts in ((Noisy(a_grey().nets, META), (8, 39)), (a_grey(), (8,))):
        for part in parts:
            made = over(model, pairs, lambda x: x[:, 0, 0, 0], part=part)
            assert len(made.unique()) == 39, (type(model), part)
    noisy = [over(Noisy(a_grey().nets, META), pairs, lambda x: x[:, 0, 0, 0], 3, part) for part in (8, 39)]
    assert torch.equal(*noisy) and torch.equal(noisy[0], Noisy(a_grey().nets, META).noise(39, 3)[:, 0, 0, 0])


def test_steady_is_one_noise_for_all():
    x = torch.zeros(4, 1, 128, 44)
    for model in (a_grey(), Noisy(a_grey().nets, META)):
        made = steady(model, x, 2)
        assert made.std(0).max() == 0 and torch.equal(made[:1], model.make(x[:1], 2)) and made.shape == (4, 3, 64, 64)


def test_the_pairs_of_a_run_are_those_it_says(data, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, 'open_data', lambda **k: asked.append(k) or data)
    pairs, source = scored_pairs(a_grey(only='tuba'))
    assert asked == [META['opened']] and source == 'orchestra' and set(pairs.labels.tolist()) == {CLASSES.index('tuba')}
    with pytest.raises(ValueError, match="no instrument 'kazoo'"): of_instrument(data['test'], 'kazoo')


def test_items_are_some_of_very_many(data):
    real, made, songs = real_and_made(a_grey(), data['test'], most=7)
    assert real.shape == made.shape == (7, 3, 64, 64) and len(songs) == 7


def test_a_judge_is_the_models_own_or_one_that_fits(tmp_path):
    model = a_grey()
    assert jury_of(model).classes == CLASSES
    model.jury = own = Judge(3, ('a', 'b'), 'picture', width=2)
    assert jury_of(model) is own
    with pytest.raises(ValueError, match="the package's judge names other classes"): jury_of(a_grey(classes=['kazoo']))
    with pytest.raises(ValueError, match="judge.safetensors is missing, and the package's judge names other classes"): jury_of(a_grey(classes=['kazoo']), tmp_path)
    with pytest.raises(ValueError, match='names other classes'): keep_run(tmp_path/'kazoo', a_grey(classes=['kazoo']))
    assert not (tmp_path/'kazoo').exists(), 'nothing is kept of what cannot be read again'


def test_a_training_of_two_directions(tmp_path):
    for way in ('sound-picture', 'picture-sound'): (tmp_path/way).mkdir()
    assert [part_of(tmp_path, s).name for s in ('picture', 'sound')] == [f'{s}-{t}' for s in ('picture', 'sound') for t in ('picture', 'sound') if s != t]
    assert part_of(tmp_path/'sound-picture', 'sound') == tmp_path/'sound-picture'
    keep_run(tmp_path/'sound-picture', a_grey())
    with pytest.raises(ValueError, match='holds several runs: give one of .*sound-picture'): load_run(tmp_path)


def test_the_five_things_are_all_that_a_made_up_model_has():
    needed = {'source', 'target', 'classes', 'meta', 'make'}
    assert {k for k in vars(Grey) | vars(a_grey()) if k[0] != '_'} == needed | {'nets'}, 'nets: for the file only'
    json.dumps(META)
