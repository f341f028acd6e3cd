"Recordings and pictures on disk: windows, splits, class folders, Sub-URMP, and its store."
import functools, json, os, shutil, signal, subprocess, sys, traceback, types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_nb import urmp
from avgen_nb.pairs import Pairs, orchestra_pairs
from avgen_nb.sound import SAMPLE_RATE, WINDOW, write_sound
from avgen_nb.urmp import (COUNTS, PICTURES, SOUNDS, Report, class_files, count_table, decibels, dev_songs, load_class_folders, load_urmp,
                           onset, pitch_key, prepare, read_all, read_pictures, read_recording, read_sounds, split_files,
                           split_songs, urmp_files, window_starts, windows_at)

CLASSES = ('bell', 'drum', 'pipe')
CODE = urmp.reading_code()


def tone(hz, seconds=.8, level=.3, silence=0.):
    t = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return torch.cat([torch.zeros(round(silence * SAMPLE_RATE)), level * torch.sin(2 * torch.pi * hz * t)])


def picture(value, size=(40, 30)): return Image.new('RGB', size, (value, 0, 255 - value))


def write_folders(root, n=10, classes=CLASSES):
    "sounds/<class>/<class>_<n>.wav and pictures/<class>/<n>.png; the picture's red is 80 × its class + its number."
    for c, name in enumerate(classes):
        for kind in ('sounds', 'pictures'): (root / kind / name).mkdir(parents=True)
        for i in range(n):
            write_sound(root / 'sounds' / name / f'{name}_{i}.wav', tone(200 * (c + 1) + 10 * i))
            picture(80 * c + i).save(root / 'pictures' / name / f'{i}.png')
    return root


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


# Sub-URMP

def write_world(root, songs=3, windows=4, classes=('cello', 'tuba'), splits=('train', 'validation')):
    for split in splits:
        for c, name in enumerate(classes):
            for tree in ('img', 'chunk'): (root / tree / split / name).mkdir(parents=True, exist_ok=True)
            numbers = range(songs) if split == 'train' else [songs]
            for song in numbers:
                for k in range(windows):
                    stem = f'{name}{song:02d}_{500 + 100 * k}'
                    picture(100 * c + 10 * song + k, (64, 36)).save(root / 'img' / split / name / f'{stem}.jpg', quality=95)
                    write_sound(root / 'chunk' / split / name / f'{stem}.wav', tone(200 * (c + 1) + 20 * song, .5), stereo=True)
    return root


@pytest.fixture(scope='module')
def world(tmp_path_factory): return write_world(tmp_path_factory.mktemp('world'))


@pytest.fixture
def own_world(world, tmp_path): return Path(shutil.copytree(world, tmp_path / 'world'))


def test_sub_urmp_is_read_pair_by_pair(world):
    splits = load_urmp(world)
    assert {s: len(p) for s, p in splits.items()} == dict(train=16, dev=8, test=8)
    for p in splits.values():
        batch = p.batch(torch.arange(len(p)))
        red = ((batch.picture[:, 0, 20, 20] + 1) * 127.5).round().long()
        assert ((red // 100 - batch.label).abs() == 0).all() and p.classes == ('cello', 'tuba') and not p.by_class
        k = (p.truth['ms'] - 500) // 100
        assert (((red - k + 5) % 10 - 5).abs() <= 2).all()


def test_no_song_of_sub_urmp_is_on_two_sides(world):
    splits = load_urmp(world, seed=3)
    songs = [set(p.songs.tolist()) for p in splits.values()]
    assert sum(map(len, songs)) == len(set.union(*songs)) == 8
    assert all(len(set(p.labels.tolist())) == 2 for p in splits.values())
    assert load_urmp(world, dev=0).keys() == {'train', 'test'}


def test_windows_are_sorted_by_time_not_by_name(tmp_path):
    rows = urmp_files(write_world(tmp_path, songs=1, windows=8), 'train', Report())
    assert [r[2] for r in rows[:8]] == [500, 600, 700, 800, 900, 1000, 1100, 1200]


def test_every_nth_window(world): assert len(load_urmp(world, every=2)['test']) == 4


def test_a_split_may_be_called_test(tmp_path):
    splits = load_urmp(write_world(tmp_path, splits=('train', 'test')))
    assert len(splits['test']) == 8


def test_a_song_in_train_and_test_is_kept_for_test(own_world, capsys):
    for tree, ending in (('img', 'jpg'), ('chunk', 'wav')):
        shutil.copy(own_world / tree / 'train' / 'tuba' / f'tuba01_500.{ending}', own_world / tree / 'validation' / 'tuba')
    splits, out = load_urmp(own_world), capsys.readouterr().out
    assert 'tuba01' in out and len(splits['test']) == 9 and len(splits['train']) + len(splits['dev']) == 20


def test_development_songs():
    songs = [('a', i) for i in range(10)] + [('b', 0)] + [('c', 0), ('c', 1)]
    chosen = dev_songs(songs, .2)
    assert sorted(c for c, _ in chosen) == ['a', 'a', 'c'] and chosen == dev_songs(songs[::-1], .2)
    assert len(dev_songs(songs, 1.)) == 9 + 1 and not dev_songs(songs, 0)


@pytest.mark.slow
def test_the_orchestra_exported_comes_back_as_it_was(tmp_path, orchestra):
    from avgen_nb.orchestra import export_orchestra
    export_orchestra(tmp_path / 'world', 'small', frame=(320, 180), progress=False)
    splits = load_urmp(tmp_path / 'world')
    assert len(splits['test']) == len(orchestra['test'])
    a, b = (p.batch(torch.arange(len(p))) for p in (splits['test'], orchestra['test']))
    assert torch.equal(a.label, b.label) and (a.sound - b.sound).square().mean() ** .5 < .02
    assert (a.picture - b.picture).abs().mean() < .12


# the store

@pytest.fixture(scope='module')
def store(world, tmp_path_factory): return prepare(world, tmp_path_factory.mktemp('store'), progress=False)


def contents(store): return {f.name: f.read_bytes() for f in sorted(store.iterdir())}

def same(a, b):
    "Are these splits equal, pair by pair?"
    for name in a | b:
        p, q = a[name], b[name]
        assert all(torch.equal(x, y) for x, y in zip(p.batch(torch.arange(len(p))), q.batch(torch.arange(len(q)))))
        assert torch.equal(p.songs, q.songs) and torch.equal(p.truth['ms'], q.truth['ms']) and p.classes == q.classes
    return True

def refused(call, *args, **options):
    with pytest.raises(ValueError) as e: call(*args, **options)
    assert '\n' not in str(e.value)
    return str(e.value)

def forked(work):
    "The exit status, or minus the signal, of a forked process that does this."
    if pid := os.fork(): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        torch.set_num_threads(1)
        work()
        os._exit(0)
    except BaseException: traceback.print_exc(); os._exit(1)

@pytest.fixture
def reads(monkeypatch):
    "Pairs that are read from files in this process, one entry each."
    seen, real = [], urmp.read_pair
    monkeypatch.setattr(urmp, 'read_pair', lambda row, *rest: (seen.append(row), real(row, *rest))[1])
    monkeypatch.setattr(urmp, 'reading_code', lambda: CODE)
    monkeypatch.setattr(urmp, 'BLOCK', 4)
    return seen


@pytest.mark.parametrize('options', [{}, dict(seed=3, dev=.5), dict(every=2), dict(dev=0)], ids=str)
def test_a_store_gives_what_its_tree_gives(world, store, options):
    assert same(load_urmp(store, **options), load_urmp(world, **options))


def test_several_blocks_and_processes_give_the_same_store(world, store, tmp_path, monkeypatch):
    monkeypatch.setattr(urmp, 'BLOCK', 3)
    assert contents(prepare(world, tmp_path, workers=2, progress=False)) == contents(store)


def test_the_exported_orchestra_comes_back_from_its_store(tmp_path, orchestra):
    from avgen_nb.orchestra import Export, Plan
    for i in (0, 1, 3): Export(Plan('small', 0), str(tmp_path), (160, 90))[i]    # two songs of the bassoon to train with, one to test
    store = prepare(tmp_path, tmp_path / 'store', progress=False)
    assert same(load_urmp(store), load_urmp(tmp_path)) and load_urmp(store).keys() == {'train', 'dev', 'test'}
    test, known = load_urmp(store)['test'], orchestra['test'].only(('bassoon',))
    a, b = (p.batch(torch.arange(len(p))) for p in (test, known))
    assert torch.equal(a.label, b.label) and (a.sound - b.sound).square().mean() ** .5 < .02


def test_numbers_stay_on_the_disk_and_the_disk_stays_as_it_is(store):
    before = contents(store)
    pairs = load_urmp(store)['train']
    assert isinstance(np.load(store / 'lms.npy', mmap_mode='r'), np.memmap)
    pairs.pictures.fill_(7); pairs.sounds.fill_(7)
    assert contents(store) == before and load_urmp(store)['train'].pictures.float().mean() != 7


def test_every_array_is_plain_numpy(store):
    rows = json.loads((store / 'store.json').read_text())['pairs']
    assert {f.name for f in store.iterdir()} == {f'{n}.npy' for n in ('picture', 'lms', 'label', 'song', 'ms', 'split')} | {'store.json', 'report.json', 'lock'}
    assert all(len(np.load(f, allow_pickle=False)) == rows == 32 for f in store.glob('*.npy'))


@pytest.mark.parametrize('at', (0, 1, 2, 5, 8))
@pytest.mark.parametrize('moment', ('after the numbers', 'before the numbers'))
def test_killed_and_called_again_it_makes_the_same_store(world, store, tmp_path, monkeypatch, reads, at, moment):
    def die_at_journal(path, value, real=urmp.write_json):
        if path.name == 'journal.json' and value['blocks'] == at:
            if moment == 'after the numbers': real(path, value)
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == 'store.json' and at == 8: os.kill(os.getpid(), signal.SIGKILL)
        real(path, value)
    monkeypatch.setattr(urmp, 'append', functools.partial(urmp.append, often=1))
    with monkeypatch.context() as m:
        m.setattr(urmp, 'write_json', die_at_journal)
        assert forked(lambda: prepare(world, tmp_path / 's', workers=0, progress=False)) == -signal.SIGKILL
    assert not (tmp_path / 's' / 'store.json').exists()
    assert contents(prepare(world, tmp_path / 's', workers=0, progress=False)) == contents(store)
    done = at if moment == 'after the numbers' else max(0, at - 1)
    assert len(reads) == 32 - 4 * done


def test_half_a_block_on_the_disk_is_written_again(world, store, tmp_path, monkeypatch, reads):
    monkeypatch.setattr(urmp, 'append', functools.partial(urmp.append, often=2))
    def stop(blocks, first, *rest, real=urmp.read_blocks):
        for i, block in enumerate(real(blocks, first, *rest)):
            if i == 5: raise KeyboardInterrupt
            yield block
    with monkeypatch.context() as m:
        m.setattr(urmp, 'read_blocks', stop)
        with pytest.raises(KeyboardInterrupt): prepare(world, tmp_path, workers=0, progress=False)
    with open(tmp_path / 'lms.npy', 'ab') as f: f.write(b'half a row')
    assert contents(prepare(world, tmp_path, workers=0, progress=False)) == contents(store)


def test_a_broken_journal_or_lost_numbers_begin_anew(world, store, tmp_path, reads):
    for damage in (lambda: (tmp_path / 'journal.json').write_text('{'), lambda: (tmp_path / 'lms.npy').unlink(),
                   lambda: (tmp_path / 'picture.npy').write_bytes(b'short')):
        reads.clear()
        shutil.rmtree(tmp_path); shutil.copytree(store, tmp_path)
        (tmp_path / 'store.json').rename(tmp_path / 'journal.json')
        journal = json.loads((tmp_path / 'journal.json').read_text())
        (tmp_path / 'journal.json').write_text(json.dumps(dict(journal, blocks=8, kept=32, bad=[], odd=[])))
        damage()
        (tmp_path / '.journal.json').unlink(missing_ok=True)
        if not urmp.read_json(tmp_path / 'journal.json'): assert 'neither empty nor a store' in refused(prepare, world, tmp_path, progress=False)
        else: assert contents(prepare(world, tmp_path, workers=0, progress=False)) == contents(store) and len(reads) == 32


def test_an_unchanged_tree_is_not_read_again(own_world, tmp_path, reads):
    prepare(own_world, tmp_path / 's', workers=0, progress=False)
    assert len(reads) == 32
    reads.clear()
    before, report = contents(tmp_path / 's'), Report()
    prepare(own_world, tmp_path / 's', workers=0, progress=False, report=report)
    assert not reads and contents(tmp_path / 's') == before and report.read == 32


def test_training_finds_the_store_of_a_tree_while_it_is_fresh(own_world, reads):
    direct = load_urmp(own_world, workers=0)
    assert len(reads) == 32
    where = prepare(own_world, workers=0, progress=False)
    assert where == urmp.store_of(own_world) and str(where).startswith(os.environ['AVGEN_CACHE'])
    reads.clear()
    assert same(load_urmp(own_world, workers=0), direct) and not reads
    load_urmp(own_world, workers=0, across=.2)
    assert len(reads) == 32    # another crop is another store
    reads.clear()
    os.utime(own_world / 'chunk' / 'train' / 'tuba' / 'tuba00_500.wav')
    assert same(load_urmp(own_world, workers=0), direct) and len(reads) == 32


def change(path): write_sound(path, tone(900, .5), stereo=True)

def add(path):
    shutil.copy(path, path.with_name('tuba00_9900.wav'))
    image = path.parents[3] / 'img' / 'train' / 'tuba' / 'tuba00_500.jpg'
    shutil.copy(image, image.with_name('tuba00_9900.jpg'))

def remove(path):
    path.unlink()
    (path.parents[3] / 'img' / 'train' / 'tuba' / f'{path.stem}.jpg').unlink()

@pytest.mark.parametrize('what', (change, add, remove))
def test_a_changed_tree_is_noticed(own_world, tmp_path, what):
    old = load_urmp(prepare(own_world, tmp_path / 's', progress=False))
    numbers = [old['train'].sounds.clone(), old['train'].pictures.clone()]
    what(own_world / 'chunk' / 'train' / 'tuba' / 'tuba00_500.wav')
    new = load_urmp(prepare(own_world, tmp_path / 's', progress=False))
    assert same(new, load_urmp(own_world)) and sum(map(len, new.values())) == 32 + (what is add) - (what is remove)
    assert torch.equal(old['train'].sounds, numbers[0]) and torch.equal(old['train'].pictures, numbers[1])   # who has the old one open keeps it


def spoil(world):
    "A picture cut off, a sound of nothing, two files without partner, a strange name: 2 bad pairs and 4 more bad files."
    img, chunk = world / 'img' / 'train' / 'cello', world / 'chunk' / 'train' / 'cello'
    (img / 'cello00_500.jpg').write_bytes((img / 'cello00_500.jpg').read_bytes()[:200])
    (chunk / 'cello00_600.wav').write_bytes(b'')
    (img / 'cello00_700.jpg').unlink(); (chunk / 'cello00_800.wav').unlink()
    for tree, ending in ((img, 'jpg'), (chunk, 'wav')): (tree / f'cello01_500.{ending}').rename(tree / f'strange.{ending}')
    return {'img/train/cello/cello00_500.jpg', 'chunk/train/cello/cello00_600.wav', 'chunk/train/cello/cello00_700.wav',
            'img/train/cello/cello00_800.jpg', 'img/train/cello/strange.jpg'}


def test_every_bad_or_unpaired_file_is_reported(own_world, tmp_path, capsys):
    wrong, report = spoil(own_world), Report()
    store = prepare(own_world, tmp_path / 's', max_bad=.5, progress=False, report=report)
    said = capsys.readouterr().out
    kept = json.loads((store / 'report.json').read_text())
    assert {p for p, _ in kept['bad']} == wrong and kept['pairs'] == 27 and all(Path(p).name in said for p in wrong)
    assert sum(map(len, load_urmp(store).values())) == 27 and same(load_urmp(store), load_urmp(own_world, max_bad=.5))
    opened = Report()
    load_urmp(store, report=opened)
    assert sorted(opened.bad) == sorted(report.bad) and opened.read == 27


def test_too_many_bad_files_stop_it_and_nothing_is_read_twice(own_world, tmp_path, reads):
    (own_world / 'img' / 'train' / 'tuba' / 'tuba01_600.jpg').write_bytes(b'no picture')
    assert 'max_bad' in refused(prepare, own_world, tmp_path / 's', workers=0, progress=False)
    assert json.loads((tmp_path / 's' / 'report.json').read_text())['bad'] == [['img/train/tuba/tuba01_600.jpg', 'not a readable picture; give a png or jpg that opens']]
    assert 'img and chunk' in refused(load_urmp, tmp_path / 's') and len(reads) == 32
    assert sum(map(len, load_urmp(prepare(own_world, tmp_path / 's', max_bad=.1, workers=0, progress=False)).values())) == 31
    assert len(reads) == 32


def test_too_many_without_partner_stop_it_before_it_reads(own_world, tmp_path, reads):
    (own_world / 'img' / 'train' / 'tuba' / 'tuba01_600.jpg').unlink()
    assert 'tuba01_600.wav' in refused(prepare, own_world, tmp_path / 's', progress=False) and not reads


def test_a_side_of_which_nothing_can_be_read(own_world, tmp_path):
    for f in own_world.glob('img/validation/*/*.jpg'): f.write_bytes(b'x')
    for call in (lambda: prepare(own_world, tmp_path / 's', max_bad=1, progress=False), lambda: load_urmp(own_world, max_bad=1)):
        assert 'None of the 8 pairs of test' in refused(call)


def test_clipped_sounds_are_used_and_noted(own_world, tmp_path, recwarn):
    write_sound(own_world / 'chunk' / 'train' / 'tuba' / 'tuba01_600.wav', (torch.arange(WINDOW) // 50 % 2 * 2 - 1).float(), stereo=True)
    store = prepare(own_world, tmp_path / 's', progress=False)
    kept = json.loads((store / 'report.json').read_text())
    assert kept['pairs'] == 32 and len(kept['odd']) == 1 and kept['odd'][0].startswith('chunk/train/tuba/tuba01_600.wav') and not recwarn


class Bomb:
    def __reduce__(self): return os._exit, (66,)

def saved(name, value): return lambda s: np.save(s / f'{name}.npy', value, allow_pickle=True)
def shortened(name): return lambda s: (s / f'{name}.npy').write_bytes((s / f'{name}.npy').read_bytes()[:-1])
def said(**values): return lambda s: (s / 'store.json').write_text(json.dumps(json.loads((s / 'store.json').read_text()) | values))

@pytest.mark.parametrize('damage, words', [
    (shortened('lms'), 'lms.npy is missing, cut off'), (shortened('picture'), 'picture.npy is missing'), (shortened('ms'), 'ms.npy'),
    (lambda s: (s / 'song.npy').unlink(), 'song.npy is missing'), (lambda s: (s / 'lms.npy').write_bytes(b''), 'lms.npy'),
    (saved('label', np.array([Bomb()] * 32)), 'no plain .npy file'), (saved('lms', np.array([Bomb()] * 32)), 'no plain .npy file'),
    (saved('label', np.zeros(31, np.int64)), 'label.npy holds int64 (31,)'), (saved('lms', np.zeros((32, 1, 128, 44))), 'lms.npy holds float64'),
    (saved('picture', np.asfortranarray(np.zeros((32, 3, 64, 64), np.uint8))), 'picture.npy'),
    (saved('label', np.full(32, 2)), 'labels'), (saved('split', np.ones(32, np.int64)), 'splits'), (saved('split', np.arange(32)[::-1] // 16 * 2), 'splits'),
    (lambda s: (s / 'store.json').write_text('{'), 'store.json'), (lambda s: (s / 'store.json').write_text('[1]'), 'store.json'),
    (said(format='avgen_nb store 0'), 'avgen_nb store 1'), (said(pairs='32'), 'store.json'), (said(pairs=33), 'prepare'), (said(classes=None), 'store.json'),
    (said(size=32), 'picture.npy holds')])
def test_a_damaged_or_foreign_store_is_refused(store, tmp_path, damage, words):
    own = Path(shutil.copytree(store, tmp_path / 's'))
    damage(own)
    why = refused(load_urmp, own)
    assert words in why and 'prepare' in why


def test_a_store_of_another_size_or_crop_says_so(world, store, tmp_path):
    assert 'size=64, not 128' in refused(load_urmp, store, size=128) and 'across=0.5, not 0.1' in refused(load_urmp, store, across=.1)
    big = load_urmp(prepare(world, tmp_path, size=32, across=0., progress=False))
    assert big['test'].pictures.shape == (8, 3, 32, 32)


def test_a_store_of_other_code_is_opened_with_a_note_and_made_anew(world, store, tmp_path, reads):
    own = Path(shutil.copytree(store, tmp_path / 's'))
    said(code='00000000')(own)
    report = Report()
    load_urmp(own, report=report)
    assert 'another version' in report.notes[0] and not reads
    prepare(world, own, workers=0, progress=False)
    assert len(reads) == 32 and contents(own) == contents(store)


def test_a_store_needs_a_folder_of_its_own(own_world, tmp_path, monkeypatch):
    (tmp_path / 'full').mkdir(); (tmp_path / 'full' / 'thesis.txt').write_text('…'); (tmp_path / 'file').write_text('…')
    assert 'neither empty nor a store' in refused(prepare, own_world, tmp_path / 'full', progress=False)
    assert 'neither empty nor a store' in refused(prepare, own_world, own_world, progress=False)
    assert 'is a file' in refused(prepare, own_world, tmp_path / 'file', progress=False)
    assert 'among the files' in refused(prepare, own_world, own_world / 'img' / 'store', progress=False)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: types.SimpleNamespace(free=10**6))
    assert 'make room' in refused(prepare, own_world, tmp_path / 's', progress=False)
    assert [f.name for f in (tmp_path / 'full').iterdir()] == ['thesis.txt'] and not (own_world / 'img' / 'store').exists()


def test_two_processes_do_not_write_one_store(world, store):
    with urmp.alone(store):
        assert forked(lambda: refused(prepare, world, store, progress=False).index('another process')) == 0
    assert forked(lambda: prepare(world, store, progress=False)) == 0


def test_the_command_prepares_and_says_what_was_wrong(own_world, tmp_path, capsys):
    from avgen_nb.cli import main
    command = ['prepare', str(own_world), '--out', str(tmp_path / 's'), '--size', '32', '--workers', '1']
    assert main(command) == 0 and '32 pairs in' in capsys.readouterr().out
    assert load_urmp(tmp_path / 's')['train'].pictures.shape[-1] == 32
    (own_world / 'img' / 'train' / 'tuba' / 'tuba01_600.jpg').write_bytes(b'no picture')
    assert main(command) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith('avgen: ') and 'tuba01_600.jpg' in err
    assert main(command + ['--max-bad', '.1']) == 0 and '31 pairs in' in capsys.readouterr().out


MEMORY = '''
import resource, sys
from avgen_nb.urmp import prepare
for tree in sys.argv[1:]:
    prepare(tree, tree + '-store', size=256, workers=0, progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
'''

def test_memory_does_not_grow_with_the_tree(tmp_path):
    few = write_world(tmp_path / 'few', songs=4, windows=8)
    for f in few.glob('*/*/*/*'):
        for i in range(7):
            song, ms = f.stem.split('_')
            new = tmp_path / 'many' / f.relative_to(few).with_name(f'{song}_{int(ms) + 800 * i}{f.suffix}')
            new.parent.mkdir(parents=True, exist_ok=True); os.link(f, new)
    run = subprocess.run([sys.executable, '-c', MEMORY, few, tmp_path / 'many'], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    small, large = (int(line) for line in run.stdout.splitlines() if line.isdigit())
    assert (tmp_path / 'many-store' / 'picture.npy').stat().st_size > 100 * 2**20 and large - small < 40 and large < 4096


# the counts and the crop

def test_the_published_counts():
    rows = lambda side: [(c, 0, 0) for c, n in COUNTS.items() for _ in range(n[side])]
    report = Report()
    urmp.check_counts(rows(0), rows(1), report)
    assert not report.notes and count_table(rows(0), rows(1))['trumpet'] == (1015, 1015, 520, 520)
    urmp.check_counts(rows(0)[1:] + [('kazoo', 0, 0)], rows(1), report)
    assert '71,230 + 9,575' in report.notes[0] and report.notes[0].endswith('2 classes differ: bassoon, kazoo')
    assert count_table([('kazoo', 0, 0)], [])['kazoo'] == (1, 0, 0, 0)


def test_a_partial_tree_is_noted_and_not_refused(world, capsys):
    load_urmp(world)
    assert '13 classes differ' in capsys.readouterr().out


def test_the_crop_of_a_full_frame(tmp_path):
    columns = np.broadcast_to(np.arange(1920) / 1920 * 255, (1080, 1920))
    Image.fromarray(columns.astype(np.uint8)).convert('RGB').save(tmp_path / 'a.jpg', quality=95)
    for left in (0, 100, 220, 420, 840):
        row = urmp.read_picture(tmp_path / 'a.jpg', 64, left / 840)[0, 32].float()
        assert abs(row[0] - (left + 8) / 1920 * 255) < 3 and abs(row[-1] - (left + 1072) / 1920 * 255) < 3

# reading many

def test_reading_keeps_the_order_whatever_the_threads():
    items = list(range(100))
    assert [(i, i * i) for i in items] == list(read_all(lambda i: i * i, items, report := Report(), workers=7))
    assert report.read == 100


def test_pictures_are_owned_by_their_files(folders):
    files = class_files(folders / 'pictures', PICTURES)['drum']
    data, owner = read_pictures(files, Report())
    assert owner.tolist() == list(range(10)) and data[:, 0, 5, 5].tolist() == [80 + int(f.stem) for f in files]
