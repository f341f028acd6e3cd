"The store of a tree: the same pairs, killed and resumed, found while it is fresh, refused when damaged."
import functools, json, os, shutil, signal, subprocess, sys, traceback, types
from pathlib import Path

import numpy as np
import pytest
import torch

from avgen_nb import store as module, urmp
from avgen_nb.folders import Report
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.sound import WINDOW, write_sound
from avgen_nb.store import load_urmp, prepare_store
from trees import refused, tone, write_world

CODE = module.reading_code()


@pytest.fixture(scope='module')
def orchestra(): return orchestra_pairs('small', progress=False)


@pytest.fixture(scope='module')
def world(tmp_path_factory): return write_world(tmp_path_factory.mktemp('world'))


@pytest.fixture
def own_world(world, tmp_path): return Path(shutil.copytree(world, tmp_path / 'world'))


# the store

@pytest.fixture(scope='module')
def store(world, tmp_path_factory): return prepare_store(world, tmp_path_factory.mktemp('store'), progress=False)


def contents(store): return {f.name: f.read_bytes() for f in sorted(store.iterdir())}

def same(a, b):
    "Are these splits equal, pair by pair?"
    for name in a | b:
        p, q = a[name], b[name]
        assert all(torch.equal(x, y) for x, y in zip(p.batch(torch.arange(len(p))), q.batch(torch.arange(len(q)))))
        assert torch.equal(p.songs, q.songs) and torch.equal(p.truth['ms'], q.truth['ms']) and p.classes == q.classes
    return True

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
    monkeypatch.setattr(module, 'reading_code', lambda: CODE)
    monkeypatch.setattr(urmp, 'BLOCK', 4)
    return seen


@pytest.mark.parametrize('options', [{}, dict(seed=3, dev=.5), dict(every=2), dict(dev=0)], ids=str)
def test_a_store_gives_what_its_tree_gives(world, store, options):
    assert same(load_urmp(store, **options), load_urmp(world, **options))


def test_several_blocks_and_processes_give_the_same_store(world, store, tmp_path, monkeypatch):
    monkeypatch.setattr(urmp, 'BLOCK', 3)
    assert contents(prepare_store(world, tmp_path, workers=2, progress=False)) == contents(store)


def test_the_exported_orchestra_comes_back_from_its_store(tmp_path, orchestra):
    from avgen_nb.orchestra import Plan
    from avgen_nb.urmp import Export
    for i in (0, 1, 3): Export(Plan('small', 0), str(tmp_path), (160, 90))[i]    # two songs of the bassoon to train with, one to test
    store = prepare_store(tmp_path, tmp_path / 'store', progress=False)
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
    def die_at_journal(path, value, real=module.write_json):
        if path.name == 'journal.json' and value['blocks'] == at:
            if moment == 'after the numbers': real(path, value)
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == 'store.json' and at == 8: os.kill(os.getpid(), signal.SIGKILL)
        real(path, value)
    monkeypatch.setattr(module, 'append', functools.partial(module.append, often=1))
    with monkeypatch.context() as m:
        m.setattr(module, 'write_json', die_at_journal)
        assert forked(lambda: prepare_store(world, tmp_path / 's', workers=0, progress=False)) == -signal.SIGKILL
    assert not (tmp_path / 's' / 'store.json').exists()
    assert contents(prepare_store(world, tmp_path / 's', workers=0, progress=False)) == contents(store)
    done = at if moment == 'after the numbers' else max(0, at - 1)
    assert len(reads) == 32 - 4 * done


def test_half_a_block_on_the_disk_is_written_again(world, store, tmp_path, monkeypatch, reads):
    monkeypatch.setattr(module, 'append', functools.partial(module.append, often=2))
    def stop(blocks, first, *rest, real=urmp.read_blocks):
        for i, block in enumerate(real(blocks, first, *rest)):
            if i == 5: raise KeyboardInterrupt
            yield block
    with monkeypatch.context() as m:
        m.setattr(module, 'read_blocks', stop)
        with pytest.raises(KeyboardInterrupt): prepare_store(world, tmp_path, workers=0, progress=False)
    with open(tmp_path / 'lms.npy', 'ab') as f: f.write(b'half a row')
    assert contents(prepare_store(world, tmp_path, workers=0, progress=False)) == contents(store)


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
        if not module.read_json(tmp_path / 'journal.json'): assert 'neither empty nor a store' in refused(prepare_store, world, tmp_path, progress=False)
        else: assert contents(prepare_store(world, tmp_path, workers=0, progress=False)) == contents(store) and len(reads) == 32


def test_an_unchanged_tree_is_not_read_again(own_world, tmp_path, reads):
    prepare_store(own_world, tmp_path / 's', workers=0, progress=False)
    assert len(reads) == 32
    reads.clear()
    before, report = contents(tmp_path / 's'), Report()
    prepare_store(own_world, tmp_path / 's', workers=0, progress=False, report=report)
    assert not reads and contents(tmp_path / 's') == before and report.read == 32


def test_training_finds_the_store_of_a_tree_while_it_is_fresh(own_world, reads):
    direct = load_urmp(own_world, workers=0)
    assert len(reads) == 32
    where = prepare_store(own_world, workers=0, progress=False)
    assert where == module.store_of(own_world) and str(where).startswith(os.environ['AVGEN_CACHE'])
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
    old = load_urmp(prepare_store(own_world, tmp_path / 's', progress=False))
    numbers = [old['train'].sounds.clone(), old['train'].pictures.clone()]
    what(own_world / 'chunk' / 'train' / 'tuba' / 'tuba00_500.wav')
    new = load_urmp(prepare_store(own_world, tmp_path / 's', progress=False))
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
    store = prepare_store(own_world, tmp_path / 's', max_bad=.5, progress=False, report=report)
    said = capsys.readouterr().out
    kept = json.loads((store / 'report.json').read_text())
    assert {p for p, _ in kept['bad']} == wrong and kept['pairs'] == 27 and all(Path(p).name in said for p in wrong)
    assert sum(map(len, load_urmp(store).values())) == 27 and same(load_urmp(store), load_urmp(own_world, max_bad=.5))
    opened = Report()
    load_urmp(store, report=opened)
    assert sorted(opened.bad) == sorted(report.bad) and opened.read == 27


def test_too_many_bad_files_stop_it_and_nothing_is_read_twice(own_world, tmp_path, reads):
    (own_world / 'img' / 'train' / 'tuba' / 'tuba01_600.jpg').write_bytes(b'no picture')
    assert 'max_bad' in refused(prepare_store, own_world, tmp_path / 's', workers=0, progress=False)
    assert json.loads((tmp_path / 's' / 'report.json').read_text())['bad'] == [['img/train/tuba/tuba01_600.jpg', 'not a readable picture; give a png or jpg that opens']]
    assert 'img and chunk' in refused(load_urmp, tmp_path / 's') and len(reads) == 32
    assert sum(map(len, load_urmp(prepare_store(own_world, tmp_path / 's', max_bad=.1, workers=0, progress=False)).values())) == 31
    assert len(reads) == 32


def test_too_many_without_partner_stop_it_before_it_reads(own_world, tmp_path, reads):
    (own_world / 'img' / 'train' / 'tuba' / 'tuba01_600.jpg').unlink()
    assert 'tuba01_600.wav' in refused(prepare_store, own_world, tmp_path / 's', progress=False) and not reads


def test_a_side_of_which_nothing_can_be_read(own_world, tmp_path):
    for f in own_world.glob('img/validation/*/*.jpg'): f.write_bytes(b'x')
    for call in (lambda: prepare_store(own_world, tmp_path / 's', max_bad=1, progress=False), lambda: load_urmp(own_world, max_bad=1)):
        assert 'None of the 8 pairs of test' in refused(call)


def test_clipped_sounds_are_used_and_noted(own_world, tmp_path, recwarn):
    write_sound(own_world / 'chunk' / 'train' / 'tuba' / 'tuba01_600.wav', (torch.arange(WINDOW) // 50 % 2 * 2 - 1).float(), stereo=True)
    store = prepare_store(own_world, tmp_path / 's', progress=False)
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
    big = load_urmp(prepare_store(world, tmp_path, size=32, across=0., progress=False))
    assert big['test'].pictures.shape == (8, 3, 32, 32)


def test_a_store_of_other_code_is_opened_with_a_note_and_made_anew(world, store, tmp_path, reads):
    own = Path(shutil.copytree(store, tmp_path / 's'))
    said(code='00000000')(own)
    report = Report()
    load_urmp(own, report=report)
    assert 'another version' in report.notes[0] and not reads
    prepare_store(world, own, workers=0, progress=False)
    assert len(reads) == 32 and contents(own) == contents(store)


def test_a_store_needs_a_folder_of_its_own(own_world, tmp_path, monkeypatch):
    (tmp_path / 'full').mkdir(); (tmp_path / 'full' / 'thesis.txt').write_text('…'); (tmp_path / 'file').write_text('…')
    assert 'neither empty nor a store' in refused(prepare_store, own_world, tmp_path / 'full', progress=False)
    assert 'neither empty nor a store' in refused(prepare_store, own_world, own_world, progress=False)
    assert 'is a file' in refused(prepare_store, own_world, tmp_path / 'file', progress=False)
    assert 'among the files' in refused(prepare_store, own_world, own_world / 'img' / 'store', progress=False)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: types.SimpleNamespace(free=10**6))
    assert 'make room' in refused(prepare_store, own_world, tmp_path / 's', progress=False)
    assert [f.name for f in (tmp_path / 'full').iterdir()] == ['thesis.txt'] and not (own_world / 'img' / 'store').exists()


def test_two_processes_do_not_write_one_store(world, store):
    with module.locked(store):
        assert forked(lambda: refused(prepare_store, world, store, progress=False).index('another process')) == 0
    assert forked(lambda: prepare_store(world, store, progress=False)) == 0


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
from avgen_nb.store import prepare_store
for tree in sys.argv[1:]:
    prepare_store(tree, tree + '-store', size=256, workers=0, progress=False)
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
