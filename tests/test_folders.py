"Recordings and pictures on disk: windows, splits, class folders."
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avgen_nb.folders import (PICTURES, SOUNDS, Report, class_files, decibels, load_class_folders, onset, pitch_key, read_all, read_pictures,
                              read_recording, read_sounds, split_files, split_songs, window_starts, windows_at)
from avgen_nb.pairs import Pairs, orchestra_pairs
from avgen_nb.sound import SAMPLE_RATE, WINDOW, write_sound
from trees import CLASSES, picture, tone, write_folders


@pytest.fixture(scope='module')
def folders(tmp_path_factory): return write_folders(tmp_path_factory.mktemp('inis'))


@pytest.fixture
def own(folders, tmp_path): return Path(shutil.copytree(folders, tmp_path / 'own'))


@pytest.fixture(scope='module')
def loaded(folders): return load_class_folders(folders / 'sounds', folders / 'pictures', (.6, .2, .2))


@pytest.fixture(scope='module')
def orchestra(): return orchestra_pairs('small', progress=False)


# windows

def test_windows_begin_at_the_onset_and_stay_inside():
    wave = tone(440, 2., silence=.7)
    starts = window_starts(wave)
    assert abs(int(starts[0]) - .69 * SAMPLE_RATE) <= 441 and int(starts[-1]) + WINDOW <= len(wave)
    assert (starts.diff() == 4410).all() and windows_at(wave, starts).shape == (len(starts), WINDOW)
    assert torch.equal(windows_at(wave, starts)[2], wave[starts[2]:starts[2] + WINDOW])


def test_near_silent_windows_are_left_out():
    wave = torch.cat([tone(300, .6), tone(300, 2., level=.002)])
    assert len(window_starts(wave)) < 8 < len(window_starts(wave, quiet=60))
    ends_in_silence = torch.cat([tone(300, .6), torch.zeros(3 * SAMPLE_RATE)])
    assert int(window_starts(ends_in_silence)[-1]) < .6 * SAMPLE_RATE


@pytest.mark.parametrize('seconds', (.06, .3, .5, .500001, .55, 1.))
def test_any_length_gives_at_least_one_window(tmp_path, seconds):
    write_sound(tmp_path / 'a.wav', tone(500, seconds))
    wave, starts = read_recording(tmp_path / 'a.wav')
    assert len(starts) >= 1 and windows_at(wave, starts).shape[1] == WINDOW


def test_a_short_note_after_a_long_silence_keeps_its_sound(tmp_path):
    write_sound(tmp_path / 'a.wav', tone(500, .1, silence=2.))
    parts = windows_at(*read_recording(tmp_path / 'a.wav'))
    assert decibels(parts).max() > -25


def test_level_and_onset():
    assert abs(float(decibels(torch.ones(2, 100))[0])) < 1e-4
    assert onset(tone(300, .5)) == 0 and onset(torch.zeros(1000)) == 0
    assert onset(tone(300, .5, silence=1.)) == SAMPLE_RATE


def test_a_long_recording_is_featured_in_parts(tmp_path):
    write_sound(tmp_path / 'long.wav', tone(440, 30.))
    sounds, owner = read_sounds([tmp_path / 'long.wav'], Report())
    assert len(sounds) == len(owner) > 256 and sounds.dtype == torch.float16 and sounds.shape[1:] == (1, 128, 44)


# splitting

@pytest.mark.parametrize('n, want', [(1, [1, 0, 0]), (3, [1, 1, 1]), (10, [8, 1, 1]), (30, [24, 3, 3]), (100, [80, 10, 10])])
def test_files_are_split_evenly_within_every_class(n, want):
    side = split_files([(c, f'{c}/{i}') for c in 'ab' for i in range(n)])
    for part in (side[:n], side[n:]): assert np.bincount(part, minlength=3).tolist() == want


@pytest.mark.parametrize('seed', range(5))
def test_one_key_is_on_one_side_and_classes_stay_near_their_share(seed):
    rng = np.random.default_rng(seed)
    items = [(c, int(k)) for c in range(9) for k in rng.choice(40, 30)]
    side = split_files(items, seed=seed)
    keys = [{k for (_, k), s in zip(items, side) if s == i} for i in range(3)]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    share = np.array([[np.mean([s == i for (c, _), s in zip(items, side) if c == k]) for i in range(3)] for k in range(9)])
    assert share[:, 0].min() > .5 and (np.abs(share.mean(0) - (.8, .1, .1)) < .06).all()


def test_a_split_is_fixed_by_its_seed_and_ignores_the_order_of_files():
    items = [(i % 3, i) for i in range(60)]
    a, b = split_files(items), split_files(items[::-1])[::-1]
    assert (a == b).all() and (a == split_files(items)).all() and (a != split_files(items, seed=1)).any()


@pytest.mark.parametrize('seed', range(5))
def test_every_class_can_be_learnt_whatever_the_keys(seed):
    rng = np.random.default_rng(seed)
    items = [(int(c), int(k)) for c, k in zip(rng.integers(9, size=60), rng.integers(6, size=60))]
    side = split_files(items, (.4, .3, .3), seed)
    assert {c for (c, _), s in zip(items, side) if s == 0} == {c for c, _ in items}


def test_a_side_without_a_share_stays_empty():
    assert set(split_files([(0, i) for i in range(20)], (.9, .1, 0))) == {0, 1}
    assert set(split_files([(0, i) for i in range(20)], (1, 0, 0))) == {0}


@pytest.mark.parametrize('name, midi', [('cello_As3_05_forte_normal.mp3', 58), ('french-horn_C4_1_piano_normal.mp3', 60),
    ('A4.wav', 69), ('x_Bb3_y.ogg', 58), ('flute_C#5.flac', 73), ('tuba_B0_1.mp3', 23), ('saxophone_Fs3_15_fortissimo_normal.mp3', 54)])
def test_pitches_are_read_from_names(name, midi): assert pitch_key(Path('d') / name) == midi


def test_a_name_without_pitch_is_refused():
    for name in ('cello_1.mp3', 'H4.wav', 'Cello.wav', 'AB4x.wav'):
        with pytest.raises(ValueError, match='has no pitch'): pitch_key(name)


def test_pairs_are_split_by_song(orchestra):
    parts = split_songs(orchestra['train'], (.5, .25, .25))
    songs = [set(p.songs.tolist()) for p in parts.values()]
    assert sum(map(len, songs)) == len(set.union(*songs)) == orchestra['train'].songs.unique().numel()


# class folders

def test_class_folders_become_pairs_by_class(loaded):
    assert list(loaded) == ['train', 'dev', 'test']
    for p in loaded.values():
        assert isinstance(p, Pairs) and p.by_class and p.classes == CLASSES
        batch = p.batch(p.draw(50, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
        red = ((batch.picture[:, 0, 0, 0] + 1) * 127.5).round()
        assert torch.equal((red / 80).floor().long(), batch.label) and batch.sound.shape[1:] == (1, 128, 44)


def test_the_sound_of_every_pair_is_of_its_class(loaded):
    for p in loaded.values():
        peak = p.sounds[:, 0].float().mean(-1).argmax(-1)
        means = torch.stack([peak[p.labels == c].float().mean() for c in range(3)])
        assert (means.diff() > 3).all()
        assert all((peak[p.labels == c] - means[c]).abs().max() < 4 for c in range(3))


def test_no_recording_and_no_picture_is_on_two_sides(loaded):
    songs = [set(p.songs.tolist()) for p in loaded.values()]
    assert sum(map(len, songs)) == len(set.union(*songs)) == 30
    shown = [set(p.pictures[:, 0, 0, 0].tolist()) for p in loaded.values()]
    assert sum(map(len, shown)) == len(set.union(*shown)) == 30


def test_reading_again_gives_the_same(folders, loaded, tmp_path):
    again = load_class_folders(folders / 'sounds', folders / 'pictures', (.6, .2, .2), workers=1)
    moved = Path(shutil.copytree(folders, tmp_path / 'elsewhere'))
    moved = load_class_folders(moved / 'sounds', moved / 'pictures', (.6, .2, .2))
    for s, p in loaded.items():
        for q in (again[s], moved[s]):
            assert torch.equal(p.sounds, q.sounds) and torch.equal(p.pictures, q.pictures)
            assert torch.equal(p.songs, q.songs) and torch.equal(p.picture_of, q.picture_of)


def test_every_format_and_upper_case_endings(own):
    import soundfile
    for ending in ('flac', 'ogg', 'mp3', 'WAV'):
        soundfile.write(own / 'sounds' / 'bell' / f'new.{ending}', tone(210).numpy(), SAMPLE_RATE)
    picture(3).save(own / 'pictures' / 'bell' / 'new.JPG'); picture(3).save(own / 'pictures' / 'bell' / 'new.jpeg')
    (own / 'sounds' / 'bell' / 'readme.txt').write_text('not a sound')
    (own / 'sounds' / 'bell' / '._new.wav').write_bytes(b'left by a Mac')
    (own / 'sounds' / '.ipynb_checkpoints').mkdir()
    files = class_files(own / 'sounds', SOUNDS), class_files(own / 'pictures', PICTURES)
    assert [len(f['bell']) for f in files] == [14, 12] and list(files[0]) == list(CLASSES)
    report = Report()
    load_class_folders(own / 'sounds', own / 'pictures', report=report)
    assert report.read == 34 + 32 and not report.bad


def test_a_key_keeps_files_together(folders):
    number = lambda path: path.stem.split('_')[1]
    splits = load_class_folders(folders / 'sounds', folders / 'pictures', (.6, .2, .2), key=number)
    flat = [f for fs in class_files(folders / 'sounds', SOUNDS).values() for f in fs]
    keys = [{number(flat[i]) for i in p.songs.unique()} for p in splits.values()]
    assert not keys[0] & keys[2] and not keys[0] & keys[1] and sum(map(len, keys)) == 10


def test_a_side_of_no_share_is_left_out(folders):
    assert list(load_class_folders(folders / 'sounds', folders / 'pictures', (.8, .2, 0))) == ['train', 'dev']


@pytest.fixture
def some_sounds(own):
    for a, b in zip(CLASSES, ('cello', 'tuba', 'flute')): (own / 'sounds' / a).rename(own / 'sounds' / b)
    return own / 'sounds'


def test_pictures_of_the_orchestra(some_sounds, orchestra):
    splits = load_class_folders(some_sounds, orchestra)
    assert splits['train'].classes == ('cello', 'flute', 'tuba') and all(p.by_class for p in splits.values())
    for s, p in splits.items():
        real = orchestra[s]
        for i in (0, len(p) - 1):
            same = (real.pictures == p.pictures[p.picture_of[i]]).flatten(1).all(1).nonzero()[0, 0]
            assert real.classes[real.picture_labels[same]] == p.classes[p.labels[i]]


def test_one_pairs_is_split_by_song_for_its_pictures(some_sounds, orchestra):
    splits = load_class_folders(some_sounds, orchestra['train'].only(('tuba', 'cello', 'flute')), (.5, .5, 0))
    shown = [{p.numpy().tobytes() for p in q.pictures} for q in splits.values()]
    assert not shown[0] & shown[1]


def test_pictures_of_a_subset_do_not_bring_the_rest_back(some_sounds, orchestra):
    train = orchestra['train']
    first = train.subset(torch.isin(train.songs, torch.stack([train.songs[train.labels == c].min() for c in range(13)])))
    splits = load_class_folders(some_sounds, dict(train=first, dev=first, test=first))
    assert len(splits['train'].pictures) == 3 * 16


# reading many

def test_reading_keeps_the_order_whatever_the_threads():
    items = list(range(100))
    assert [(i, i * i) for i in items] == list(read_all(lambda i: i * i, items, report := Report(), workers=7))
    assert report.read == 100


def test_pictures_are_owned_by_their_files(folders):
    files = class_files(folders / 'pictures', PICTURES)['drum']
    data, owner = read_pictures(files, Report())
    assert owner.tolist() == list(range(10)) and data[:, 0, 5, 5].tolist() == [80 + int(f.stem) for f in files]
