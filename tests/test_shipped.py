"The models that come with the package do what their cards say."
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from avgen_nb.cgan import load_run, open_data, shipped, shipped_names
from avgen_nb.chen import taken_for
from avgen_nb.judges import balanced_accuracy

MODELS = Path(__file__).resolve().parent.parent/'avgen_nb/models'
NAMES = ('S2I-C+guide', 'I2S+guide', 'CMCGAN+guide/sound-picture', 'CMCGAN+guide/picture-sound')


@pytest.fixture(scope='module')
def songs(): return open_data()['test']


def card_of(name): return json.loads((MODELS/name/'card.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize('name', NAMES)
def test_the_row_of_the_card_comes_out_again(name, songs):
    run, row = shipped(name), card_of(name)['rows'][0]
    assert row['metric'] == 'balanced_accuracy' and row['split'] == 'test' and row['n'] == len(songs)
    assert balanced_accuracy(*taken_for(run, songs), len(songs.classes)) == pytest.approx(row['value'], abs=.004)   # 13 of 3198 pairs


@pytest.mark.parametrize('name', NAMES)
def test_a_card_says_how_it_was_made(name):
    card, meta = card_of(name), load_run(MODELS/name).meta
    assert card['command'].startswith(f'avgen train {name.partition("/")[0]} ') and card['hardware'] and card['seed'] == meta['seed']
    assert card['minutes'] == meta['minutes'] and card['steps'] == meta['steps']
    text = (MODELS/name/'card.md').read_text(encoding='utf-8')
    assert card['command'] in text and f'{card["rows"][0]["value"]:.3f}' in text


def test_half_precision_and_small():
    for path in MODELS.rglob('*.safetensors'):
        with safe_open(path, 'pt') as f:
            assert {f.get_tensor(k).dtype for k in f.keys()} <= {torch.float16, torch.int64}, path.name
    weigh = lambda *names: sum((MODELS/n/'model.safetensors').stat().st_size for n in names)
    assert weigh(*NAMES[:2]) <= 10_000_000 and weigh(*NAMES[2:]) <= 10_000_000


def test_only_what_is_there():
    assert set(shipped_names()) == set(NAMES)
    with pytest.raises(ValueError, match=r'CMCGAN\+guide/picture-sound'): shipped('CMCGAN+guide')   # two directions: say which
    with pytest.raises(ValueError, match='S2I-Q.*avgen train'): shipped('S2I-Q')


def test_a_note_becomes_a_picture_at_once(tmp_path, monkeypatch, capsys):
    "`avgen picture` right after installation, in a folder without runs."
    from avgen_nb.cli import main
    from avgen_nb.sound import tone, write_sound
    monkeypatch.chdir(tmp_path)
    write_sound('note.wav', tone(60, 1.))
    assert main(['picture', 'note.wav', '--out', 'made']) == 0
    out, err = capsys.readouterr()
    assert out.startswith('note.wav\t') and 'comes with the package' in err and len(list((tmp_path/'made').iterdir())) == 1
