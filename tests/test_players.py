"""Players: the hard cases. What the lesson shows plainly is checked here densely."""
import math, subprocess, sys
from dataclasses import replace

import numpy as np
import pytest

from avgen_nb.players import (INSTRUMENTS, KEYPOINTS, RANGES, Moment, camera, draw_frame, draw_look, draw_player, elbow,
                              fingers, keypoints, lowered, pose, stop, stroke, valves)

REST = Moment()


def moments(name, n=3):
    low, high = RANGES[name]
    return [Moment(low + (high - low)*i/(n - 1), i/(n - 1), 1 - i/(n - 1), .37*i) for i in range(n)]


@pytest.mark.parametrize('name', INSTRUMENTS)
def test_a_picture_is_a_pure_function(name):
    look, m = draw_look(name, 3), moments(name)[1]
    first = draw_player(name, m, look)
    draw_player(name, REST, draw_look(name, 4))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert (first == draw_player(name, m, draw_look(name, 3))).all()
    assert first.std() > 20


def test_two_processes_draw_the_same():
    code = ("import hashlib; from avgen_nb.players import *; "
            "print(hashlib.sha256(b''.join(draw_player(n, Moment(60., .5, .3, .2), draw_look(n, 5)).tobytes() for n in INSTRUMENTS)).hexdigest())")
    a, b = (subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert a == b and len(a.strip()) == 64


@pytest.mark.parametrize('name', INSTRUMENTS)
def test_every_song_looks_different(name):
    m = moments(name)[1]
    shots = [draw_player(name, m, draw_look(name, s)).astype(int) for s in range(6)]
    assert min(abs(a - b).mean() for i, a in enumerate(shots) for b in shots[:i]) > 8


@pytest.mark.parametrize('name', INSTRUMENTS)
def test_pose_follows_the_note(name):
    look, (low, high) = draw_look(name, 1), RANGES[name]
    base = draw_player(name, Moment(low + .1, .5, .3, 0.), look, 128).astype(int)
    for other in (Moment(high - 1.4, .5, .3, 0.), Moment(low + .1, 1., .3, .25), Moment(math.nan, .5, .3, 0.)):
        assert (abs(draw_player(name, other, look, 128) - base).max(-1) > 30).sum() > 20


@pytest.mark.parametrize('name', INSTRUMENTS)
@pytest.mark.parametrize('moment', [REST, Moment(-5.), Moment(200., 1., 1., 99.), Moment(math.inf, 0., 0., -3.)])
def test_no_moment_is_too_odd(name, moment):
    look = draw_look(name, 2)
    assert np.isfinite(keypoints(name, moment, look)).all()
    assert draw_player(name, moment, look).any()


@pytest.mark.parametrize('name', INSTRUMENTS)
def test_keypoints_are_the_geometry(name):
    look = draw_look(name, 7)
    for m in moments(name):
        k, P, (scale, origin) = keypoints(name, m, look), pose(name, m, look), camera(look, 1.)
        assert k.shape == (len(KEYPOINTS), 2) and k.dtype == np.float32 and len(KEYPOINTS) <= 14
        for (x, y), point in zip(k, KEYPOINTS): assert abs(complex(x, y) - (P[point]*scale + origin)) < 1e-5
        inside = ((k > -.15) & (k < 1.15)).all(1)
        assert inside.mean() > .8 and inside[KEYPOINTS.index('left_hand')] and inside[KEYPOINTS.index('right_hand')]


@pytest.mark.parametrize('name', INSTRUMENTS)
def test_a_hand_is_where_its_keypoint_says(name):
    "Give the player green hands: the green lies round the keypoints of hands, elbows and head, not elsewhere."
    look = replace(draw_look(name, 8), skin=(0, 255, 0), light=(1, 1, 1), shirt=(90, 40, 40), second=(90, 40, 40), sleeves=True,
                   trousers=(60, 30, 30), glasses=False, beard=False, style='bald')
    m = moments(name)[1]
    x = draw_player(name, m, look, 128).astype(int)
    k = dict(zip(KEYPOINTS, keypoints(name, m, look)*128))
    green = (x[..., 1] > 110) & (x[..., 0] < 90) & (x[..., 2] < 110)
    rows, cols = np.nonzero(green)
    for side in ('left', 'right'):
        assert np.hypot(rows - k[side + '_hand'][1], cols - k[side + '_hand'][0]).min() < 5


@pytest.mark.parametrize('side', [1, -1])
def test_bones_keep_their_length_in_space(side):
    rng = np.random.default_rng(0)
    for _ in range(300):
        shoulder, hand = complex(*rng.random(2)), complex(*rng.random(2))
        depth, pole = rng.random()*.3, complex(*rng.normal(size=2))*side
        e = elbow(shoulder, hand, depth, pole, .3, .25)
        assert abs(e - shoulder) <= max(.3, abs(hand - shoulder) + depth) + 1e-9   # seen from the front, never longer
        reach = math.hypot(abs(hand - shoulder), depth)
        if reach > .55: assert abs((e - shoulder) - (hand - shoulder)*.3/.55) < 1e-4


def test_an_elbow_never_jumps():
    path = [.5 + .5j + .3*np.exp(1j*t) for t in np.linspace(0, 6.28, 400)]
    e = np.array([elbow(.5 + .5j, h, .2, -.5 + 1j) for h in path])
    assert abs(np.diff(e)).max() < .02


def test_elbow_at_the_shoulder_itself():
    assert math.isfinite(abs(elbow(0j, 0j, 0., 1j)))


@pytest.mark.parametrize('name', ['violin', 'viola', 'cello', 'double_bass'])
def test_higher_is_nearer_to_the_bridge(name):
    stops = [stop(name, p) for p in np.arange(*RANGES[name], .25)]
    assert (np.diff(stops) > 0).all() and 0 <= stops[0] and stops[-1] < .7


def test_bow_and_loudness():
    for phase in np.linspace(0, 1, 11):
        soft, loud = (stroke(Moment(60., v, phase)) for v in (0., 1.))
        assert 0 <= loud <= 1 and abs(soft - .5) <= abs(loud - .5)


@pytest.mark.parametrize('name', ['trombone', 'trumpet', 'tuba', 'horn'])
def test_slide_and_valves_lie_within_six_semitones(name):
    low, high = RANGES[name]
    for p in np.arange(low, high + .01, .25):
        assert 0 <= lowered(name, p) <= 6 and len(valves(name, p)) == 3
    assert lowered(name, math.nan) == 0


def test_slide_goes_out_by_equal_steps():
    look = draw_look('trombone', 1)
    at = [keypoints('trombone', Moment(float(p), .5, .5), look)[KEYPOINTS.index('right_hand')] for p in range(52, 45, -1)]
    out = [np.linalg.norm(a - at[6]) for a in at]             # 52 is position 2, 47 position 7, 46 closed
    assert np.allclose(np.diff(out[:6]), np.diff(out[:6]).mean(), atol=1e-4) and out[0] < out[5]


@pytest.mark.parametrize('name', ['flute', 'oboe', 'clarinet', 'bassoon', 'sax'])
def test_six_fingers_at_most(name):
    low, high = RANGES[name]
    counts = [fingers(name, p) for p in np.arange(low, high, .5)]
    assert counts[0] == 6 and min(counts) >= 0 and max(counts) == 6 and len(set(counts)) == 7
    assert fingers(name, math.nan) == 6


@pytest.mark.parametrize('width, height', [(160, 90), (90, 64), (64, 64), (427, 240)])
def test_the_square_is_the_middle_of_the_frame(width, height):
    look, m = draw_look('sax', 3), Moment(60., .7, .2, .4)
    frame = draw_frame('sax', m, look, width, height)
    assert frame.shape == (height, width, 3)
    if (width - height) % 2 == 0:
        cut = (width - height)//2
        assert (frame[:, cut:cut + height] == draw_player('sax', m, look, height)).all()


def test_large_and_small_agree():
    look, m = draw_look('cello', 5), Moment(55., .6, .4, .2)
    large = draw_player('cello', m, look, 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert abs(large - draw_player('cello', m, look)).mean() < 9


def test_one_look_plays_everything():
    look = draw_look('flute', 1)
    for name in INSTRUMENTS: assert draw_player(name, Moment(60.), look).any()


@pytest.mark.parametrize('call', [lambda: draw_look('kazoo', 0), lambda: draw_player('kazoo', REST, draw_look('oboe', 0)),
                                  lambda: keypoints('Violin', REST, draw_look('oboe', 0))])
def test_unknown_instrument(call):
    with pytest.raises(ValueError, match='choose one of'): call()


def test_too_small():
    with pytest.raises(ValueError, match='at least 8x8'): draw_player('horn', REST, draw_look('horn', 0), 4)


def test_import_is_light():
    code = "import sys, avgen_nb.players; print([m for m in ('torch', 'matplotlib', 'librosa', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'


@pytest.mark.slow
def test_pixels_alone_do_not_tell_the_instrument():
    rng = np.random.default_rng(0)
    def batch(seeds, each):
        x, y = [], []
        for label, name in enumerate(INSTRUMENTS):
            for s in seeds:
                look = draw_look(name, s)
                x += [draw_player(name, Moment(rng.uniform(*RANGES[name]), *rng.random(3)), look) for _ in range(each)]
                y += [label]*each
        return np.float32(x).reshape(len(x), -1), np.array(y)
    (x, y), (u, v) = batch(range(12), 4), batch(range(100, 106), 2)
    right = (y[((x**2).sum(1) - 2*u @ x.T).argmin(1)] == v).mean()
    assert .3 < right < .9
