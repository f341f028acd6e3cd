"Sub-URMP, read and written: rows, splits by song, counts, the crop, and the orchestra's export."
import os, shutil, wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_nb import orchestra as o, urmp
from avgen_nb.folders import Report, read_picture
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.store import load_urmp
from avgen_nb.urmp import COUNTS, count_table, dev_songs, export_orchestra, urmp_files
from trees import write_world


@pytest.fixture(scope='module')
def orchestra(): return orchestra_pairs('small', progress=False)


@pytest.fixture(scope='module')
def world(tmp_path_factory): return write_world(tmp_path_factory.mktemp('world'))


@pytest.fixture
def own_world(world, tmp_path): return Path(shutil.copytree(world, tmp_path / 'world'))


# reading

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
    export_orchestra(tmp_path / 'world', 'small', frame=(320, 180), progress=False)
    splits = load_urmp(tmp_path / 'world')
    assert len(splits['test']) == len(orchestra['test'])
    a, b = (p.batch(torch.arange(len(p))) for p in (splits['test'], orchestra['test']))
    assert torch.equal(a.label, b.label) and (a.sound - b.sound).square().mean() ** .5 < .02
    assert (a.picture - b.picture).abs().mean() < .12


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
        row = read_picture(tmp_path / 'a.jpg', 64, left / 840)[0, 32].float()
        assert abs(row[0] - (left + 8) / 1920 * 255) < 3 and abs(row[-1] - (left + 1072) / 1920 * 255) < 3


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    "Orchestras of 26 songs of 0.7 s (3 pairs each), kept in a folder of their own."
    monkeypatch.setitem(o.SIZES, 'small', dict(songs=(1, 0, 1), seconds=.7))
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path / 'cache'))
    return tmp_path


def build(**more): return o.build_orchestra('small', workers=0, progress=False, **more)


# ---- export
def export(folder, **more): return export_orchestra(folder, 'small', frame=(64, 36), workers=0, progress=False, **more)


def test_export_is_in_sub_urmps_layout(tiny):
    from PIL import Image
    folder = tiny / 'out'
    assert export(folder) == 78
    names = {kind: {str(f.relative_to(folder / kind).with_suffix('')) for f in (folder / kind).rglob('*.*')} for kind in ('img', 'chunk')}
    assert names['img'] == names['chunk'] and len(names['img']) == 78
    assert {'train/violin/violin00_500', 'validation/double_bass/double_bass01_700'} <= names['img']
    with wave.open(str(folder / 'chunk/train/violin/violin00_600.wav')) as w:
        assert (w.getnchannels(), w.getsampwidth(), w.getframerate(), w.getnframes()) == (2, 2, 44100, 22050)
        x = np.frombuffer(w.readframes(22050), np.int16).reshape(-1, 2)
    assert (x[:, 0] == x[:, 1]).all()
    a = build()
    here = np.flatnonzero((a['label'] == 12) & (a['ms'] == 600) & (a['split'] == 0))
    assert np.abs(x[:, 0] / 32768 - o.windows_of(a, here)[0]).max() < 1e-4
    with Image.open(folder / 'img/train/violin/violin00_600.jpg') as im: assert im.size == (64, 36) and im.format == 'JPEG'


def test_export_goes_on_where_it_stopped(tiny):
    folder = tiny / 'out'
    export(folder)
    files = {f: f.stat().st_mtime_ns for f in folder.rglob('*.*')}
    gone = [folder / 'img/train/oboe/oboe00_500.jpg', folder / 'chunk/validation/horn/horn01_600.wav']
    for f in gone: f.unlink()
    assert export(folder) == 78
    after = {f: f.stat().st_mtime_ns for f in folder.rglob('*.*')}
    assert after.keys() == files.keys() and {f for f in files if files[f] != after[f]} == set(gone)


def test_export_leaves_other_folders_alone(tiny):
    full = tiny / 'full'; full.mkdir(); (full / 'thesis.tex').write_text('precious')
    for bad, word in ((full, 'full'), (full / 'thesis.tex', 'thesis')):
        with pytest.raises(ValueError, match=word): export(bad)
    export(tiny / 'out')
    with pytest.raises(ValueError, match='out'): export(tiny / 'out', seed=1)
    assert os.listdir(full) == ['thesis.tex']


@pytest.mark.parametrize('frame', [(0, 0), (4000, 2000), (64, -1)])
def test_export_frame_out_of_bounds(tiny, frame):
    with pytest.raises(ValueError, match='frame'): export_orchestra(tiny / 'x', 'small', frame=frame)
    assert not (tiny / 'x').exists()
