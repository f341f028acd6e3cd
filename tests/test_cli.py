"The command line: every contradiction is one sentence, every command one call."
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avgen_nb import cgan, cli, cmcgan, runs

REPO = Path(__file__).parents[1]


def refused(capsys, *argv):
    "The sentence with which the command refuses; nothing on stdout, no traceback."
    assert cli.main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('avgen: ') and err.count('\n') == 1 and 'Traceback' not in err
    return err


@pytest.fixture
def calls(monkeypatch):
    "Runs that only take notes of how they are called."
    noted = []
    note = lambda name, answer=None: lambda *a, **k: (noted.append((name, a, k)), answer)[1]
    def trainer_of(name):
        if name not in ('S2I-C+guide', 'I2S+guide'): raise ValueError(f"There is no recipe '{name}'; choose one of S2I-C, I2S.")
        return SimpleNamespace(name=name), note('train_run')
    monkeypatch.setattr(runs, 'trainer_of', trainer_of)
    monkeypatch.setattr(runs, 'open_data', note('open_data', 'pairs'))
    monkeypatch.setattr(runs, 'evaluate_run', note('evaluate_run', []))
    monkeypatch.setattr(runs, 'load_run', lambda folder: SimpleNamespace(folder=folder, meta=dict(opened=dict(data='orchestra'))))
    return noted


@pytest.mark.parametrize('argv, words', [
    ([], 'COMMAND'),
    (['paint'], 'invalid choice'),
    (['train'], 'RECIPE'),
    (['train', 'S2I-C+guide', '--steps', '10', '--minutes', '1'], '--steps and --minutes'),
    (['train', 'S2I-C+guide', '--steps', '0'], "'0' is not a number above zero"),
    (['train', 'S2I-C+guide', '--steps', '2.5'], '2.5'),
    (['train', 'S2I-C+guide', '--minutes', 'nan'], 'nan'),
    (['train', 'S2I-C+guide', '--minutes', '-1'], '-1'),
    (['train', 'S2I-C+guide', '--seed', 'x'], '--seed'),
    (['train', 'S2I-C+guide', '--seed', '-1'], "'-1' is no seed"),
    (['train', 'S2I-C+guide', '--seed', str(2**63)], f"'{2**63}' is no seed; give a whole number from 0 to {2**63 - 1}"),
    (['demo', '--seed', '1e3'], "'1e3' is no seed"),
    (['export', 'x', '--seed', '9' * 5000], 'is no seed'),
    (['picture', 'a.wav', '--seed', '-3'], "'-3' is no seed"),
    (['sound', 'a.png', '--seed', str(2**64)], 'is no seed'),
    (['evaluate', '.', '--split', 'train'], "invalid choice: 'train'"),
    (['evaluate', '.', '--split', 'exam', '--size', 'small'], '--split exam is a world of its own'),
    (['evaluate', '.', '--split', 'exam', '--data', 'D'], '--split exam is a world of its own'),
    (['train', 'S2I-C+guide', '--budget', 'week'], 'week'),
    (['train', 'S2I-C+guide', '--data', 'orchestra', '--sounds', 'a', '--pictures', 'b'], 'exclude each other'),
    (['train', 'S2I-C+guide', '--sounds', 'a'], '--sounds needs --pictures'),
    (['train', 'S2I-C+guide', '--pictures', 'orchestra'], '--pictures needs --sounds'),
    (['train', 'S2I-C+guide', '--faster'], '--faster'),
    (['train', 'S3I'], 'choose one of S2I-C, I2S'),
    (['export', 'x', '--frame', '30x'], "'30x' is not a width and a height"),
    (['export', 'x', '--frame', 'x30'], 'x30'),
    (['export', 'x', '--frame', '-1x30'], 'expected one argument'),
    (['export', 'x', '--size', 'huge'], 'huge'),
    (['prepare'], 'DIR'),
    (['prepare', 'no/such/tree'], 'no/such/tree does not exist'),
    (['prepare', '.'], 'img and chunk'),
    (['prepare', '.', 'too'], 'too is one folder too many'),
    (['prepare', 'none.mp4'], 'none.mp4: there is no such film'),
    (['prepare', '.', '--rate', '0'], "'0' is not a number above zero"),
    (['prepare', '.', '--size', '0'], "'0' is not a number above zero"),
    (['prepare', '.', '--workers', '-2'], '-2'),
    (['prepare', '.', '--across', '1.5'], "'1.5' is not a number from 0 to 1"),
    (['prepare', '.', '--max-bad', '1%'], "'1%' is not a number from 0 to 1"),
    (['prepare', '.', '--crop', '0'], '--crop'),
    (['picture'], 'SOUND'),
    (['sound'], 'PICTURE'),
    (['evaluate'], 'RUN'),
    (['evaluate', 'no/such/run'], 'no/such/run'),
    (['evaluate', '.', '--data', 'd', '--sounds', 's'], 'exclude each other'),
    (['match'], 'FILE'),
    (['match', 'a.wav'], 'there is no picture among these files'),
    (['match', 'a.png', '.'], 'there is no sound among these files'),
    (['match', 'a.wav', 'b.png', 'notes.txt'], 'notes.txt is neither a sound'),
])
def test_mistakes_are_one_sentence(calls, capsys, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == [] and not [c for c in calls if c[0] == 'train_run']


def test_train_passes_everything_on(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main('train I2S+guide --data D --out R --steps 7 --seed 3'.split()) == 0
    (_, a, k), (_, (recipe, data, out), options) = calls
    assert k == dict(data='D', sounds=None, pictures=None, size='default') and recipe.name == 'I2S+guide' and data == 'pairs' and out == Path('R')
    assert options == dict(steps=7, minutes=None, seed=3, budget='cpu', resume=False, opened=k, only=None)


def test_train_has_defaults(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main('train S2I-C+guide --sounds S --pictures orchestra --budget test'.split()) == 0
    (_, a, k), (_, (_, _, out), options) = calls
    assert k == dict(data='orchestra', sounds='S', pictures='orchestra', size='small') and out == Path('runs/S2I-C+guide') and options['budget'] == 'test'


def test_train_passes_the_one_instrument_on(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main('train S2I-C+guide --only cello'.split()) == 0
    assert calls[-1][2]['only'] == 'cello'


def test_resume_wants_a_run(calls, capsys, tmp_path):
    empty, full, file = tmp_path/'empty', tmp_path/'full', tmp_path/'file'
    empty.mkdir(); full.mkdir(); (full/'checkpoint').write_text('x'); file.write_text('x')
    assert 'no run to resume' in refused(capsys, 'train', 'S2I-C+guide', '--resume', '--out', empty)
    assert 'no run to resume' in refused(capsys, 'train', 'S2I-C+guide', '--resume', '--out', tmp_path/'new')
    assert '--resume' in refused(capsys, 'train', 'S2I-C+guide', '--out', full)
    assert 'is a file' in refused(capsys, 'train', 'S2I-C+guide', '--out', file)
    assert not calls and sorted(p.name for p in tmp_path.iterdir()) == ['empty', 'file', 'full']
    assert cli.main(['train', 'S2I-C+guide', '--resume', '--out', str(full)]) == 0
    assert calls[-1][2]['resume'] is True


def test_evaluate_prints_and_appends(calls, monkeypatch, capsys, tmp_path):
    from avgen_nb.metrics import Row, read_rows
    monkeypatch.setattr(runs, 'evaluate_run', lambda run, data, split: [Row('S2I-C+guide', metric='balanced_accuracy', value=.9)])
    assert cli.main(['evaluate', str(tmp_path)]) == cli.main(['evaluate', str(tmp_path)]) == 0
    assert 'balanced_accuracy' in capsys.readouterr().out
    assert len(read_rows(tmp_path/'results.jsonl')) == 2


def test_evaluate_opens_data_only_when_told_to(calls, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(runs, 'evaluate_run', lambda run, data, split: seen.append((data, split)) or [])
    assert cli.main(['evaluate', str(tmp_path)]) == cli.main(['evaluate', str(tmp_path), '--data', 'D', '--split', 'dev']) == 0
    assert cli.main(['evaluate', str(tmp_path), '--split', 'exam']) == 0
    assert seen == [(None, 'test'), ('pairs', 'dev'), (None, 'exam')] and [c[2]['data'] for c in calls] == ['D']


def test_rows_say_which_data_were_named(calls, monkeypatch, tmp_path):
    from avgen_nb.metrics import Row, read_rows
    monkeypatch.setattr(runs, 'evaluate_run', lambda run, data, split: [Row('S2I-C+guide', data='as trained', metric='balanced_accuracy', value=.9)])
    for more in ([], ['--size', 'small'], ['--data', 'D'], ['--sounds', 'S', '--pictures', 'orchestra']): assert cli.main(['evaluate', str(tmp_path), *more]) == 0
    assert [r.data for r in read_rows(tmp_path/'results.jsonl')] == ['as trained', 'orchestra small', 'D', 'S']


@pytest.mark.parametrize('text', [b'no json\n', b'{"system": "a"\n', b'[1]\n', b'\xff\xfe\x00', b'{"other": 1}\n'])
def test_results_of_something_else_are_named_and_left_alone(calls, monkeypatch, capsys, tmp_path, text):
    (tmp_path/'results.jsonl').write_bytes(text)
    monkeypatch.setattr(runs, 'evaluate_run', lambda *a, **k: pytest.fail('scored before the file was looked at'))
    assert str(tmp_path/'results.jsonl') in refused(capsys, 'evaluate', tmp_path)
    assert (tmp_path/'results.jsonl').read_bytes() == text


def test_a_run_that_does_not_say_its_data(calls, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(runs, 'load_run', lambda folder: SimpleNamespace(meta={}))
    assert '--data' in refused(capsys, 'evaluate', tmp_path) and cli.main(['evaluate', str(tmp_path), '--data', 'D']) == 0


def test_a_long_batch_shows_a_count_and_the_time_left(monkeypatch, capsys):
    import io
    class Terminal(io.StringIO):
        def isatty(self): return True
    monkeypatch.setattr(sys, 'stderr', screen := Terminal())
    with cli.count(7, after=0) as bar:
        for _ in range(7): bar.update(); bar.refresh()
    assert '3/7' in screen.getvalue() and '<' in screen.getvalue()   # done, and elapsed<left
    assert cli.count(1, 0).disable and not cli.count(2, 0).disable
    with cli.count(7) as bar: before = len(screen.getvalue()); bar.update(7)
    assert len(screen.getvalue()) == before, 'a short one shows nothing'
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    assert cli.count(7, 0).disable, 'nor does one that nobody looks at'


def test_demo_and_export_are_thin(monkeypatch, tmp_path, capsys):
    import avgen_nb.demo, avgen_nb.orchestra
    seen = []
    monkeypatch.setattr('avgen_nb.demo.run_demo', lambda *a, **k: seen.append((a, k)), raising=False)
    monkeypatch.setattr('avgen_nb.urmp.export_orchestra', lambda *a, **k: seen.append((a, k)) or 12)
    assert cli.main(['demo', '--budget', 'test']) == 0
    assert cli.main(['export', 'D', '--size', 'small', '--frame', '640X360']) == 0
    assert seen == [(('demo',), dict(seed=0, budget='test')), (('D', 'small'), dict(seed=0, frame=(640, 360)))]
    assert '12 pairs' in capsys.readouterr().out


def test_prepare_is_thin(monkeypatch, capsys):
    seen = []
    def fake(*a, report, **k): seen.append(a + tuple(k.values())); report.read = 1234; return Path('S')
    monkeypatch.setattr('avgen_nb.store.prepare_store', fake)
    assert cli.main(['prepare', 'D']) == cli.main('prepare D --out S --size 128 --across .26 --max-bad .05 --workers 2'.split()) == 0
    assert seen == [('D', None, 64, .5, .01, None), ('D', 'S', 128, .26, .05, 2)] and '1,234 pairs in S; 0 bad' in capsys.readouterr().out


@pytest.mark.parametrize('error, status, words', [
    (KeyboardInterrupt(), 130, 'stopped'),
    (ValueError('two\nlines'), 2, 'two lines'),
    (PermissionError(13, 'Permission denied', 'demo'), 2, 'demo: Permission denied'),
    (OSError(28, 'No space left on device'), 2, 'No space left'),
])
def test_ends_cleanly(monkeypatch, capsys, error, status, words):
    def fail(*a, **k): raise error
    monkeypatch.setattr('avgen_nb.demo.run_demo', fail, raising=False)
    assert cli.main(['demo']) == status
    err = capsys.readouterr().err
    assert words in err and err.count('\n') == 1


def test_a_warning_is_a_sentence_too(monkeypatch, capsys):
    import warnings
    before = warnings.showwarning
    monkeypatch.setattr('avgen_nb.demo.run_demo', lambda *a, **k: warnings.warn('x.wav: is clipped.'))
    assert cli.main(['demo']) == 0 and capsys.readouterr().err == 'avgen: x.wav: is clipped.\n' and warnings.showwarning is before


def test_stopped_training_is_a_sentence_and_a_bug_is_not(monkeypatch, capsys):
    from avgen_nb.loop import Stopped
    def fail(*a, **k): raise error
    monkeypatch.setattr('avgen_nb.demo.run_demo', fail, raising=False)
    error = Stopped("loss 'D' is nan at step 3")
    assert cli.main(['demo']) == 2 and "nan at step 3" in capsys.readouterr().err
    error = RuntimeError('a bug')
    with pytest.raises(RuntimeError): cli.main(['demo'])


@pytest.mark.parametrize('command', (*cli.COMMANDS, *cli.modality_commands()))
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop: cli.main([command, '--help'])
    assert stop.value.code == 0
    assert f'avgen {command}' in capsys.readouterr().out.split('example:')[1]


def test_help_of_a_command_is_light_and_runs_as_a_module():
    code = "import sys, avgen_nb.cli as c\ntry: c.main(['train', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO, stdout=subprocess.DEVNULL)
    run = subprocess.run([sys.executable, '-m', 'avgen_nb', 'paint'], cwd=REPO, capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == '' and run.stderr.count('\n') == 1


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit): cli.main(['--help'])
    out = capsys.readouterr().out
    assert [w for w in (*cli.COMMANDS, *cli.modality_commands()) if f'\n    {w} ' not in out] == [] and set(cli.modality_commands()) == {'picture', 'sound'}


def test_the_command_line_names_no_modality_in_its_tables():
    "What differs between modalities hangs on them."
    import ast
    tree = ast.parse(Path(cli.__file__).read_text(encoding='utf-8'))
    keys = [k.value for d in ast.walk(tree) if isinstance(d, ast.Dict) for k in d.keys if isinstance(k, ast.Constant)]
    assert keys and not {'picture', 'sound'} & set(keys)


def test_both_papers_recipes_train(capsys):
    assert runs.trainer_of('CMCGAN+guide') == (cmcgan.CMCGAN_GUIDED, cmcgan.train_cycle)
    assert runs.trainer_of('I2S+guide') == (cgan.I2S_GUIDED, cgan.train_run)
    assert 'S2I-C+guide' in (err := refused(capsys, 'train', 'CMCGAM')) and 'CMCGAN' in err
    with pytest.raises(ValueError, match='--only cello'): cmcgan.train_cycle('CMCGAN+guide', {}, 'nowhere', only='cello')


@pytest.fixture(scope='module')
def their_files(tmp_path_factory):
    "A folder of one's own: two sounds, two pictures of other sizes, and a note."
    from PIL import Image
    from avgen_nb.sound import tone, write_sound
    from avgen_nb.players import Moment, draw_frame, draw_look
    home = tmp_path_factory.mktemp('theirs')
    for name, midi in (('low', 40.), ('high', 80.)): write_sound(home/f'{name}.wav', tone(midi))
    for name in ('cello', 'flute'):
        Image.fromarray(draw_frame(name, Moment(62., .7), draw_look(name, 77), 320, 180)).save(home/f'{name}.png')
    (home/'readme.txt').write_text('nothing to hear')
    return home


def test_match_prints_a_table(their_files, capsys):
    assert cli.main(['match', *map(str, (their_files/'low.wav', their_files/'cello.png', their_files/'high.wav', their_files/'flute.png'))]) == 0
    head, *lines = capsys.readouterr().out.rstrip('\n').split('\n')
    assert head.split('\t') == ['', 'cello.png', 'flute.png'] and [Path(l.split('\t')[0]).name for l in lines] == ['low.wav', 'high.wav']
    table = [[float(v) for v in l.split('\t')[1:]] for l in lines]
    assert len({v for row in table for v in row}) > 2
    assert cli.main(['match', str(their_files)]) == 0                     # a folder gives its sounds and its pictures
    head, *lines = capsys.readouterr().out.rstrip('\n').split('\n')
    assert head.split('\t')[1:] == ['cello.png', 'flute.png'] and len(lines) == 2


def test_match_names_a_bad_file_and_goes_on(their_files, tmp_path, capsys):
    (tmp_path/'broken.wav').write_bytes(b'RIFF'); (tmp_path/'broken.png').write_bytes(b'no picture')
    good = [str(their_files/'low.wav'), str(their_files/'cello.png')]
    assert cli.main(['match', *good, str(tmp_path/'broken.wav')]) == 2
    out, err = capsys.readouterr()
    assert len(out.rstrip('\n').split('\n')) == 2 and 'broken.wav' in err and err.count('\n') == 1
    assert cli.main(['match', good[0], str(tmp_path/'broken.png')]) == 2
    assert 'none of the pictures could be read' in capsys.readouterr().err
    assert cli.main(['match', *good, '--towers', str(tmp_path/'none.safetensors')]) == 2 and 'does not exist' in capsys.readouterr().err


def test_match_knows_players_of_the_world(tmp_path, capsys):
    "Five moments of five instruments: most sounds find their own picture."
    from PIL import Image
    from avgen_nb.orchestra import make_song, cut
    from avgen_nb.players import draw_frame
    from avgen_nb.sound import write_sound
    for name in ('tuba', 'flute', 'violin', 'cello', 'sax'):
        song = make_song(name, 3, 99)
        k = next(k for k, m in enumerate(song.moments([j / 10 for j in range(10, 40)])) if not m.rests) + 10
        write_sound(tmp_path/f'{name}.wav', cut(song.wave, [k])[0])
        Image.fromarray(draw_frame(name, song.moments([k / 10])[0], song.look, 128, 128)).save(tmp_path/f'{name}.png')
    assert cli.main(['match', str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.rstrip('\n').split('\n')
    names = [Path(n).stem for n in head.split('\t')[1:]]
    hits = 0
    for line in lines:
        path, *row = line.split('\t')
        hits += names[max(range(5), key=lambda i: float(row[i]))] == Path(path).stem
    assert hits >= 3
