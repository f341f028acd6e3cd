"Features agree with librosa, inversion keeps what it promises, and every bad file is refused in one sentence."
import math, warnings

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from avgen_nb import sound
from avgen_nb.sound import (DB_HIGH, DB_LOW, FRAMES, HOP, N_FFT, N_MELS, SAMPLE_RATE, WINDOW, bands_to_bins,
                            cqt, db_to_lms, griffin_lim, hz_to_mel, join_lms, lms, lms_to_db, lms_to_wave, loudest_window,
                            mel, mel_filters, mel_to_hz, mfcc, midi_to_hz, pitch_of, pitches_of, read_sound, resample,
                            stft, to_db, to_power, tone, windows, write_sound)


def signal(kind, n=WINDOW, seed=0):
    "One waveform of each kind that features must survive."
    draw, t = np.random.default_rng(seed), np.arange(n) / SAMPLE_RATE
    made = dict(noise=.1 * draw.standard_normal(n), tone=.5 * np.sin(2 * np.pi * 440 * t), silence=np.zeros(n),
                click=(np.arange(n) == n // 2) * 1., chirp=.5 * np.sin(2 * np.pi * 4000 * t ** 2), faint=1e-5 * draw.standard_normal(n))
    return torch.tensor(made[kind], dtype=torch.float32)


KINDS = 'noise', 'tone', 'silence', 'click', 'chirp', 'faint'
LENGTHS = WINDOW, 22_528, 30_001, 4096


# ---------------------------------------------------------------- features beside librosa

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', LENGTHS)
def test_stft_mel_lms_mfcc_agree_with_librosa(kind, n):
    w = signal(kind, n)
    y = w.numpy()
    theirs = librosa.stft(y, n_fft=N_FFT, hop_length=HOP)
    assert np.abs(stft(w[None])[0].numpy() - theirs).max() <= 1e-5 * np.abs(theirs).max() + 1e-9
    theirs = librosa.feature.melspectrogram(y=y, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS)
    assert np.abs(mel(w[None])[0].numpy() - theirs).max() <= 1e-5 * theirs.max() + 1e-12
    db = librosa.power_to_db(theirs, amin=1e-10, top_db=None).clip(DB_LOW, DB_HIGH)
    assert np.abs(lms_to_db(lms(w[None])[0, 0]).numpy() - db).max() < .02
    theirs = librosa.feature.mfcc(y=y, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS)
    assert np.abs(mfcc(w[None])[0].numpy() - theirs).max() < .05


def test_mel_scale_and_filters_are_librosas():
    hz = np.array([0., 20, 440, 999, 1000, 1001, 8000, 22_050])
    assert np.allclose(hz_to_mel(hz), librosa.hz_to_mel(hz)) and np.allclose(mel_to_hz(hz_to_mel(hz)), hz)
    assert np.allclose(mel_filters(), librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS, dtype=np.float64), atol=1e-9)
    assert (mel_filters().sum(1) > 0).all(), 'an empty band'


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('n', (WINDOW, 40_000))
def test_cqt_agrees_with_librosa(n):
    waves = torch.stack([signal(k, n) for k in ('noise', 'tone', 'chirp')])
    ours = cqt(waves).numpy()
    theirs = np.stack([np.abs(librosa.cqt(w.numpy(), sr=SAMPLE_RATE, hop_length=HOP)) for w in waves])
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < .03 * theirs.max()
    steady = np.s_[1, 36:, 8:-8]
    assert np.abs(ours[steady] - theirs[steady]).max() < .005 * theirs[1].max()


def test_cqt_is_the_sum_it_says():
    "Against the definition, with librosa's own wavelets and no tricks."
    w, keys = signal('noise'), np.array([0, 20, 45, 60, 83])
    filters, lengths = librosa.filters.wavelet(freqs=librosa.cqt_frequencies(84, fmin=sound.C1), sr=SAMPLE_RATE, norm=1)
    filters, lengths = filters[keys], lengths[keys]
    half = filters.shape[1] // 2
    y = np.pad(w.numpy(), half)
    direct = np.array([[abs(np.vdot(f, y[t * HOP:t * HOP + 2 * half])) for t in range(FRAMES)] for f in filters]) * np.sqrt(lengths)[:, None]
    assert np.abs(cqt(w[None])[0, keys].numpy() - direct).max() < .01 * direct.max()


@pytest.mark.parametrize('feature', (stft, mel, lms, cqt, mfcc))
def test_a_batch_is_its_items(feature):
    waves = torch.stack([signal('noise', seed=i) * .1 * (i + 1) for i in range(19)])
    together = feature(waves)
    for i in (0, 7, 8, 18): assert torch.allclose(feature(waves[i:i + 1])[0], together[i], rtol=1e-4, atol=1e-4)


def test_shapes_dtype_and_a_strided_view():
    wave = signal('noise', SAMPLE_RATE)
    view = windows(wave)
    x = lms(view)
    assert view.shape == (6, WINDOW) and x.shape == (6, 1, N_MELS, FRAMES) and x.dtype == torch.float32 and x.is_contiguous()
    assert torch.equal(lms(view.double()), lms(view.double().float()))


def test_caches_survive_inference_mode():
    "A filterbank first made inside inference mode must still serve training."
    for cache in (sound._hann, sound._mel_blocks, sound._cqt_octaves): cache.cache_clear()
    with torch.inference_mode(): lms(signal('tone')[None]), cqt(signal('tone')[None])
    w = signal('noise')[None].requires_grad_()
    (lms(w).sum() + cqt(w).sum()).backward()
    assert torch.isfinite(w.grad).all() and w.grad.abs().sum() > 0


@given(st.floats(-200, 200))
def test_decibels_there_and_back(db):
    x = db_to_lms(torch.tensor(db))
    assert -1 <= x <= 1 and abs(float(lms_to_db(x)) - min(max(db, DB_LOW), DB_HIGH)) < 1e-3
    if -90 < db < 90: assert abs(float(to_db(to_power(torch.tensor(db)))) - db) < 1e-3


def test_range_holds_the_loudest_file():
    "No sine that a file can hold is cut off at the top."
    t = torch.arange(WINDOW) / SAMPLE_RATE
    loud = torch.stack([torch.sin(2 * math.pi * f * t) for f in (30, 60, 100, 440, 1000, 2500, 6000)])
    assert (lms(loud) < 1).all() and (lms(torch.zeros(1, WINDOW)) == -1).all()


# ---------------------------------------------------------------- back to sound

def test_bins_explain_the_bands():
    bands = mel(torch.stack([signal('noise'), signal('tone')])).transpose(-1, -2)
    bins = bands_to_bins(bands)
    assert (bins >= 0).all() and torch.isfinite(bins).all()
    assert (bins @ mel_filters().float().T - bands).abs().sum() < .05 * bands.sum()


def test_griffin_lim_finds_a_wave_with_the_magnitudes():
    wanted = stft(tone(60)[None]).abs().transpose(-1, -2)
    got = griffin_lim(wanted, 60)
    again = stft(got).abs().transpose(-1, -2)
    assert (again - wanted)[:, 2:-2].norm() < .15 * wanted.norm()


def test_lms_to_wave_is_deterministic_and_free_of_its_batch():
    x = lms(torch.stack([tone(50 + i) for i in range(10)]))
    both = lms_to_wave(x, 4)
    assert both.shape == (10, WINDOW) and both.abs().max() <= 1
    assert torch.equal(both, lms_to_wave(x, 4)) and torch.allclose(both[9:], lms_to_wave(x[9:], 4), atol=1e-3)
    assert not torch.equal(both, lms_to_wave(x, 4, seed=1))


@pytest.mark.parametrize('x', (-torch.ones(1, 1, N_MELS, FRAMES), torch.ones(1, 1, N_MELS, FRAMES), torch.zeros(1, 1, N_MELS, 100)))
def test_lms_to_wave_of_anything_is_finite(x):
    wave = lms_to_wave(x, 2)
    assert torch.isfinite(wave).all() and wave.shape[-1] == (WINDOW if x.shape[-1] == FRAMES else 99 * HOP)
    if x.max() == -1: assert wave.abs().max() == 0
    assert lms_to_wave(x, 2, length=30_000).shape == (1, 30_000)


def test_round_trip_keeps_pitch_and_loudness():
    keys = torch.arange(48., 97, 4)
    notes = torch.stack([tone(m) * (.1 if i % 2 else .8) for i, m in enumerate(keys)])
    back = lms_to_wave(lms(notes))
    assert ((pitches_of(back) - keys).abs() < .5).float().mean() >= .9
    level = lambda w: 10 * w.square().mean(-1).log10()
    assert (level(back) - level(notes)).abs().max() < 3


@pytest.mark.slow
def test_round_trip_of_every_bank_note():
    import json
    from importlib.resources import files
    bank = files('avgen_nb') / 'bank'
    about = json.loads((bank / 'bank.json').read_text())
    slot, right = int(about['slot'] * SAMPLE_RATE), []
    for voice in about['voices'].values():
        wave, n = read_sound(bank / voice['file']), len(voice['keys'])
        notes = torch.stack([loudest_window(wave[i * slot:(i + 1) * slot]) for i in range(n)])
        right += ((pitches_of(lms_to_wave(lms(notes))) - torch.tensor(voice['keys'])).abs() < .5).tolist()
    assert np.mean(right) >= .9, np.mean(right)


# ---------------------------------------------------------------- windows and songs

def test_windows_and_the_loudest():
    wave = torch.cat([torch.zeros(30_000), tone(60), torch.zeros(30_000)])
    assert (loudest_window(wave) - tone(60)).abs().max() < 1e-6
    assert loudest_window(tone(60)[:100]).shape == windows(tone(60)[:100])[0].shape == (WINDOW,)
    assert len(windows(wave, WINDOW)) == len(wave) // WINDOW


def test_loudest_window_of_five_minutes_needs_little_memory():
    wave = torch.zeros(300 * SAMPLE_RATE)
    wave[-WINDOW:] = tone(70)
    assert torch.equal(loudest_window(wave), tone(70))


def test_join_lms_gives_back_a_song():
    wave = torch.cat([tone(m, .4) for m in (60, 64, 67, 72)])
    x = lms(windows(wave))
    long, direct = join_lms(x), lms(wave[None])
    assert long.shape == (1, 1, N_MELS, round((len(x) - 1) * 4410 / HOP) + FRAMES)
    n = min(long.shape[-1], direct.shape[-1])
    assert (long[..., :n] - direct[..., :n])[..., 4:-4].abs().mean() < .05
    assert torch.equal(join_lms(x[:1]), x[:1]) or torch.allclose(join_lms(x[:1]), x[:1], atol=1e-6)
    song = lms_to_wave(long)[0]
    assert abs(pitch_of(song[2000:15_000]) - 60) < .5


# ---------------------------------------------------------------- pitch

def test_pitch_from_30_hz_to_3_khz():
    keys = torch.arange(23.2, 103, 1.7)
    for harmonics in (1, 3, 12):
        heard = pitches_of(torch.stack([tone(m, harmonics=harmonics) for m in keys]))
        assert (heard - keys).abs().max() < .1, (harmonics, heard - keys)


def test_pitch_survives_a_missing_fundamental_and_noise():
    t = torch.arange(WINDOW) / SAMPLE_RATE
    for hz in (82., 220., 700.):
        w = sum(torch.sin(2 * math.pi * hz * k * t + k) for k in (2, 3, 4, 5)) * .1 + .02 * signal('noise') / .1
        assert abs(pitch_of(w) - (69 + 12 * math.log2(hz / 440))) < .1


def test_no_pitch_where_there_is_none():
    assert math.isnan(pitch_of(torch.zeros(WINDOW))) and math.isnan(pitch_of(signal('noise')))
    assert abs(pitch_of(tone(60)[:2500]) - 60) < .3, 'shorter than the frames it looks at'


# ---------------------------------------------------------------- files

@pytest.mark.parametrize('ending', ('wav', 'flac', 'ogg', 'mp3'))
def test_reads_every_format(tmp_path, ending):
    path = tmp_path / f'a.{ending}'
    sf.write(path, tone(69, 1.).numpy(), SAMPLE_RATE)
    wave = read_sound(path)
    assert wave.dtype == torch.float32 and wave.ndim == 1 and abs(len(wave) - SAMPLE_RATE) < 2000
    assert abs(pitch_of(wave) - 69) < .05


@pytest.mark.parametrize('rate', (8000, 11_025, 16_000, 22_050, 44_099, 48_000, 96_000, 192_000))
def test_reads_every_rate(tmp_path, rate):
    t = np.arange(rate) / rate
    sf.write(tmp_path / 'a.wav', .5 * np.sin(2 * np.pi * 440 * t), rate)
    wave = read_sound(tmp_path / 'a.wav')
    exact = .5 * torch.sin(2 * math.pi * 440 * torch.arange(SAMPLE_RATE) / SAMPLE_RATE)
    assert len(wave) == SAMPLE_RATE and (wave - exact)[3000:-3000].abs().max() < 5e-3


@pytest.mark.parametrize('subtype', ('PCM_U8', 'PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE', 'ULAW'))
def test_reads_every_sample_type(tmp_path, subtype):
    sf.write(tmp_path / 'a.wav', tone(69).numpy(), SAMPLE_RATE, subtype=subtype)
    assert (read_sound(tmp_path / 'a.wav') - tone(69)).abs().max() < .03


def test_mixes_eight_channels(tmp_path):
    quiet = np.random.default_rng(0).standard_normal((WINDOW, 8)) * 1e-4
    sf.write(tmp_path / 'all.wav', quiet + tone(69).numpy()[:, None], SAMPLE_RATE)
    assert (read_sound(tmp_path / 'all.wav') - tone(69)).abs().max() < .01
    quiet[:, 5] += tone(69).numpy()
    sf.write(tmp_path / 'one.wav', quiet, SAMPLE_RATE)
    assert (read_sound(tmp_path / 'one.wav') - tone(69)).abs().max() < .01
    sf.write(tmp_path / 'flipped.wav', np.stack([tone(69), -tone(69)], 1), SAMPLE_RATE)
    assert (read_sound(tmp_path / 'flipped.wav').abs() - tone(69).abs()).abs().max() < .01


def test_resample_keeps_the_identity_and_the_length():
    w = signal('noise', 1000)
    assert resample(w, SAMPLE_RATE) is w and len(resample(w, 44_099)) == 1000 and len(resample(w, 22_050)) == 2000
    assert (resample(resample(w, 22_050, 44_100), 44_100, 22_050) - w)[20:-20].abs().max() < .05


def test_clipped_is_read_with_a_warning(tmp_path):
    sf.write(tmp_path / 'loud.wav', (tone(60) * 8).clamp(-1, 1).numpy(), SAMPLE_RATE)
    with pytest.warns(UserWarning, match='loud.wav: is clipped'): wave = read_sound(tmp_path / 'loud.wav')
    assert abs(pitch_of(wave) - 60) < .1
    sf.write(tmp_path / 'hot.wav', (tone(60) * 3).numpy(), SAMPLE_RATE, subtype='FLOAT')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore'); hot = read_sound(tmp_path / 'hot.wav')
    assert hot.abs().max() <= 1 and (hot * .5 - tone(60)).abs().max() < 1e-4, 'too loud floats are turned down, not cut'


def test_good_recordings_give_no_warning(tmp_path):
    write_sound(tmp_path / 'a.wav', tone(60))
    with warnings.catch_warnings():
        warnings.simplefilter('error'); read_sound(tmp_path / 'a.wav')


def one_sentence(error, name):
    text = str(error.value)
    assert name in text and '\n' not in text and len(text.split(name)[-1]) < 130 and ';' in text, text


def bad_files(folder):
    "Files no one can use, by name."
    wave = tone(69, 2.).numpy() + .01 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype('f')
    for ending in ('wav', 'flac', 'ogg', 'mp3'):
        path = folder / f'cut.{ending}'
        sf.write(path, wave, SAMPLE_RATE)
        path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    for ending in ('wav', 'mp3', 'ogg'): (folder / f'empty.{ending}').write_bytes(b'')
    (folder / 'text.wav').write_text('This is not a sound.\n' * 50)
    (folder / 'riff.wav').write_bytes(b'RIFF\x24\x00\x00\x00WAVEfmt ')
    (folder / 'random.mp3').write_bytes(np.random.default_rng(1).bytes(5000))
    (folder / 'folder.wav').mkdir()
    sf.write(folder / 'header.wav', np.zeros(0, 'f'), SAMPLE_RATE)
    sf.write(folder / 'one.wav', np.ones(1, 'f'), SAMPLE_RATE)
    sf.write(folder / 'short.wav', wave[:1000], SAMPLE_RATE)
    for name, value in dict(nan=np.nan, inf=np.inf).items():
        broken = wave.copy(); broken[500] = value
        sf.write(folder / f'{name}.wav', broken, SAMPLE_RATE, subtype='FLOAT')
    return sorted(p.name for p in folder.iterdir()) + ['absent.wav']


def test_every_bad_file_is_refused_in_one_sentence(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(ValueError) as error: read_sound(tmp_path / name)
        one_sentence(error, name)


def test_whole_files_are_not_called_cut_short(tmp_path):
    "Padding, odd sizes and notes after the sound are no fault; a stream's unknown length neither."
    for n in (22_050, 22_051, 44_100):
        sf.write(tmp_path / 'a.wav', tone(69, 1.).numpy()[:n], SAMPLE_RATE, subtype='PCM_U8')
        raw = (tmp_path / 'a.wav').read_bytes()
        (tmp_path / 'a.wav').write_bytes(raw + b'LIST\x04\x00\x00\x00note')
        assert len(read_sound(tmp_path / 'a.wav')) == n
    at = raw.find(b'data')
    (tmp_path / 'stream.wav').write_bytes(raw[:at + 4] + b'\xff\xff\xff\xff' + raw[at + 8:])
    assert len(read_sound(tmp_path / 'stream.wav')) == 44_100
    for rate in (16_000, 22_050, 48_000):
        sf.write(tmp_path / 'a.mp3', tone(69, 1.).numpy(), rate)
        assert abs(pitch_of(read_sound(tmp_path / 'a.mp3')) - 69 - 12 * math.log2(rate / SAMPLE_RATE)) < .1


def test_silence_is_read_but_has_no_loudest_window(tmp_path):
    sf.write(tmp_path / 'hush.wav', np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    wave = read_sound(tmp_path / 'hush.wav')
    with pytest.raises(ValueError) as error: loudest_window(wave, tmp_path / 'hush.wav')
    one_sentence(error, 'hush.wav')


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 4000), st.binary(max_size=8), st.sampled_from(('wav', 'flac', 'ogg', 'mp3')))
def test_a_damaged_file_is_read_or_refused(tmp_path, at, junk, ending):
    whole = tmp_path / f'whole.{ending}'
    if not whole.exists(): sf.write(whole, tone(69).numpy(), SAMPLE_RATE)
    data = whole.read_bytes()
    (tmp_path / f'x.{ending}').write_bytes(data[:at] + junk + data[at + len(junk):])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore'); wave = read_sound(tmp_path / f'x.{ending}')
        assert torch.isfinite(wave).all() and wave.abs().max() <= 1
    except ValueError as error: assert f'x.{ending}' in str(error)


def test_write_sound_there_and_back(tmp_path):
    write_sound(tmp_path / 'a.wav', tone(69), stereo=True)
    info = sf.info(tmp_path / 'a.wav')
    assert (info.channels, info.samplerate, info.subtype, info.frames) == (2, SAMPLE_RATE, 'PCM_16', WINDOW)
    assert (read_sound(tmp_path / 'a.wav') - tone(69)).abs().max() < 2 / 32768
    assert [p.name for p in tmp_path.iterdir()] == ['a.wav']


def test_write_sound_leaves_nothing_half_written(tmp_path):
    write_sound(tmp_path / 'a.wav', tone(69))
    before = (tmp_path / 'a.wav').read_bytes()
    with pytest.raises(ValueError) as error: write_sound(tmp_path / 'a.wav', torch.full((WINDOW,), torch.nan))
    one_sentence(error, 'a.wav')
    with pytest.raises(ValueError) as error: write_sound(tmp_path / 'nowhere' / 'a.wav', tone(69))
    one_sentence(error, 'a.wav')
    assert (tmp_path / 'a.wav').read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['a.wav']


def test_midi_to_hz_is_librosas():
    assert np.allclose([midi_to_hz(m) for m in (21, 60.5, 108)], librosa.midi_to_hz([21, 60.5, 108]))
