"Films in the store: every moment in its place, killed and resumed, found while fresh, bad films named; clips of them."
import json, shutil

import numpy as np
import pytest
import torch

from avgen_nb import cli, footage
from avgen_nb.folders import Report
from avgen_nb.footage import FilmClips, are_films, film_clip_starts, film_clips, film_stamp, films_in, heard_score, instrument_named, prepare_films, split_films
from avgen_nb.mp4 import film_sound
from avgen_nb.orchestra import sounds_of
from avgen_nb.pairs import ClipBatch
from avgen_nb.sound import WINDOW
from avgen_nb.store import load_urmp, prepare_store
from filming import grey_of, greys, sine, turn, write_tracks
from trees import refused, write_world


def shot(path, hz, n=60, rate=25, sound=None, **options):
    "A film of greys, grey 20 + 4 k at frame k, with a tone that swells."
    wave = sine(n / rate, hz=hz) * np.linspace(.3, 1, round(n / rate * 44_100), dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tracks(path, [(greys(n), np.arange(n) / rate)], [(wave if sound is None else sound, 44_100, 0)], **options)


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp('films')
    for k, name in enumerate(('cello', 'flute')):
        for i in range(3): shot(root / name / f'{i}.mp4', 200 * (k + 1) + 20 * i)
    return root

@pytest.fixture
def own_films(films, tmp_path): return shutil.copytree(films, tmp_path / 'films')

def made(paths, out, **options): return prepare_films(paths if isinstance(paths, list) else [paths], out, progress=False, workers=0, **options)

@pytest.fixture(scope='module')
def store(films, tmp_path_factory): return made(films, tmp_path_factory.mktemp('out') / 'store', test=.34)

def contents(store): return {f.name: f.read_bytes() for f in sorted(store.iterdir()) if f.suffix == '.npy'}


# which films

@pytest.mark.parametrize('name, instrument', [('violin.mp4', 'violin'), ('My Violin 2.MOV', 'violin'), ('double-bass_1.mp4', 'double_bass'), ('sax/IMG_1.mov', 'sax'),
                                              ('sax/tuba 3.mp4', 'tuba'), ('double bass/1.mp4', 'double_bass')])
def test_the_instrument_is_in_the_name(name, instrument): assert instrument_named(name) == instrument


def test_a_name_without_instrument_is_refused():
    for name in ('IMG_0042.mov', 'violinist.mp4', 'x/basson.mp4'): assert 'names no instrument' in refused(instrument_named, name)


def test_folders_and_files(films, tmp_path):
    assert [c for c, _ in films_in([films])] == ['cello'] * 3 + ['flute'] * 3
    assert films_in([films / 'flute' / '1.mp4', films / 'cello'])[0] == ('flute', films / 'flute' / '1.mp4')
    assert 'no such film' in refused(films_in, [tmp_path / 'violin.mp4'])
    assert are_films([films]) and are_films([films / 'cello']) and are_films(['a.mp4']) and not are_films([tmp_path]) and not are_films(['a.wav'])
    assert not are_films([write_world(tmp_path / 'world', songs=1, windows=1)]), "Sub-URMP's layout"


# the store

def test_every_moment_is_in_its_place(films, store):
    splits = load_urmp(store, dev=0)
    assert {n: p.classes for n, p in splits.items()} == dict(train=('cello', 'flute'), test=('cello', 'flute'))
    about = json.loads((store / 'films.json').read_text())
    assert about['rate'] == 10 and len(about['films']) == 6
    for number, (c, take, samples, path) in enumerate(about['films']):
        k = np.arange(20)
        shown = grey_of(greys(60))[np.floor(k * 2.5 + .03).astype(int)]
        p = [p for p in splits.values() if ((p.labels == p.classes.index(c)) & (p.truth['take'] == take)).any()]
        assert len(p) == 1, 'a film is on one side'
        rows = ((p[0].labels == p[0].classes.index(c)) & (p[0].truth['take'] == take)).nonzero().flatten()
        assert p[0].truth['ms'][rows].tolist() == (500 + 100 * k).tolist()
        assert np.abs(grey_of(p[0].pictures[p[0].picture_of[rows]].numpy()) - shown).max() < 1.9
        wave = np.load(store / samples)
        assert np.array_equal(wave, film_sound(path)) and np.array_equal(p[0].sounds[p[0].sound_of[rows]].numpy(), sounds_of(wave, k))


def test_other_rates_sizes_and_squares(films, tmp_path):
    store = made([films / 'cello'], tmp_path / 's', rate=25, size=16, across=0, test=.4)
    train = load_urmp(store, dev=0)['train']
    one = train.subset(train.songs == train.songs[0])
    assert train.pictures.shape[2:] == (16, 16) and (one.truth['ms'][:4].tolist() == [500, 540, 580, 620])
    assert np.abs(grey_of(one.pictures[one.picture_of].numpy()) - grey_of(greys(60))[:len(one)]).max() < 1.9


def test_several_processes_and_small_blocks_give_the_same(films, store, tmp_path, monkeypatch):
    monkeypatch.setattr(footage, 'BLOCK', 7)
    assert contents(prepare_films([films], tmp_path / 's', test=.34, workers=2, progress=False)) == contents(store)


def test_a_run_that_was_cut_off_goes_on(films, store, tmp_path, monkeypatch):
    monkeypatch.setattr(footage, 'BLOCK', 7)
    real, seen = footage.frames_at, []
    def dies(*a):
        if len(seen) == 12: raise KeyboardInterrupt
        seen.append(a)
        return real(*a)
    code = film_stamp(films_in([films]))
    monkeypatch.setattr(footage, 'film_stamp', lambda *a: code)
    monkeypatch.setattr(footage, 'frames_at', dies)
    with pytest.raises(KeyboardInterrupt): made(films, tmp_path / 's', test=.34)
    assert not (tmp_path / 's' / 'store.json').exists()
    first = len(seen)
    monkeypatch.setattr(footage, 'frames_at', lambda *a: (seen.append(a), real(*a))[1])
    monkeypatch.setattr(footage, 'film_sound', lambda *a, **k: pytest.fail('its sound is there'))
    assert contents(made(films, tmp_path / 's', test=.34)) == contents(store)
    films_in_block = [len({n // 20 for n in range(7 * b, min(120, 7 * b + 7))}) for b in range(18)]
    assert len(seen) - first == sum(films_in_block[8:]), 'the eight blocks of the journal are not read again'


def test_it_is_found_while_it_is_fresh(own_films, tmp_path, monkeypatch):
    store = made(own_films, tmp_path / 's')
    read = []
    monkeypatch.setattr(footage, 'read_films', lambda *a: read.append(1))
    report = Report()
    made(own_films, tmp_path / 's', report=report)
    assert not read and report.read == 120
    made(own_films, tmp_path / 's', rate=5)
    shot(own_films / 'flute' / '1.mp4', 333.)
    made(own_films, tmp_path / 's')
    assert len(read) == 2, 'another rate, another film'


def test_in_the_cache_if_nobody_says_where(films, tmp_path, monkeypatch):
    monkeypatch.setattr(footage, 'cache_folder', lambda: tmp_path / 'cache')
    one, two = made(films / 'cello', None), made(films / 'flute', None)
    assert one != two and made(films / 'cello', None) == one and one.parent == two.parent == tmp_path / 'cache'


def test_a_folder_with_something_else_is_left_alone(films, tmp_path):
    (tmp_path / 'letters').mkdir()
    (tmp_path / 'letters' / 'a.txt').write_text('dear')
    assert 'neither empty nor a store' in refused(made, films, tmp_path / 'letters')


# bad films

def test_bad_films_stop_the_run_or_are_named(own_films, tmp_path):
    write_tracks(own_films / 'cello' / '7.mp4', [(greys(30), np.arange(30) / 25)])
    (own_films / 'flute' / '8.mp4').write_bytes((own_films / 'flute' / '0.mp4').read_bytes()[:3000])
    shot(own_films / 'flute' / '9.mp4', 100, sound=0 * sine(2.4))
    assert '33.3% of the files are bad' in refused(made, own_films, tmp_path / 's')
    store = made(own_films, tmp_path / 's', max_bad=.5, report=(report := Report()))
    assert {p.name: why.split(',')[0].split(';')[0] for p, why in report.bad} == {'7.mp4': 'holds no sound', '8.mp4': 'cannot be read as a film', '9.mp4': 'is silent throughout'} and report.read == 120
    told = json.loads((store / 'report.json').read_text())
    assert told['pairs'] == 120 and len(told['bad']) == 3
    assert len(film_clips(store)['train'].films) == 6


def test_nothing_but_bad_films(tmp_path):
    (tmp_path / 'violin.mp4').write_bytes(b'no film')
    assert 'violin.mp4: cannot be read as a film' in refused(made, tmp_path / 'violin.mp4', tmp_path / 's')


def test_what_is_odd_is_told(own_films, tmp_path):
    turn(own_films / 'cello' / '0.mp4', 90)
    times = np.r_[np.arange(20) / 25, 1 + np.arange(20) / 10]
    write_tracks(own_films / 'flute' / '0.mp4', [(greys(40), times)], [(sine(3.), 44_100, 0)])
    store = made(own_films, tmp_path / 's', report=(report := Report()))
    assert len(report.odd) == 2 and 'turned' in report.odd[0] and 'ms apart' in report.odd[1] and not report.bad
    assert len(json.loads((store / 'report.json').read_text())['odd']) == 2


def test_one_film_is_for_training(films, tmp_path):
    store = made(films / 'cello' / '0.mp4', tmp_path / 's', report=(report := Report()))
    assert 'All films are for training' in report.notes[0]
    assert 'no test songs' in refused(load_urmp, store)
    assert set(film_clips(store)) == {'train'} and len(film_clips(store, frames=8)['train']) == 13


def test_films_are_split_evenly():
    rows = [[(c, n, 500, f'{c}{n}', 0, 'w')] * 3 for c in ('cello', 'flute') for n in range(10)]
    train, test = split_films(rows, .3, 0)
    assert len(train) == 42 and {c: sum(r[0] == c for r in test) for c in ('cello', 'flute')} == dict(cello=9, flute=9)
    assert not {r[3] for r in train} & {r[3] for r in test} and split_films(rows, .3, 0) == (split_films(rows, .3, 0)) and split_films(rows, 0, 0)[1] == []


# clips

def test_clips_are_rows_in_order(store):
    for name, clips in film_clips(store, frames=6, hop=2).items():
        assert isinstance(clips, FilmClips) and clips.rate == 10
        batch = clips.batch(torch.arange(len(clips)))
        assert isinstance(batch, ClipBatch) and batch.motion is None and batch.wave.shape == (len(clips), 22_050 + WINDOW)
        assert torch.allclose(batch.times.diff(dim=1), torch.tensor(.1, dtype=torch.float64))
        shown = grey_of(greys(60))[np.floor(batch.times.numpy() * 25 + .03).astype(int)]
        assert np.abs((batch.picture.mean((2, 3, 4)).numpy() + 1) * 127.5 - shown).max() < 1.9
        for i in (0, len(clips) - 1):
            wave = np.load(clips.samples(batch.song[i]))
            start = int(batch.times[i, 0] * 44_100 + .5)
            assert np.allclose(batch.wave[i].numpy() * 32768, wave[start:start + 44_100], atol=.6)


def test_what_is_heard(store):
    clips = film_clips(store, frames=20)['train']
    batch = clips.batch(torch.arange(len(clips)), pictures=False)
    assert batch.picture is None
    for i in range(len(clips)):
        hz = 200 * (int(batch.label[i]) + 1) + 20 * (int(clips.films[int(batch.song[i])][1]) - 1)
        assert (batch.truth['pitch'][i] - 69 - 12 * np.log2(hz / 440)).abs().median() < .1
        assert (batch.truth['loudness'][i].diff() > 0).float().mean() > .8, 'the tone swells'
    assert batch.truth['onset'].dtype == torch.bool and batch.truth['onset'].shape == batch.truth['beat'].shape == (len(clips), 20)


def test_verbs_of_clips(store):
    clips = film_clips(store, frames=4)['train']
    index = clips.draw(40, torch.Generator().manual_seed(0))
    wrong = clips.draw_wrong(index, torch.Generator().manual_seed(1))
    assert (clips.labels[wrong] != clips.labels[index]).all() and len(set(clips.labels[index].tolist())) == 2
    flute = clips.only(('flute',))
    assert flute.classes == ('flute',) and (flute.labels == 0).all() and 0 < len(flute) < len(clips)
    assert 'no class' in refused(clips.only, ('harp',))
    assert clips.identity == film_clips(store, frames=4)['train'].identity != film_clips(store, frames=5)['train'].identity
    assert 'moments in order' in refused(film_clips, store, frames=99) and 'at least 1' in refused(film_clips, store, frames=0)


def test_no_clip_goes_over_a_gap():
    assert film_clip_starts(np.array([3, 4, 5, 7, 8, 9]), np.array([500, 600, 700, 800, 900, 1000]), 3, 1, 10) == [3, 7]
    assert film_clip_starts(np.arange(5), 500 + np.round(1000 * np.arange(5) / 29.97), 5, 1, 29.97) == [0]


def test_a_store_of_something_else(tmp_path):
    store = prepare_store(write_world(tmp_path / 'world'), tmp_path / 's', progress=False)
    assert 'not made of films' in refused(film_clips, store)


def test_silence_has_no_score(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros(44_100, np.int16))
    score = heard_score(str(tmp_path / 'a.npy'))
    assert len(score.onsets) == len(score.beats) == 0 and np.isnan(score.beat)


# the command

def test_on_the_command_line(films, tmp_path, capsys):
    out = tmp_path / 's'
    assert cli.main(['prepare', str(films), '--out', str(out), '--rate', '5', '--size', '16', '--test', '.4', '--workers', '1']) == 0
    assert '60 pairs in' in (said := capsys.readouterr()).out and '0 bad' in said.out
    assert load_urmp(out)['test'].pictures.shape[1:] == (3, 16, 16)
    assert cli.main(['prepare', str(films / 'cello' / '0.mp4'), str(tmp_path / 'IMG.mp4'), '--out', str(out)]) == 2
    assert 'no such film' in capsys.readouterr().err
