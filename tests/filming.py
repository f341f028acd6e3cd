"Films that the tests write by hand: any times, any tracks, turned, cut and damaged."
import struct
from fractions import Fraction

import av
import numpy as np

TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}   # a b c d of a clockwise turn, y downwards


def greys(n, size=(32, 48)):
    "n frames, uint8 (n, H, W, 3), of which number k has the grey 20 + 4 k (mod 216)."
    return np.broadcast_to((20 + 4 * np.arange(n) % 216).astype(np.uint8)[:, None, None, None], (n, *size, 3))


def grey_of(pictures): return np.asarray(pictures).reshape(len(pictures), -1).mean(1)


def sine(seconds, rate=44_100, hz=440., channels=1, level=.5):
    t = np.arange(round(seconds * rate)) / rate
    return np.repeat(level * np.sin(2 * np.pi * hz * t)[None], channels, 0).astype(np.float32)


def write_tracks(path, videos=(), sounds=(), aspect=None, options=None, group=12):
    """A film of tracks of pictures, (frames uint8 (n, H, W, 3), times (n,) seconds), and tracks of sound,
    (wave float32 (channels, n), samples a second, second at which it begins)."""
    with av.open(str(path), 'w', options=options or {}) as film:
        seen = [film.add_stream('libx264', rate=25, options=dict(crf='8', preset='ultrafast', g=str(group))) for _ in videos]
        heard = [film.add_stream('aac', rate=rate, layout={1: 'mono', 2: 'stereo'}[len(wave)]) for wave, rate, _ in sounds]
        packets = []
        for stream, (frames, times) in zip(seen, videos):
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], 'yuv420p'
            if aspect: stream.codec_context.sample_aspect_ratio = aspect
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            for x, t in zip(frames, times):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(x), format='rgb24')
                frame.pts, frame.time_base = round(1000 * t), Fraction(1, 1000)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for stream, (wave, rate, start) in zip(heard, sounds):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format='fltp', layout={1: 'mono', 2: 'stereo'}[len(wave)])
            part.sample_rate, part.pts, part.time_base = rate, round(start * rate), Fraction(1, rate)
            packets += stream.encode(part) + stream.encode(None)
        for p in sorted(packets, key=lambda p: float(p.dts * p.time_base)): film.mux(p)
    return path


def turn(path, degrees):
    "Write into a film's track of pictures by how many degrees, clockwise, it is to be turned to be shown."
    data, (a, b, c, d) = bytearray(path.read_bytes()), TURNS[degrees]
    at = data.find(b'tkhd') + 4
    at += 4 + (32 if data[at] else 20) + 16   # version and flags; times, track, duration; layer, volume
    assert struct.unpack('>9i', data[at:at + 36])[0] == 65536
    data[at:at + 36] = struct.pack('>9i', a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def plain(path, n=50, rate=25, seconds=None, size=(32, 48), **options):
    "A film of greys with a tone."
    return write_tracks(path, [(greys(n, size), np.arange(n) / rate)], [(sine(seconds or n / rate), 44_100, 0)], **options)
