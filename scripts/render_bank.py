#!/usr/bin/env python3
"""Render the note bank of the built-in orchestra from the FluidR3 GM sound font.

    apt-get install fluidsynth fluid-soundfont-gm
    python scripts/render_bank.py            # writes avgen_nb/bank/

One Ogg Vorbis file per voice holds all its notes, one slot after the other, and `bank.json` says which is where.
Each note is rendered dry (no reverb, no chorus) in two dynamics, the soft one darkened, tuned to its name within a few cents,
brought to one loudness, and its pitch is measured again in the file that ships.
"""
import argparse, json, struct, subprocess, tempfile
from pathlib import Path
import numpy as np, soundfile as sf

RATE, HOLD, SLOT = 44100, 1.45, 1.7                # samples per second; seconds a key is down; seconds per slot
VELOCITIES = (48, 112)                             # the font's soft and loud timbre
DARK = 4                                           # dB per octave: the font's soft notes are too bright beside recordings of soft playing
STEP = 2                                           # semitones between neighbouring notes
VOICES = {                                         # voice: (instrument, General MIDI program from 0, lowest, highest note)
    'bassoon': ('bassoon', 70, 34, 74), 'cello': ('cello', 42, 36, 78), 'clarinet': ('clarinet', 71, 50, 92),
    'double_bass': ('double_bass', 43, 28, 56), 'flute': ('flute', 73, 59, 97), 'horn': ('horn', 60, 36, 78),
    'oboe': ('oboe', 68, 58, 92), 'alto_sax': ('sax', 65, 49, 81), 'tenor_sax': ('sax', 66, 44, 76),
    'trombone': ('trombone', 57, 38, 74), 'trumpet': ('trumpet', 56, 54, 88), 'tuba': ('tuba', 58, 26, 62),
    'viola': ('viola', 41, 48, 86), 'violin': ('violin', 40, 55, 99)}


def midi_file(program, keys, velocity):
    "A one-track MIDI file: `keys` one after the other, a slot each, 960 ticks a second."
    def number(n):                                 # MIDI's variable-length number
        out = [n & 127]
        while n := n >> 7: out.insert(0, n & 127 | 128)
        return bytes(out)
    hold, rest = round(HOLD * 960), round((SLOT - HOLD) * 960)
    track = bytes([0, 0xC0, program])
    for k, key in enumerate(keys):
        track += number(rest if k else 0) + bytes([0x90, key, velocity]) + number(hold) + bytes([0x80, key, 0])
    track += number(rest) + b'\xff\x2f\x00'
    return b'MThd' + struct.pack('>IHHH', 6, 0, 1, 480) + b'MTrk' + struct.pack('>I', len(track)) + track


def render(font, program, keys, velocity):
    "The notes as float32 (len(keys), slot): left channel, dry."
    with tempfile.TemporaryDirectory() as d:
        mid, wav = Path(d) / 'notes.mid', Path(d) / 'notes.wav'
        mid.write_bytes(midi_file(program, keys, velocity))
        subprocess.run(['fluidsynth', '-ni', '-q', '-g', '0.8', '-R', '0', '-C', '0', '-r', str(RATE), '-O', 'float',
                        '-F', str(wav), str(font), str(mid)], check=True, capture_output=True)
        sound, rate = sf.read(wav, dtype='float32')
    assert rate == RATE
    n = round(SLOT * RATE)
    sound = np.pad(sound[:, 0], (0, max(0, n * len(keys) - len(sound))))
    return sound[:n * len(keys)].reshape(len(keys), n)


def cents_off(note, key, rate=RATE):
    "How far a note is from the pitch of `key`, in cents: the peak of the difference function's dip (YIN) within a whole tone."
    x = note[round(.25 * rate):round(1.25 * rate)].astype(np.float64)
    want = rate / (440 * 2 ** ((key - 69) / 12))
    w = len(x) - 2 * int(want * 1.3) - 2
    power = np.abs(np.fft.rfft(x[:w], 2 * len(x)))
    cross = np.fft.irfft(np.conj(np.fft.rfft(x[:w], 2 * len(x))) * np.fft.rfft(x, 2 * len(x)))[:len(x) - w]
    energy = np.concatenate([[0], np.cumsum(x * x)])
    d = (energy[w] + energy[w:][:len(cross)] - energy[:len(cross)] - 2 * cross)
    a, b = int(want * 2 ** (-1.2 / 12)), int(np.ceil(want * 2 ** (1.2 / 12)))
    k = a + int(np.argmin(d[a:b + 1]))
    y0, y1, y2 = d[k - 1:k + 2]
    first = k + .5 * (y0 - y2) / (y0 - 2 * y1 + y2 + 1e-12)
    return 1200 * np.log2(want / first)


def retune(note, cents):
    "Play a note that is `cents` too high at the speed that brings it to its name (cubic interpolation)."
    if abs(cents) < 1: return note
    p = np.arange(len(note)) * 2 ** (-cents / 1200)
    i = np.clip(np.floor(p).astype(int), 1, len(note) - 3); t = (p - i).astype(np.float32)
    a, b, c, d = note[i - 1], note[i], note[i + 1], note[i + 2]
    out = b + .5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return out * (p < len(note) - 2)


def darken(note, key):
    "A soft note as players play it: the font's, its harmonics above the first lowered by DARK dB per octave."
    spectrum = np.fft.rfft(note)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(note), 1 / RATE) / (440 * 2 ** ((key - 69) / 12)), 1))
    return np.fft.irfft(spectrum * 10 ** (-DARK * octaves / 20), len(note)).astype(np.float32)


def level(note):
    "The note at -20 dB (root mean square of its sounding part), its last 10 ms faded."
    x = note[round(.1 * RATE):round(1.3 * RATE)]
    out = note * np.float32(.1 / (np.sqrt(np.mean(x ** 2)) + 1e-9))
    out[-441:] *= np.linspace(1, 0, 441, dtype=np.float32)
    return np.clip(out, -.99, .99)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--font', default='/usr/share/sounds/sf2/FluidR3_GM.sf2')
    p.add_argument('--out', default=Path(__file__).parents[1] / 'avgen_nb' / 'bank', type=Path)
    p.add_argument('--quality', default=.5, type=float, help='0 (small) to 1 (best) of Ogg Vorbis')
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    index, offs = {}, []
    for voice, (instrument, program, low, high) in VOICES.items():
        keys = list(range(low, high + 1, STEP))
        notes = []
        for velocity in VELOCITIES:
            raw = render(a.font, program, keys, velocity)
            raw = [retune(x, cents_off(x, k)) for x, k in zip(raw, keys)]
            notes += [level(darken(x, k) if velocity == VELOCITIES[0] else x) for x, k in zip(raw, keys)]
        path = a.out / f'{voice}.ogg'
        with sf.SoundFile(path, 'w', RATE, 1, format='OGG', subtype='VORBIS', compression_level=1 - a.quality) as f:
            for x in notes:                        # libsndfile crashes when given minutes of Vorbis in one call
                for part in np.array_split(x, 20): f.write(part)
        back = sf.read(path, dtype='float32')[0].reshape(len(VELOCITIES), len(keys), -1)
        off = [[round(float(cents_off(x, k)), 1) for x, k in zip(row, keys)] for row in back]
        offs += sum(off, [])
        index[voice] = dict(instrument=instrument, program=program, file=path.name, keys=keys, velocities=VELOCITIES, cents=off)
        print(f'{voice:12} {len(keys)} notes x {len(VELOCITIES)}, {path.stat().st_size // 1000} kB, worst {max(map(abs, sum(off, []))):.0f} cents')
    head = dict(source='FluidR3 GM sound font, (c) 2000-2002, 2008 Frank Wen, MIT licence: see LICENSE.txt', rate=RATE, slot=SLOT, hold=HOLD, dark=DARK)
    (a.out / 'bank.json').write_text(json.dumps(dict(head, voices=index)) + '\n')
    size = sum(f.stat().st_size for f in a.out.iterdir())
    print(f'{len(offs)} notes, {np.mean(np.abs(offs) < 30):.1%} within 30 cents, {size / 1e6:.1f} MB')


if __name__ == '__main__': main()
