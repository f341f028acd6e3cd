"Files that are whole or not there, whoever fails, and names that know their code."
import os, subprocess, sys
from pathlib import Path

import numpy as np, pytest

from avgen_nb import cache
from avgen_nb.cache import beside, kept, load_arrays, save_arrays, sources, write_atomic

ROOT = Path(cache.__file__).parents[1]


@pytest.mark.parametrize('call', ['write', 'fsync', 'replace'])
def test_whatever_fails_the_old_file_stays(call, tmp_path, monkeypatch):
    path = tmp_path / 'f'; write_atomic(path, b'old')
    def full(*a, **k): raise OSError(28, 'No space left on device')
    if call == 'write': monkeypatch.setattr('builtins.open', full)
    else: monkeypatch.setattr(cache.os, call, full)
    with pytest.raises(OSError) as e: write_atomic(path, b'new')
    assert (e.value.filename, e.value.strerror) == (str(path), 'No space left on device')
    monkeypatch.undo()
    assert path.read_bytes() == b'old' and [p.name for p in tmp_path.iterdir()] == ['f']


WRITER = """
import sys
from avgen_nb.cache import write_atomic
for i in range(200): write_atomic(sys.argv[1], sys.argv[2].encode() * 20_000)
"""

def test_two_write_and_a_third_reads_only_whole_files(tmp_path):
    path, kinds = tmp_path / 'f', (b'a' * 20_000, b'b' * 20_000)
    write_atomic(path, kinds[0])
    writers, seen = [subprocess.Popen([sys.executable, '-c', WRITER, path, letter], env=os.environ | dict(PYTHONPATH=str(ROOT)), stderr=subprocess.PIPE, text=True) for letter in 'ab'], set()
    while any(w.poll() is None for w in writers): seen.add(path.read_bytes())
    for w in writers: assert w.communicate()[1] == '' and w.returncode == 0
    assert seen <= set(kinds) and [p.name for p in tmp_path.iterdir()] == ['f']

def test_a_file_has_the_rights_of_any_other(tmp_path):
    write_atomic(tmp_path / 'a', b''); (tmp_path / 'b').write_bytes(b'')
    assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode

def test_only_the_first_of_several_writes(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1'); write_atomic(tmp_path / 'f', b'x')
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_what_a_block_leaves_undone_is_removed(error, tmp_path):
    path = tmp_path / 'new' / 'f'
    with pytest.raises(type(error)):
        with beside(path) as tmp: tmp.write_bytes(b'half'); raise error
    assert not list(path.parent.iterdir())

def test_every_process_may_keep_arrays_and_older_code_goes(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    old, other, new = (tmp_path / f'{n}.safetensors' for n in ('a-1-old', 'a-2-old', 'a-1-new'))
    for path in (old, other, new): save_arrays(path, dict(x=np.arange(3)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a-1-new.safetensors', 'a-2-old.safetensors'] and load_arrays(new)['x'].tolist() == [0, 1, 2]
    new.write_bytes(b'not arrays')
    assert load_arrays(new) is load_arrays(old) is None

def test_what_is_kept_is_made_once_and_again_if_it_is_broken(tmp_path):
    path, made, write = tmp_path / 'new' / 'f', [], lambda path, text: write_atomic(path, text.encode())
    def read(path):
        if not path.exists(): return None
        if (text := path.read_text())[-1] != '.': raise ValueError('cut short')
        return text
    def make(): made.append(1); return f'number {len(made)}.'
    assert kept(path, read, make, write) == kept(path, read, make, write) == 'number 1.'
    path.write_text('number'); assert kept(path, read, make, write) == path.read_text() == 'number 2.'
    asked = []
    assert kept(path, read, make, write, lambda found: asked.append(found)) == 'number 3.' and asked == [True], 'another process has none: all make it'
    assert kept(None, read, make, write) == 'number 4.' and path.read_text() == 'number 3.'
    def no(path): raise PermissionError(13, 'Permission denied', str(path))
    with pytest.raises(PermissionError): kept(path, no, make, write)

def test_sources_see_through_a_decorator(): assert set(sources(beside)) == {'beside', 'sync_folder'}
