"The models that come with the package do what their cards say."
import json, sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
import real_recordings, ship_models
from avgen_nb.runs import load_run, shipped, shipped_names
from avgen_nb.experiments import taken_for
from avgen_nb.files import SCALE
from avgen_nb.judges import balanced_accuracy, ceiling_of
from avgen_nb.metrics import Row, read_rows, write_rows
from avgen_nb.pairs import exam_pairs
from avgen_nb.sound import tone, write_sound

MODELS = ROOT/'avgen_nb/models'
NAMES = ('S2I-C+guide', 'I2S+guide', 'CMCGAN+guide/sound-picture', 'CMCGAN+guide/picture-sound', 'S2I-flow', 'I2S-flow')


@pytest.fixture(scope='module')
def songs(): return exam_pairs(progress=False)


def card_of(name): return json.loads((MODELS/name/'card.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize('name', [*NAMES[:2], *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES[2:])])
def test_the_row_of_the_card_comes_out_again(name, songs):
    run, row = shipped(name), card_of(name)['rows'][0]
    assert row['metric'] == 'balanced_accuracy' and row['split'] == 'exam' and row['n'] == len(songs)
    assert row['seeds'] == 1 and row['songs'] == len(songs.songs.unique())
    assert balanced_accuracy(*taken_for(run, songs), len(songs.classes)) == pytest.approx(row['value'], abs=.02 if 'flow' in name else .004)   # flows walk in bfloat16 where there is some
    assert row['ceiling'] == pytest.approx(ceiling_of(run.jury, songs)['value'], abs=.004)


def test_one_judge_scores_all_of_a_direction():
    assert not [*MODELS.rglob('*/judge.safetensors')]
    for target in ('sound', 'picture'):
        states = [r.jury.state_dict() for r in map(shipped, NAMES) if r.target.name == target]
        assert len(states) == 3 and all(torch.equal(states[0][k], s[k]) for s in states for k in states[0])


@pytest.mark.parametrize('name', NAMES)
def test_a_card_says_how_it_was_made(name):
    card, meta = card_of(name), load_run(MODELS/name).meta
    made = 'python scripts/ship_flows.py ' if 'flow' in name else f'avgen train {name.partition("/")[0]} '
    assert card['command'].startswith(made) and card['hardware'] and card['seed'] == meta['seed']
    assert card['minutes'] == meta['minutes'] and card['steps'] == meta['steps']
    text = (MODELS/name/'card.md').read_text(encoding='utf-8')
    assert card['command'] in text and f'{card["rows"][0]["value"]:.3f}' in text
    assert text == ship_models.as_markdown(card), 'the text is made from the rows'
    for words in (f'{card["rows"][0]["songs"]} songs', 'One seed', 'same sampled voices', 'What it does not do'): assert words in text


@pytest.mark.parametrize('name', NAMES)
def test_the_readme_has_the_rows_of_the_cards(name):
    lines = (ROOT/'docs/results.jsonl').read_text(encoding='utf-8').splitlines()
    assert all(r in map(json.loads, lines) for r in card_of(name)['rows'])


# --- the scripts that make them

def test_rows_of_a_model_replace_its_older_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(ship_models, 'RESULTS', path := tmp_path/'results.jsonl')
    old = [Row('S2I', 'a → b', split=s, metric=m, value=v, seed=0, steps=n)
           for s, m, v, n in (('test', 'x', 1., 9), ('exam', 'x', 2., 9), ('exam', 'y', 3., 9), ('recordings', 'x', 4., 9), ('test', 'x', 5., 6))]
    write_rows(path, old)
    ship_models.publish(new := [replace(old[1], value=7.), old[3]])
    assert read_rows(path) == [old[4], *new], 'the minutes of the demo stay'


def test_what_a_model_does_not_do_is_measured():
    run, row = shipped('I2S+guide'), Row('I2S+guide', 'picture → sound', split='exam', metric='balanced_accuracy', value=.5, low=.4, high=.6, songs=9, ceiling=1.)
    z, far = ship_models.limits(run, row)
    assert (z.metric, far.metric) == ('moved_by_z', 'semitones_missed') and z.split == far.split == 'single notes' and z.n == 65
    assert 0 < z.value and far.value > far.chance and far.songs is far.low is far.ceiling is None
    assert ship_models.moved_by_z(shipped('S2I-C+guide'), ship_models.single_notes())['value'] < .5, 'lesson 91: z hardly moves it'
    text = ship_models.cannot([asdict(z), asdict(far)])
    assert f'misses by {far.value:.1f} semitones' in text and f'by {far.chance:.1f}.' in text


@pytest.fixture
def recordings(tmp_path):
    for k, name in enumerate(('flute', 'tuba')):
        (tmp_path/name).mkdir()
        for i in range(2): write_sound(tmp_path/f'{name}/{i}.wav', tone(72 - 30 * k + i, 1.))
    (tmp_path/'kazoo').mkdir(); write_sound(tmp_path/'kazoo/0.wav', tone(60, 1.))
    (tmp_path/'tuba/notes.txt').write_text('x'); (tmp_path/'tuba/empty.wav').write_bytes(b'')
    return tmp_path


def test_real_recordings(recordings, monkeypatch, capsys):
    monkeypatch.setattr(real_recordings, 'RESULTS', path := recordings/'results.jsonl')
    write_rows(path, kept := [Row('x', split='exam'), Row('x', split='recordings', data='others')])
    for _ in range(2):
        monkeypatch.setattr('sys.argv', ['real_recordings.py', str(recordings), '--name', 'a few'])
        real_recordings.main()
    rows = read_rows(path)
    assert rows[:2] == kept and [r.system for r in rows[2:]] == ['judge of sounds', 'S2I-C+guide', 'S2I-flow', 'CMCGAN+guide']
    assert all((r.n, r.songs, r.seeds, r.data, r.split) == (4, 4, 1, 'a few', 'recordings') and r.chance == 1 / 13 for r in rows[2:])
    assert 'tuba/empty.wav' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='bassoon, cello'): real_recordings.heard(recordings/'kazoo')


def test_a_byte_a_weight_and_small():
    for path in MODELS.rglob('*.safetensors'):
        with safe_open(path, 'pt') as f: tensors = {k: f.get_tensor(k) for k in f.keys()}
        wide = {k for k, v in tensors.items() if v.dim() > 1 and v.dtype != torch.int8 and not k.endswith(SCALE)}
        assert not wide or path.parent.name == 'judges', path
        assert {v.dtype for k, v in tensors.items() if not k.endswith(SCALE)} <= {torch.int8, torch.float16, torch.int64}, path
    assert sum(path.stat().st_size for path in MODELS.rglob('*.safetensors')) <= ship_models.LIMIT == 20 * 2 ** 20


def test_only_what_is_there():
    assert set(shipped_names()) == set(NAMES)
    with pytest.raises(ValueError, match=r'CMCGAN\+guide/picture-sound'): shipped('CMCGAN+guide')   # two directions: say which
    with pytest.raises(ValueError, match='S2I-Q.*avgen train'): shipped('S2I-Q')


def test_a_note_becomes_a_picture_at_once(tmp_path, monkeypatch, capsys):
    "`avgen picture` right after installation, in a folder without runs."
    from avgen_nb.cli import main
    monkeypatch.chdir(tmp_path)
    write_sound('note.wav', tone(60, 1.))
    assert main(['picture', 'note.wav', '--out', 'made']) == 0
    out, err = capsys.readouterr()
    assert out.startswith('note.wav\t') and 'comes with the package' in err and len(list((tmp_path/'made').iterdir())) == 1
