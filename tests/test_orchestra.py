"The orchestra: what must hold for every note, song, split, cache file and export."
import os, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from avgen_nb import orchestra as o
from avgen_nb.players import INSTRUMENTS, RANGES
from avgen_nb.sound import SAMPLE_RATE, lms

REPO = Path(__file__).parents[1]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    "Orchestras of 26 songs of 0.7 s (3 pairs each), kept in a folder of their own."
    monkeypatch.setitem(o.SIZES, 'small', dict(songs=(1, 0, 1), seconds=.7))
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path / 'cache'))
    return tmp_path


def build(**more): return o.build_orchestra('small', workers=0, progress=False, **more)


# ---- bank
def test_bank_is_complete_small_and_licensed():
    folder = REPO / 'avgen_nb' / 'bank'
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 8_000_000
    text = (folder / 'LICENSE.txt').read_text()
    assert 'Frank Wen' in text and 'Permission is hereby granted, free of charge' in text
    assert {v.instrument for v in o.note_bank().values()} == set(INSTRUMENTS)
    for name in INSTRUMENTS:
        low, high = RANGES[name]
        keys = np.concatenate([v.keys for v in o.note_bank().values() if v.instrument == name])
        assert all(np.abs(keys - k).min() <= 4 for k in range(low, high + 1)), name


@pytest.mark.parametrize('voice', list(o.note_bank()))
def test_bank_notes_have_the_pitch_of_their_name(voice):
    cents = o.bank_cents(o.note_bank()[voice])
    assert np.mean(np.abs(cents) <= 30) >= .98


def test_bank_notes_are_no_octave_off():
    "The fundamental or an odd harmonic must be there: an octave too high would leave only even ones."
    for name, v in o.note_bank().items():
        x = v.notes[1, :, SAMPLE_RATE // 4:SAMPLE_RATE * 5 // 4] / 32768
        power = np.abs(np.fft.rfft(x * np.hanning(x.shape[1]))) ** 2
        for k, row in zip(v.keys, power):
            f = 440 * 2 ** ((k - 69) / 12)
            near = lambda h: row[round(h * f) - 4:round(h * f) + 5].max()
            odd, even, half = max(near(h) for h in (1, 3, 5)), max(near(h) for h in (2, 4)), max(near(h) for h in (.5, 1.5))
            assert odd > .001 * even and half < .1 * max(odd, even), (name, k)


# ---- melodies
@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_melodies(instrument):
    low, high = RANGES[instrument]
    seen = set()
    for seed in range(40):
        notes = o.compose(instrument, seed)
        assert notes and notes == o.compose(instrument, seed)
        assert all(low <= n.pitch <= high and .1 <= n.length <= 1.2 and 0 < n.dynamic <= 1 for n in notes)
        assert all(a.start + a.length <= b.start + 1e-6 for a, b in zip(notes, notes[1:]))
        assert notes[-1].start + notes[-1].length <= 4.5 + 1e-6 and not notes[0].slur
        seen |= {n.pitch for n in notes}
    assert len(seen) > .8 * (high - low), 'melodies do not use the range'


@pytest.mark.parametrize('seconds', [.5, .7, 2., 9.])
def test_melody_of_any_length(seconds):
    for seed in range(20):
        notes = o.compose('tuba', seed, seconds)
        assert notes and notes[-1].start + notes[-1].length <= seconds + 1e-6
    assert o.perform('tuba', notes, seed, seconds).shape == (round(seconds * SAMPLE_RATE),)


def test_unknown_instrument_is_named():
    for call in (lambda: o.compose('kazoo', 0), lambda: o.draw_stage('kazoo', 0), lambda: o.make_song('kazoo', 0)):
        with pytest.raises(ValueError, match='kazoo'): call()


# ---- sound
@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_performed_pitch_is_the_notes_pitch_plus_the_songs_tuning(instrument):
    low, high = RANGES[instrument]
    for seed, pitch in enumerate((low + 5, (low + high) // 2, high - 2)):
        stage = replace(o.draw_stage(instrument, seed), depth=0., breath=0.)
        x = o.play_note(o.Note(0, 1.1, pitch, .8), stage, np.random.default_rng(seed))
        heard = o._near_pitch(torch.from_numpy(x[11025:44100].astype(np.float32)), pitch)
        assert abs(heard - pitch - stage.tuning / 100) < .3, (instrument, pitch, heard)


def test_a_dry_flat_silent_stage_changes_only_the_gain():
    stage = replace(o.draw_stage('horn', 0), wet=0., curve=(0.,) * 9, floor=-200., gain=-20., top=30_000.)
    dry = o.play(o.compose('horn', 1), stage, 6., np.random.default_rng(0))
    wet = o.record(dry, stage, np.random.default_rng(0))
    k = np.argmax(np.abs(dry))
    assert np.allclose(wet, dry * wet[k] / dry[k], atol=1e-4)


def test_louder_dynamics_are_louder():
    stage = o.draw_stage('oboe', 3)
    loud = [np.std(o.play_note(o.Note(0, .8, 72, d), stage, np.random.default_rng(0))) for d in (.1, .4, .7, 1.)]
    assert all(1.5 * a < b for a, b in zip(loud, loud[1:]))


def test_performance_is_finite_bounded_and_never_all_silent():
    for k, instrument in enumerate(INSTRUMENTS):
        x = o.perform(instrument, o.compose(instrument, k), 100 + k)
        assert x.dtype == np.float32 and np.isfinite(x).all() and .02 < np.abs(x).max() <= .99


# ---- truth
def test_moments_agree_with_the_notes():
    notes = o.compose('cello', 9)
    times = np.arange(60) / 10
    for t, m in zip(times, o.moments(notes, times)):
        now = [n for n in notes if n.start <= t < n.start + n.length]
        assert (m.pitch == now[0].pitch and 0 < m.loudness <= now[0].dynamic) if now else (np.isnan(m.pitch) and m.loudness == 0)
        assert 0 <= m.phase <= 1 and 0 <= m.beat < 1


def test_bow_goes_back_and_forth_and_breath_only_runs_out():
    notes = [o.Note(0, .5, 50, .5), o.Note(.5, .5, 52, .5), o.Note(1., .5, 53, .5, True), o.Note(2., .5, 55, .5)]
    bow = [m.phase for m in o.moments(notes, [.25, .75, 1.25, 2.25])]
    assert np.allclose(bow, [.5, .75, .25, .5])
    breath = [m.phase for m in o.moments(notes, [.25, .75, 1.25, 2.25], bowed=False)]
    assert np.allclose(breath, [1 / 6, .5, 5 / 6, .5])


# ---- the set
def test_same_songs_whoever_builds_them():
    some = torch.utils.data.Subset(o.Plan('small', 3), [0, 5, 51])
    one, two = (list(o.in_parallel(some, workers, progress=False)) for workers in (0, 2))
    for a, b in zip(one, two, strict=True):
        assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def test_arrays_fit_together(tiny):
    a = build()
    n = 26 * 3
    assert a['picture'].shape == (n, 3, 64, 64) and a['picture'].dtype == np.uint8
    assert a['lms'].shape == (n, 1, 128, 44) and a['lms'].dtype == np.float16 and np.abs(a['lms']).max() <= 1
    assert a['wave'].dtype == np.int16 and len(a['wave']) == 26
    assert not set(a['song'][a['split'] == 2]) & set(a['song'][a['split'] != 2])
    assert (np.bincount(a['label'][a['split'] == 2]) == 3).all()
    assert (a['ms'][:3] == [500, 600, 700]).all()
    again = lms(torch.from_numpy(o.windows_of(a, np.arange(n)))).numpy()
    assert np.abs(again - a['lms']).max() < 2e-3
    assert np.isfinite(a['keypoints']).all()


def test_seeds_differ_and_songs_are_all_different(tiny):
    a, b = build(), build(seed=1)
    assert not np.array_equal(a['wave'], b['wave'])
    assert len({w.tobytes() for w in np.concatenate([a['wave'], b['wave']])}) == 52


def test_the_size_enters_the_songs_seed_and_leaves_the_default_as_it_was():
    words = lambda *numbers: np.random.SeedSequence(numbers).generate_state(4).tolist()
    for seed, instrument, number in ((0, 0, 0), (0, 12, 33), (7, 3, 5)):
        states = [o.song_seed(INSTRUMENTS[instrument], number, seed, size).generate_state(4).tolist() for size in ('default', 'small', 'exam')]
        assert states == [words(seed, instrument, number), words(seed, instrument, number, 1), words(seed, instrument, number, 2)]
        assert len({w for s in states for w in s}) == 12
    assert list(o.SIZES)[:3] == ['default', 'small', 'exam']


def test_no_two_songs_of_any_size_begin_alike():
    worlds = [('default', 0), ('small', 0), ('exam', 0), ('default', 1), ('exam', 2017)]
    plans = [(o.Plan(*w), w) for w in worlds]
    words = [w for plan, (size, seed) in plans for i in range(len(plan))
             for w in o.song_seed(INSTRUMENTS[plan.place(i)[0]], plan.place(i)[1], seed, size).generate_state(4).tolist()]
    assert len(words) == len(set(words)) == 4 * (2 * 442 + 52 + 2 * 104)


def test_the_default_world_is_what_it_was():
    song = o.make_song('cello', 3)
    assert [(n.pitch, round(n.start, 4)) for n in song.notes[:4]] == [(62, .1677), (63, 1.0531), (66, 1.4958), (67, 1.9385)]
    assert song.notes != o.make_song('cello', 3, size='small').notes != o.make_song('cello', 3, size='exam').notes


def test_cache_is_used_rebuilt_when_broken_and_cleaned_of_old_code(tiny, monkeypatch):
    first = build()
    path, = (tiny / 'cache').iterdir()
    old = path.with_name('orchestra-small-0-00000000.safetensors'); other = path.with_name('orchestra-small-1-00000000.safetensors')
    monkeypatch.setattr(o, 'in_parallel', lambda *a, **k: pytest.fail('built although cached'))
    assert all(np.array_equal(first[k], v, equal_nan=True) for k, v in build().items())
    monkeypatch.undo(); monkeypatch.setitem(o.SIZES, 'small', dict(songs=(1, 0, 1), seconds=.7)); monkeypatch.setenv('AVGEN_CACHE', str(tiny / 'cache'))
    path.write_bytes(path.read_bytes()[:1000]); old.touch(); other.touch()
    assert np.array_equal(build()['wave'], first['wave'])
    assert path.stat().st_size > 1000 and not old.exists() and other.exists()


def test_no_room_for_the_cache_is_only_a_warning(tiny, monkeypatch):
    (tiny / 'file').write_text('in the way')
    monkeypatch.setenv('AVGEN_CACHE', str(tiny / 'file'))
    with pytest.warns(UserWarning, match='file'): assert len(build()['label']) == 78


def test_unknown_size():
    with pytest.raises(ValueError, match="'huge'"): o.build_orchestra('huge')


@pytest.mark.slow
def test_works_in_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text("from avgen_nb import orchestra as o\no.SIZES['small'] = dict(songs=(1, 0, 0), seconds=.6)\n"
                      "print(len(o.build_orchestra('small', workers=2, cache=False, progress=False)['label']))\n")
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(REPO)), timeout=120)
    assert out.stdout.strip() == '26', out.stderr
