"Films: written so that browsers play them, read by their times, turned, uneven, of several tracks, cut and damaged."
import subprocess, sys

import av
import numpy as np
import pytest
import torch

from avgen_nb.mp4 import film_facts, film_picture, film_sound, frames_at, save_film
from avgen_nb.sound import SAMPLE_RATE, BadFile
from filming import grey_of, greys, plain, sine, turn, write_tracks
from trees import refused


def noise(n, seed=0): return .2 * torch.randn(n, generator=torch.Generator().manual_seed(seed))

def soft(n, h, w, seed=0):
    "Random pictures without fine detail, bytes (n, 3, h, w)."
    x = torch.rand(n, 3, 5, 6, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(x, (h, w), mode='bilinear') * 255).to(torch.uint8)

def lag_of(a, b, most=3000):
    "By how many samples b comes after a."
    n = len(a) + len(b)
    r = np.fft.irfft(np.conj(np.fft.rfft(a, 2 * n)) * np.fft.rfft(b, 2 * n))
    return max(range(-most, most + 1), key=lambda k: r[k])


# writing

@pytest.mark.parametrize('size, rate', [((48, 64), 25), ((31, 45), 30), ((64, 64), 12.5), ((40, 40), 24000 / 1001)], ids=str)
def test_frames_and_sound_come_back(tmp_path, size, rate):
    n = round(1.6 * rate)
    pictures, wave = soft(n, *size), noise(round(n / rate * SAMPLE_RATE))
    path = save_film(tmp_path / 'a.mp4', pictures, wave, rate)
    facts = film_facts(path)
    even = tuple(s + s % 2 for s in size[::-1])
    assert abs(facts.seconds - n / rate) < .05 and abs(facts.rate - rate) < .02 * rate and facts.size == even and not facts.odd
    side = min(even)
    true = np.stack([film_picture(p) for p in pictures]).astype(float)
    left, top = (even[0] - side) // 2, (even[1] - side) // 2
    true = true[:, top:top + side, left:left + side].transpose(0, 3, 1, 2)
    back = frames_at(path, (np.arange(n) + .01) / rate, side)
    assert np.sqrt(((back - true) ** 2).mean()) < 12
    for k in range(n): assert min(range(n), key=lambda j: np.abs(back[k] - true[j]).mean()) == k, 'every frame at its own time'
    heard = film_sound(path) / 32768
    assert lag_of(wave.numpy()[:len(heard)], heard) == 0
    tone_path = save_film(tmp_path / 'tone.mp4', pictures, torch.from_numpy(sine(n / rate)[0]), rate)
    heard, sent = film_sound(tone_path) / 32768, sine(n / rate)[0]
    heard, sent = heard[4000:-4000], sent[4000:][:len(heard) - 8000]
    assert ((heard - sent) ** 2).mean() < .001 * (sent ** 2).mean(), '30 dB under the sound'


def test_colours_come_back(tmp_path):
    x = torch.zeros(5, 3, 32, 96, dtype=torch.uint8)
    for k, colour in enumerate([(200, 40, 30), (30, 180, 60), (40, 60, 220)]): x[..., 32 * k:32 * k + 32] = torch.tensor(colour)[:, None, None]
    path = save_film(tmp_path / 'a.mp4', x, noise(8820), 25)
    for k, across in enumerate((0, .5, 1)):
        back = frames_at(path, [.05], 32, across)[0, :, 4:-4, 4:-4].reshape(3, -1).mean(1)
        assert np.abs(back - x[0, :, 0, 32 * k + 16].numpy()).max() < 4


def test_a_browser_can_play_it(tmp_path):
    path = save_film(tmp_path / 'a.mp4', soft(10, 32, 32), noise(17640), 25)
    data = path.read_bytes()
    assert data[4:8] == b'ftyp' and 0 < data.find(b'moov') < data.find(b'mdat')
    with av.open(str(path)) as film:
        video, audio = film.streams.video[0].codec_context, film.streams.audio[0].codec_context
        assert (video.name, video.pix_fmt, audio.name) == ('h264', 'yuv420p', 'aac') and video.width % 2 == video.height % 2 == 0
        assert (video.colorspace, video.color_range) == (1, 1), 'the file says how its colours are meant'


def test_frames_may_come_one_by_one(tmp_path):
    alive = []
    def frames():
        for k in range(30):
            alive.append(k)
            yield soft(1, 32, 32, k)[0]
    path = save_film(tmp_path / 'a.mp4', frames(), noise(30 * 1764), 25)
    assert abs(film_facts(path).seconds - 1.2) < .05 and len(alive) == 30


def test_whole_or_not_at_all(tmp_path):
    def frames():
        yield soft(1, 32, 32)[0]
        raise RuntimeError('out of ideas')
    with pytest.raises(RuntimeError): save_film(tmp_path / 'a.mp4', frames(), noise(5000))
    assert 'there are no frames' in refused(save_film, tmp_path / 'a.mp4', [], noise(5000))
    assert 'NaN' in refused(save_film, tmp_path / 'a.mp4', soft(2, 32, 32), torch.tensor([float('nan')]))
    assert 'empty' in refused(save_film, tmp_path / 'a.mp4', soft(2, 32, 32), torch.zeros(0))
    assert 'mp4' in refused(save_film, tmp_path / 'a.gif', soft(2, 32, 32), noise(5000))
    assert 'does not exist' in refused(save_film, tmp_path / 'no' / 'a.mp4', soft(2, 32, 32), noise(5000))
    assert not list(tmp_path.iterdir())


# times

def test_an_uneven_film_shows_what_is_shown(tmp_path):
    times = np.cumsum(np.r_[0, np.random.default_rng(0).uniform(.017, .12, 39)]).round(3)
    path = write_tracks(tmp_path / 'a.mp4', [(greys(40), times)], [(sine(times[-1] + .1), 44_100, 0)])
    facts = film_facts(path)
    assert 'ms apart' in facts.odd[0] and 'a.mp4' in facts.odd[0]
    ask = np.arange(0, times[-1], .037)
    shown = np.searchsorted(times, ask + 1e-3, side='right') - 1
    assert np.abs(grey_of(frames_at(path, ask, 32)) - grey_of(greys(40))[shown]).max() < 1.9


def test_frames_from_the_middle_are_those_from_the_beginning(tmp_path):
    path = plain(tmp_path / 'a.mp4', 100, group=40)
    times = np.arange(0, 3.9, .1)
    whole = frames_at(path, times, 32)
    for first in (7, 16, 25, 38): assert np.array_equal(frames_at(path, times[first:], 32), whole[first:])
    assert np.abs(grey_of(whole) - grey_of(greys(100))[np.floor(times * 25 + .03).astype(int)]).max() < 1.9
    assert np.array_equal(frames_at(path, [3.5, 60.], 32)[1], frames_at(path, [3.99], 32)[0]), 'the last frame stays'


def test_sound_that_begins_late_is_placed(tmp_path):
    wave = noise(52_920)[None].numpy()
    path = write_tracks(tmp_path / 'a.mp4', [(greys(50), np.arange(50) / 25)], [(wave, 44_100, .4)])
    heard = film_sound(path, 1.6) / 32768
    assert np.abs(heard[:int(.37 * 44_100)]).max() < .01
    assert abs(lag_of(wave[0], heard, 30_000) - .4 * 44_100) <= 45, 'an mp4 says in milliseconds when a track begins'
    early = write_tracks(tmp_path / 'b.mp4', [(greys(50), np.arange(50) / 25)], [(wave, 44_100, 0)])
    assert abs(film_facts(early).seconds - 1.2) < .05 and 'the rest is left out' in film_facts(early).odd[0]


# what cameras do

CORNERS = {0: 'TL', 90: 'TR', 180: 'BR', 270: 'BL'}   # where the upper left corner goes

@pytest.mark.parametrize('degrees', CORNERS)
def test_a_turned_phone(tmp_path, degrees):
    x = np.zeros((30, 32, 64, 3), np.uint8)
    x[:, :16, :32] = 240
    path = turn(write_tracks(tmp_path / 'a.mp4', [(x, np.arange(30) / 25)], [(sine(1.2), 44_100, 0)]), degrees)
    facts = film_facts(path)
    assert facts.size == ((32, 64) if degrees % 180 else (64, 32)) and bool(facts.odd) == bool(degrees)
    found = {name: frames_at(path, [.2], 32, across)[0, 0, y, z] for name, across, y, z in
             (('TL', 0, 3, 3), ('TR', 0 if degrees % 180 else 1, 3, 28), ('BL', 1 if degrees % 180 else 0, 28, 3), ('BR', 1, 28, 28))}
    bright = [name for name, value in found.items() if value > 200]
    assert bright == [CORNERS[degrees]]


def test_pixels_that_are_not_square(tmp_path):
    path = plain(tmp_path / 'a.mp4', aspect=2)
    assert film_facts(path).size == (96, 32)


@pytest.mark.parametrize('rate', [48_000, 32_000, 22_050])
def test_stereo_of_other_rates(tmp_path, rate):
    path = write_tracks(tmp_path / 'a.mp4', [(greys(50), np.arange(50) / 25)], [(sine(2, rate, 500., 2), rate, 0)])
    facts, heard, sent = film_facts(path), film_sound(path) / 32768, sine(2, 44_100, 500.)[0]
    assert facts.sound == (rate, 2)
    heard = heard[4000:80_000]
    assert np.sqrt(((heard - sent[4000:80_000]) ** 2).mean()) < .02, 'in place to a part of a sample, and as loud'


def test_channels_that_cancel(tmp_path):
    wave = sine(2, channels=2) * np.array([[1], [-1]], np.float32)
    path = write_tracks(tmp_path / 'a.mp4', [(greys(50), np.arange(50) / 25)], [(wave, 44_100, 0)])
    assert np.abs(film_sound(path)[4000:40_000]).max() > 10_000


def test_several_tracks(tmp_path):
    two = [(sine(2, hz=300.), 44_100, 0), (sine(2, hz=900.), 44_100, 0)]
    path = write_tracks(tmp_path / 'a.mkv', [(greys(50), np.arange(50) / 25), (greys(50)[::-1], np.arange(50) / 25)], two)
    odd = ' '.join(film_facts(path).odd)
    assert '2 tracks of pictures' in odd and '2 tracks of sound' in odd
    spectrum = np.abs(np.fft.rfft(film_sound(path, 1.5)[4000:48_100].astype(float)))
    assert spectrum.argmax() in (300, 900), 'one of them, not both'
    assert spectrum[300] > 50 * spectrum[900] or spectrum[900] > 50 * spectrum[300]


# what is broken

def test_what_is_no_film(tmp_path):
    (tmp_path / 'text.mp4').write_text('no film at all ' * 100)
    (tmp_path / 'empty.mp4').touch()
    silent = write_tracks(tmp_path / 'mute.mp4', [(greys(30), np.arange(30) / 25)])
    heard = write_tracks(tmp_path / 'dark.mp4', sounds=[(sine(1), 44_100, 0)])
    for path, words in ((silent, 'holds no sound'), (heard, 'holds no picture'), (tmp_path / 'text.mp4', 'cannot be read as a film'), (tmp_path / 'empty.mp4', 'empty'),
                        (tmp_path, 'is a folder'), (tmp_path / 'none.mp4', 'no such film'), (plain(tmp_path / 'short.mp4', 10), 'at least half a second')):
        for read in (film_facts, film_sound): assert words in refused(read, path) and str(path) in refused(read, path)
    quiet = write_tracks(tmp_path / 'quiet.mp4', [(greys(30), np.arange(30) / 25)], [(0 * sine(1.2), 44_100, 0)])
    assert 'silent' in refused(film_sound, quiet)


@pytest.mark.parametrize('front', [True, False], ids=['index in front', 'index at the end'])
def test_a_film_cut_short_is_refused_or_told(tmp_path, front):
    path = plain(tmp_path / 'a.mp4', 100, options=dict(movflags='faststart') if front else {})
    data = path.read_bytes()
    for share in (.01, .1, .3, .5, .7, .95):
        path.write_bytes(data[:int(share * len(data))])
        try: facts = film_facts(path)
        except BadFile as e: assert 'a.mp4' in str(e); continue
        assert front and share > .8 and facts.seconds < 4
        assert len(film_sound(path)) == round(facts.seconds * 44_100) and len(frames_at(path, np.arange(0, facts.seconds, .1), 32))


@pytest.mark.parametrize('seed', range(6))
def test_a_damaged_film_is_read_or_refused(tmp_path, seed):
    path, rng = plain(tmp_path / 'a.mp4', 100), np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for at in rng.integers(100, len(data) - 100, 10): data[at:at + 40] = rng.bytes(40)
    path.write_bytes(bytes(data))
    try:
        facts = film_facts(path)
        assert frames_at(path, np.arange(0, facts.seconds, .1), 32).shape[1:] == (3, 32, 32)
        assert len(film_sound(path)) == round(facts.seconds * 44_100)
    except BadFile as e: assert 'a.mp4' in str(e) and '\n' not in str(e)


def test_damaged_pictures_are_counted(tmp_path):
    path = plain(tmp_path / 'a.mp4', 100)
    data, at = bytearray(path.read_bytes()), []
    with av.open(str(path)) as film: at = [(p.pos, p.size) for p in film.demux(video=0) if p.size]
    for pos, size in at[30:40]: data[pos:pos + size] = bytes(size)
    path.write_bytes(bytes(data))
    pictures = frames_at(path, np.arange(0, 4, .1), 32, hurt=(hurt := []))
    assert hurt and len(pictures) == 40
    assert np.abs(grey_of(pictures[:11]) - grey_of(greys(100))[np.floor(np.arange(11) * 2.5 + .03).astype(int)]).max() < 1.9


def test_a_long_film_is_not_held_in_memory(tmp_path):
    "60 s of 192 × 144 pixels are 124 MB, their sound 5 MB; 64 moments of 64 pixels are less than 1."
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (4, 144, 192, 3), dtype=np.uint8)
    path = write_tracks(tmp_path / 'a.mp4', [(base[np.arange(1500) % 4], np.arange(1500) / 25)], [(sine(60), 44_100, 0)])
    program = f'''
import resource, numpy as np
from avgen_nb.mp4 import film_sound, frames_at
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
frames_at({str(path)!r}, np.arange(5) / 10)
before = peak()
for first in (0, 25, 50): frames_at({str(path)!r}, first + np.arange(64) / 10)
print(peak() - before)
film_sound({str(path)!r}, out={str(tmp_path / 'wave.npy')!r})
print(peak() - before)
'''
    out = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) < 30 and float(out[1]) < 45, out
    assert len(np.load(tmp_path / 'wave.npy')) == 60 * 44_100
