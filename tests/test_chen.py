"Choosing on development songs, the experiments of Chen et al. 2017 in miniature, and their ledger."
import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import nn

from avgen_nb import chen, metrics
from avgen_nb.cgan import encoder_for
from avgen_nb.runs import Schedule, changed, evaluate_run, load_run
from avgen_nb.chen import CHEN_EFFORTS, LEDGER, REPRESENTATIONS, SYSTEMS
from avgen_nb.experiments import Effort, assumptions, ledger, ledger_line
from avgen_nb.judges import Judge
from avgen_nb.metrics import Row, read_rows
from avgen_nb.files import flattened
from avgen_nb.pairs import Pairs

CLASSES = ('flute', 'tuba', 'violin')
SMALL = dict(width=4, batch=12)
TINY = dict(encoder=dict(hidden=(16,), keep=(.8,), plan=('8/2', '8/2'), norm=True, vary=0.), game=SMALL | dict(guide=0.))
EFFORT = Effort('test', 'small', (0, 1), 3, 3, 1, 2, 3, (2, 2), 4, 3)


def tiny(name): return changed(SYSTEMS[name].recipe, **TINY)


def made_up_pairs(seed=0, n=48, first_song=0):
    g = torch.Generator().manual_seed(seed)
    label, every = torch.arange(n) % 3, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) - 1 + .4 * label[:, None, None, None]).clamp(-1, 1)
    pictures = (torch.rand(n, 3, 64, 64, generator=g) * 80 + 80 * label[:, None, None, None]).to(torch.uint8)
    return Pairs(pictures, sounds.half(), label, label, first_song + every // 8 * 3 + label, CLASSES, every, every)


@pytest.fixture(scope='module')
def data():
    return dict(train=made_up_pairs(0), dev=made_up_pairs(1, first_song=100), test=made_up_pairs(2, first_song=200))


@pytest.fixture(scope='module')
def jury():
    torch.manual_seed(0)
    judge = Judge(3, CLASSES, 'picture', 4).eval()
    judge.meta = dict(ceiling=dict(value=.9))
    return judge


@pytest.fixture(autouse=True)
def no_items(monkeypatch):
    "Scoring without its slowest rows, which test_cgan has."
    monkeypatch.setattr(metrics, 'item_rows', lambda *a, **k: [])


class Walk:
    averaged = ()
    def __init__(self): self.w = nn.Linear(1, 1, bias=False); nn.init.zeros_(self.w.weight); self.nets, self.optimizers = {'w': self.w}, {}
    def draw(self, loop): return None
    def step(self, batch, loop):
        with torch.no_grad(): self.w.weight += 1
        return {}


@pytest.mark.parametrize('looks,best', [(12, 5), (3, 4), (1, 12)])
def test_choose_keeps_the_best_of_its_looks(looks, best):
    run = chen.choose(Walk(), 'w', lambda net: -abs(net.weight.item() - 5), 12, looks, quiet=True, device='cpu')
    assert run.averages['w'].weight.item() == best and len(run.samples) == looks
    assert run.samples[-1][0] == 12, 'the last step is looked at'


def test_looking_does_not_change_the_run(data):
    "The weights after training are the same however often one looks."
    def weights(looks):
        torch.manual_seed(0)
        task = chen.EncoderTask(chen.SOUND, tiny('S2I-C+guide').encoder, data['train'])
        chen.choose(task, 'E', lambda net: float(torch.rand(())), 4, looks, quiet=True, device='cpu', average=.9)
        return task.nets['E'].state_dict()
    one, four = weights(1), weights(4)
    assert all(torch.equal(one[k], four[k]) for k in one)


def test_stored_means_cover_what_seeds_differ_by(root):
    "The ledger's rows: no mean of several seeds has an interval narrower than its seeds' own spread says."
    rows = read_rows(root/'docs/chen2017.jsonl')
    means = [r for r in rows if r.metric == 'balanced_accuracy' and r.seed is None]
    assert len(means) == 22 and all(r.seeds == 3 for r in means) and all(r.seeds == 1 for r in rows if r.metric == 'balanced_accuracy' and r.seed is not None)
    for m in means:
        values = [r.value for r in rows if (r.system, r.data, r.budget, r.split, r.metric) == (m.system, m.data, m.budget, m.split, m.metric) and r.seed is not None]
        far = 1.96 * torch.tensor(values, dtype=torch.float64).std().item() / 3 ** .5
        assert m.high - m.low >= min(1, m.value + far) - max(0, m.value - far) - 1e-9, 'an accuracy ends at 0 and at 1'


def test_effort_counts_epochs():
    r = SYSTEMS['S2I-C'].recipe
    assert CHEN_EFFORTS['gpu'].steps(r, range(6400)) == 80 * 100 and CHEN_EFFORTS['gpu'].steps(changed(r, game=dict(batch=32)), range(6400)) == 80 * 200
    assert CHEN_EFFORTS['test'].steps(r, range(3)) == 1
    assert CHEN_EFFORTS['gpu'].epochs == 80 and len(CHEN_EFFORTS['gpu'].seeds) >= 3 and len(CHEN_EFFORTS['cpu'].seeds) >= 3


def test_standardising_looks_at_training_sounds_only():
    g = torch.Generator().manual_seed(0)
    sounds = {'train': torch.randn(50, 4, 6, generator=g) * torch.tensor([1., 10, 100, 0])[None, :, None] + 7, 'test': torch.full((2, 4, 6), 1e9)}
    out = chen.standardised(sounds)
    assert out['train'].shape == (50, 1, 4, 6) and out['train'].dtype == torch.float16
    assert out['train'].isfinite().all() and out['test'].isfinite().all(), 'a silent band and a huge value stay finite'
    assert torch.allclose(out['train'][:, 0, :3].float().mean((0, 2)), torch.zeros(3), atol=1e-2)
    assert torch.allclose(out['train'][:, 0, :3].float().std((0, 2)), torch.ones(3), atol=2e-2)


@pytest.mark.parametrize('name', REPRESENTATIONS)
def test_every_representation_fits_both_nets(name):
    x = REPRESENTATIONS[name](torch.randn(2, 22050, generator=torch.Generator().manual_seed(0)) * .1)
    assert x.ndim == 3 and x.shape[2] == 44 and x.isfinite().all()
    modality = chen.Modality('sound', 1, tuple(x.shape[1:]), vary=None)
    for layers, plan in chen.PLANS.items():
        E = encoder_for(modality, changed(SYSTEMS['S2I-C'].recipe.encoder, plan=plan), range(13)).eval()
        n = sum(isinstance(p, int) for p in plan)
        assert n == layers and E(x[:, None]).shape == (2, 13)


def test_representation_rows(data):
    noise = torch.randn(48, 22050, generator=torch.Generator().manual_seed(0)) * .1
    deaf = Judge(1, CLASSES, 'sound', 4).eval()
    with torch.no_grad(): deaf.head[1].weight.zero_()      # it always names the same
    rows = chen.representation_rows('MFCC', data, lambda pairs, rows: noise[rows], EFFORT, layers=(4,), judge=deaf)
    assert [r.seed for r in rows] == [0, 1, None]
    assert {r.system for r in rows} == {'MFCC, 4 convolutions'} and {r.paper for r in rows} == {'.8105'} and rows[-1].ceiling == pytest.approx(1 / 3)
    assert all(r.low <= r.value <= r.high and r.steps == 3 for r in rows) and (rows[0].data, rows[0].budget, rows[0].factors) == ('orchestra', 'test', dict(representation='MFCC', convolutions=4))


@pytest.mark.parametrize('name', ['S2I-C+guide', 'S2I-A', 'S2I-N'])
def test_variant_rows(name, data, jury, tmp_path):
    system = replace(SYSTEMS[name], recipe=tiny(name))
    rows = chen.variant_rows(system, data, tmp_path, EFFORT, jury)
    means = [r for r in rows if r.metric == 'balanced_accuracy' and r.seed is None]
    assert {r.split: r.paper for r in means} == {s: chen.PAPER.get((name, s)) for s in ('train', 'test')}
    assert {r.seed for r in rows if r.metric == 'kid_judge'} == {0, 1} and {(r.recipe, r.data, r.budget) for r in rows} == {(name, 'orchestra', 'test')}
    run = load_run(tmp_path/'seed-0')
    assert run.meta['encoder'] == system.teach.__name__ and run.recipe.name == name
    assert evaluate_run(run, data)[0].n == 48


def test_the_ceiling_is_of_the_split_scored(data, jury, tmp_path):
    "Half of the test pairs carry the picture of another class, so the judge's ceiling there is another than on train."
    system = replace(SYSTEMS['S2I-N'], recipe=tiny('S2I-N'))
    rows = chen.variant_rows(system, data, tmp_path, replace(EFFORT, seeds=(0,)), jury)
    for split, pairs in dict(train=chen.thin(data['train'], 8), test=data['test']).items():
        found = {r.ceiling for r in rows if r.split == split and r.metric == 'balanced_accuracy'}
        assert found == {chen.ceiling_of(jury, pairs)['value']} and found != {.9}


def test_the_shelf_knows_whose_songs_an_encoder_met(data, tmp_path):
    recipe = tiny('S2I-C+guide').encoder
    make = lambda data, recipe=recipe, **k: chen.encoder_for_system(chen.SOUND, recipe, data, 2, shelf=tmp_path, **k)[0]
    shelved = lambda: len([p for p in tmp_path.iterdir() if (p/'net.safetensors').exists()])
    first, few = make(data), data | dict(train=chen.thin(data['train'], 2))
    assert not torch.equal(first.phi.weight, make(few).phi.weight) and shelved() == 2, 'other songs, another encoder'
    alone = chen.encoder_for_system(chen.SOUND, recipe, few, 2)[0]
    assert torch.equal(alone.phi.weight, make(few).phi.weight), 'the shelf changes nothing'
    for other in (dict(recipe=changed(recipe, rate=.1)), dict(recipe=changed(recipe, batch=5)), dict(seed=1), dict(teach=chen.AutoencoderTask)):
        before = shelved()
        make(data, **other)
        assert shelved() == before + 1, f'{other} makes another encoder'
    before, longer = shelved(), changed(recipe, steps=Schedule(1, 1, 1))
    assert torch.equal(make(data, longer).phi.weight, first.phi.weight) and shelved() == before, 'how long it is trained is told by itself'


def test_a_restart_gives_the_same_rows(data, jury, tmp_path, monkeypatch):
    system = replace(SYSTEMS['S2I-C+guide'], recipe=changed(tiny('S2I-C+guide'), game=dict(guide=1.)))
    run = lambda: [r.value for r in chen.curve_rows(system, data, EFFORT, jury, tmp_path)]
    first = run()
    def never(*a, **k): raise AssertionError('trained again')
    monkeypatch.setattr(chen, 'train_encoder', never)
    assert run() == first


def test_no_pair_shares_its_z_with_another_part(data, jury):
    from avgen_nb.nets import Decoder
    from avgen_nb.cgan import Generator
    recipe = tiny('S2I-C+guide')
    model = Generator(recipe, CLASSES, encoder_for(chen.SOUND, recipe.encoder, CLASSES), Decoder(chen.PICTURE, 74, 4), jury)
    one, seen = data['test'].subset(torch.zeros(600, dtype=torch.long)), []
    class Eye:
        classes = CLASSES
        def predict(self, x): seen.append(x.flatten(1)); return x.flatten(1)[:, :3]
    model.jury = Eye()
    chen.taken_for(model, one)
    made = torch.cat(seen)
    assert (made[:88] - made[512:]).abs().amax(1).min() > 1e-4
    assert torch.equal(chen.taken_for(model, one)[1], chen.taken_for(model, one, part=100)[1])


def test_the_callers_randomness_is_left_alone(data, jury, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    system = replace(SYSTEMS['S2I-C+guide'], recipe=tiny('S2I-C+guide'))
    chen.train_system(system, data, tmp_path, EFFORT, jury, shelf=tmp_path/'encoders')
    heard = {k: replace(p, sounds=p.sounds[:, :, :20]) for k, p in data.items()}
    chen.classifier(heard, 3, 1, quiet=True)
    assert torch.equal(before, torch.get_rng_state())


def test_pairs_of_one_class_are_refused_before_anything_is_trained(data, jury, tmp_path):
    one = {k: p.subset(p.labels == 1) for k, p in data.items()}
    system = replace(SYSTEMS['S2I-C+guide'], recipe=tiny('S2I-C+guide'))
    with pytest.raises(ValueError, match="all of one, 'tuba'"): chen.train_system(system, one, tmp_path, EFFORT, jury, shelf=tmp_path/'encoders')
    assert not list(tmp_path.iterdir())


def test_the_run_keeps_what_was_best_on_dev(data, jury, tmp_path):
    system = replace(SYSTEMS['S2I-C+guide'], recipe=tiny('S2I-C+guide'))
    model, run = chen.train_system(system, data, tmp_path, replace(EFFORT, looks=4), jury)
    true, found = chen.taken_for(load_run(tmp_path), chen.thin(data['dev'], 4))
    assert chen.balanced_accuracy(true, found, 3) == pytest.approx(max(v for _, v in run.samples))


def test_a_killed_system_goes_on_with_the_best_net_so_far(data, jury, tmp_path, monkeypatch):
    "The best look comes before the kill; after the restart it is still the one that is kept."
    system = replace(SYSTEMS['S2I-C+guide'], recipe=tiny('S2I-C+guide'))
    def train(out, kill):
        looks = []
        def score(model):
            looks.append(0)
            if kill and len(looks) == kill: raise KeyboardInterrupt
            return float(model.G.lay.weight.abs().sum()) * -1      # the first look is the best: weights grow
        return chen.train_system(system, data, out, replace(EFFORT, epochs=2, looks=4), jury, shelf=tmp_path/'encoders', score=score)
    monkeypatch.setattr('avgen_nb.training.Keeper.look', lambda self, loop: self.save(loop))     # a checkpoint after every step
    whole, run = train(tmp_path/'whole', None)
    with pytest.raises(KeyboardInterrupt): train(tmp_path/'cut', 3)
    on, again = train(tmp_path/'cut', None)
    assert len(run.samples) == 4 and again.samples == run.samples
    assert all(torch.equal(a, b) for a, b in zip(whole.G.state_dict().values(), on.G.state_dict().values()))


def test_autoencoder_learns_no_names(data):
    "Labels may be anything: the code is the same."
    def code(pairs):
        recipe = tiny('S2I-A').encoder
        E, _ = chen.encoder_for_system(chen.SOUND, recipe, dict(train=pairs), 3, 0, chen.AutoencoderTask)
        return E.code(data['test'].batch(torch.arange(4)).sound)
    p = data['train']
    odd = dataclasses.replace(p, classes=('x', 'y', 'z'))
    assert torch.equal(code(p), code(odd)) and code(p).shape == (4, 64)


def test_table_1_hears_the_files_of_a_tree(tmp_path):
    "On an exported tree the waveforms come from its wav files, the right ones, from a store of it as well."
    from avgen_nb.sound import lms
    from avgen_nb.store import load_urmp, prepare_store
    from avgen_nb.urmp import export_orchestra
    export_orchestra(tmp_path/'tree', 'small', frame=(64, 64), progress=False)
    store = prepare_store(tmp_path/'tree', tmp_path/'store', progress=False)
    for source in (tmp_path/'tree', store):
        pairs = load_urmp(source, every=4)
        waves, rows = chen.waves_of(source), torch.arange(0, len(pairs['test']), 9)
        assert torch.equal(lms(waves(pairs['test'], rows)).half(), pairs['test'].batch(rows).sound.half())
        heard = chen.heard_as(chen.REPRESENTATIONS['MFCC'], {k: thinned(p) for k, p in pairs.items()}, waves)
        assert heard['train'].sounds.shape[1:] == (1, 20, 44)
    with pytest.raises(ValueError, match='has no .*wav'): chen.waves_of(tmp_path)(pairs['test'], rows)


def thinned(pairs): return chen.thin(pairs, 20)


def test_curve_rows(data, jury):
    system = replace(SYSTEMS['S2I-C+guide'], recipe=tiny('S2I-C+guide'))
    rows = chen.curve_rows(system, data, EFFORT, jury)
    assert [r.factors for r in rows] == [dict(epochs=2, every=2, epoch=k) for k in (1, 2)], '24 of 48 pairs, 12 a batch: 2 steps an epoch'
    assert {r.ceiling for r in rows} == {chen.ceiling_of(jury, chen.thin(data['dev'], 4))['value']} and {r.seeds for r in rows} == {1}
    assert [r.steps for r in rows] == [2, 4] and {r.metric for r in rows} == {'dev_accuracy'} and {r.split for r in rows} == {'dev'}
    assert [x for x, _ in chen.curve_lines(rows, 'S2I-C+guide')[0]] == [1, 2], 'in epochs'


@pytest.mark.parametrize('name', chen.CAUSES)
def test_cause_rows(name, data, monkeypatch):
    seen = {}
    def judge(kind, pairs, steps=None):
        seen.update(kind=kind, pairs=pairs)
        made = Judge(1, CLASSES, 'sound', 4).eval()
        made.meta = dict(ceiling=dict(value=.9))
        return made
    monkeypatch.setattr(chen, 'judge_for', judge)
    monkeypatch.setattr(chen, 'I2S_GUIDED', changed(chen.I2S_GUIDED, encoder=dict(vary=0.), game=SMALL))
    rows = chen.cause_rows(name, data, replace(EFFORT, epochs=.5))
    assert rows[0].system == f'I2S+guide cause: {name}' and rows[0].factors == dict(cause=name) and 0 <= rows[0].value <= 1 and rows[0].paper is None and rows[0].seeds == 1
    assert len(rows) == (2 if name == 'nothing' else 1)
    assert (seen['pairs'] is data) == (name != 'clip'), 'who plays with stretched sounds is judged by who heard such'


def test_the_ranges():
    x = (torch.rand(5, 1, 128, 44, generator=torch.Generator().manual_seed(0)) - 1).half()
    x[3] = -1
    y = chen.per_clip(x)
    assert y.isfinite().all() and y[:3].amin() == -1 and y[:3].amax() == 1 and y.dtype == torch.float16
    assert torch.allclose(chen.in_decibels(x).float() / 55, x.float(), atol=1e-2)


def test_pose_rows_are_of_the_one_instrument(tmp_path):
    from avgen_nb.runs import open_data
    pairs = open_data(size='small')
    rows = chen.pose_rows('trombone', pairs, tmp_path, replace(EFFORT, judge=2, pose=2))
    assert {(r.system, r.metric) for r in rows} == {(s, m) for s, m in zip(['S2I-pose+guide'] * 2 + ['I2S-pose+guide'] * 2, chen.CHEN_POSE_METRICS)}
    assert all((r.data, r.budget, r.factors) == ('orchestra', 'test', dict(instrument='trombone')) and r.ceiling is not None for r in rows)
    again = chen.pose_rows('trombone', pairs, tmp_path, replace(EFFORT, judge=2, pose=2))
    assert [r.value for r in again] == [r.value for r in rows], 'what is trained is not trained again'


def test_systems_differ_only_where_they_should():
    r = {k: flattened(dataclasses.asdict(s.recipe)) for k, s in SYSTEMS.items()}
    differ = lambda a, b: {k for k in r[a] if r[a][k] != r[b][k]} - {'name'}
    assert differ('S2I-C', 'S2I-A') == set() and SYSTEMS['S2I-A'].teach is chen.AutoencoderTask
    assert differ('S2I-C', 'S2I-N') == {'game mismatch'}


def test_list(capsys):
    assert chen.main(['--list']) == 0
    names = capsys.readouterr().out.split('\n')
    assert {'table-1 LMS', 'table-5 I2S', 'curve S2I-C+guide', 'cause square', 'pose trombone'} <= set(names)


def test_ledger_without_rows_claims_nothing():
    for entry in LEDGER: assert ledger_line(entry, [])[4:] == ['not run yet'] + [''] * 6
    assert ledger([], LEDGER).count('not run yet') == len(LEDGER)


def test_the_papers_figures_stand_beside_its_recipes_only():
    for where, system, split, metric, paper in LEDGER: assert bool(paper) != system.endswith('+guide')
    line = ledger_line(next(e for e in LEDGER if e[1] == 'I2S+guide'), [Row('I2S+guide', split='test', metric='balanced_accuracy', value=.9, seed=0)])
    assert line[3] == line[5] == ''


def test_assumptions_name_what_the_paper_does_not_give():
    text = '\n'.join(assumptions(chen.CHEN_S2I, chen.CHEN_ASSUMED))
    for name in ('game batch', 'game rates', 'game betas', 'encoder rate', 'game spectral'): assert f'{name} = ' in text
    assert 'φ is read inside' in text and 'z = 10' not in text and 'S2I-A' in text
