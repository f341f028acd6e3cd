"Moments in order: the score is what is played, every event has one frame, flow finds steps that are known."
import itertools

import numpy as np
import pytest
import torch

from avgen_nb.orchestra import BOWED, Plan
from avgen_nb.pairs import orchestra_clips
from avgen_nb.players import KEYPOINTS
from avgen_nb.songs import (Score, SongClips, beats_in, counted_phrases, f_measure, flow_at, flow_picture, frame_marks, grey, heard_beats, heard_onsets, hits,
                            lucas_kanade, optical_flow, pull_back, score_of, show_strip, song_clips, window_sum)


# the score

@pytest.mark.parametrize('plan', [Plan('small', 0), Plan('small', 5), Plan('exam', 2017)], ids=str)
def test_the_score_is_of_the_notes_that_are_played(plan, monkeypatch):
    from avgen_nb import orchestra
    monkeypatch.setattr(orchestra, 'perform', lambda instrument, notes, seed, seconds=4.5: np.zeros(1, np.float32))   # compose, but do not play
    for number in range(0, len(plan), 1 if plan.size == 'small' else 5):
        notes, s = plan.song(number).notes, score_of(plan, number)
        assert np.array_equal(s.onsets, [n.start for n in notes]) and np.array_equal(s.pitch, [n.pitch for n in notes])
        assert np.array_equal(s.slurs, [n.slur for n in notes]) and np.allclose(s.ends, [n.start + n.length for n in notes])
        assert (np.diff(s.beats) > 0).all() and len(s.beats) and s.beats[0] == s.onsets[0] and s.beats[-1] < orchestra.SIZES[plan.size]['seconds']


@pytest.mark.parametrize('seed', range(8))
def test_beats_are_the_whole_counts(seed):
    parts, beat = counted_phrases('viola', seed, 12.)
    assert 60 / 138 <= beat <= 60 / 58
    for notes, counts in parts:
        beats, place = beats_in(notes, counts, beat), np.r_[0, np.cumsum(counts)]
        assert len(beats) == round(sum(counts)) and (np.diff(beats) > 0).all()
        for note, p in zip(notes, place):
            if abs(p - round(p)) < 1e-9: assert abs(beats[round(p)] - note.start) < 1e-9, 'a note on a beat'
        if all(.15 < c * beat < 1.2 for c in counts): assert np.allclose(np.diff(beats), beat), 'a phrase without cut notes is a metronome'


# frames

@pytest.mark.parametrize('rate', [5, 10, 25, 29.97, 100])
def test_every_event_has_one_frame(rate):
    rng = np.random.default_rng(int(rate))
    for _ in range(20):
        first, T = rng.integers(0, 40), rng.integers(1, 60)
        times = (first + np.arange(T)) / rate
        onsets = np.unique(rng.choice(np.r_[rng.uniform(0, 4, 12), np.arange(80) / rate], 12))   # between frames and upon them
        slurs = rng.random(len(onsets)) < .5
        marks = frame_marks(Score(onsets, onsets, slurs, onsets, onsets[::2], 1.), times, rate)
        frame = np.floor(onsets * rate + 1e-6).astype(int) - first
        for key, kept in (('onset', onsets < 99), ('slur', slurs), ('beat', np.arange(len(onsets)) % 2 == 0)):
            inside = frame[kept & (frame >= 0) & (frame < T)]
            assert np.array_equal(np.flatnonzero(marks[key]), np.unique(inside))
        for k, t in enumerate(times):
            before = onsets[onsets <= t + 1e-9]
            assert np.isnan(marks['since'][k]) if not len(before) else abs(marks['since'][k] - (t - before[-1])) < 1e-5


def test_clips_know_more_and_change_nothing():
    plain, ours = orchestra_clips('small', frames=12, rate=25)['test'], song_clips('small', frames=12, rate=25)['test']
    index = torch.tensor([0, 31, 200])
    a, b = plain.batch(index), ours.batch(index)
    assert torch.equal(a.picture, b.picture) and torch.equal(a.wave, b.wave) and torch.equal(a.motion, b.motion)
    assert all(torch.equal(v.nan_to_num(-1), b.truth[k].nan_to_num(-1)) for k, v in a.truth.items())
    assert set(b.truth) - set(a.truth) == {'onset', 'slur', 'beat', 'since'} and (b.truth['slur'] <= b.truth['onset']).all()
    assert plain.identity != ours.identity and ours.identity == song_clips('small', frames=12, rate=25)['test'].identity
    own = ours.only(('cello', 'oboe'))
    assert type(own) is SongClips and own.batch([0], pictures=False).picture is None and own.batch([0]).truth['onset'].shape == (1, 12)


def test_onsets_of_frames_add_up_to_the_song():
    clips = song_clips('small', frames=37, rate=25)['train']
    for i in range(0, len(clips), 11):
        if clips.first[i]: continue
        s = score_of(clips.plan, clips.song[i])
        assert clips.batch([i], pictures=False).truth['onset'].sum() == (s.onsets < 37 / 25).sum()


# estimates

def test_hits_are_as_many_as_can_be():
    rng = np.random.default_rng(0)
    def most(found, true, within):   # by trying all
        best = 0
        for n in range(1, min(len(found), len(true)) + 1):
            for a in itertools.combinations(range(len(found)), n):
                if any(all(abs(found[i] - true[j]) <= within for i, j in zip(a, b)) for b in itertools.permutations(range(len(true)), n)): best = n; break
        return best
    for _ in range(60):
        found, true = rng.uniform(0, .5, rng.integers(0, 5)), rng.uniform(0, .5, rng.integers(0, 5))
        good, met = hits(found, true)
        assert good.sum() == met.sum() == most(np.sort(found), np.sort(true), .05)


def test_f_measure():
    assert f_measure(torch.tensor([[5., 5, 5], [0, 4, 4], [2, 4, 2]])).tolist() == pytest.approx([1, 0, 2 / 3])


def test_silence_has_neither():
    assert len(heard_onsets(np.zeros(44100))) == len(heard_beats(np.zeros(44100))) == 0


def test_notes_are_heard_where_they_begin():
    wave = np.zeros(3 * 44100, np.float32)
    for k, s in enumerate((.4, 1., 1.7, 2.3)):
        t = np.arange(int(.5 * 44100)) / 44100
        wave[int(s * 44100):][:len(t)] += .3 * np.exp(-6 * t) * np.sin(2 * np.pi * 220 * (k + 2) * t)
    assert hits(heard_onsets(wave), [.4, 1., 1.7, 2.3])[1].sum() >= 3


# flow

D = torch.fft.fftfreq(64)

def spots(seed):
    x = torch.fft.fft2(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed))) * torch.exp(-200 * (D[:, None] ** 2 + D ** 2))
    x = torch.fft.ifft2(x).real
    return (x - x.min()) / (x.max() - x.min())

def moved(x, u, v): return torch.fft.ifft2(torch.fft.fft2(x) * torch.exp(-2j * torch.pi * (D * u + D[:, None] * v))).real


@pytest.mark.parametrize('step', [(.5, 0), (0, -.5), (1.2, .7), (-3, 2), (0, 5), (-4, -4)], ids=str)
@pytest.mark.parametrize('seed', [0, 1])
def test_flow_finds_a_known_step(seed, step):
    a = spots(seed)
    flow = optical_flow(a, moved(a, *step))[0, :, 12:-12, 12:-12]
    assert (flow.flatten(1).median(1).values - torch.tensor(step)).abs().max() < .1
    back = optical_flow(moved(a, *step), a)[0, :, 12:-12, 12:-12]
    assert (back.flatten(1).median(1).values + torch.tensor(step)).abs().max() < .15


def test_flow_of_nothing_is_nothing():
    a = spots(0)
    assert optical_flow(a, a).abs().max() < 1e-4
    flat = torch.full((1, 1, 40, 56), .3)
    assert lucas_kanade(flat, flat + .2).abs().max() == 0 and optical_flow(flat, flat).shape == (1, 2, 40, 56)


def test_a_batch_is_its_pictures():
    a, b = torch.cat([spots(0), spots(1)]), torch.cat([moved(spots(0), 1, 0), moved(spots(1), 0, -1)])
    both = optical_flow(a, b)
    assert all(torch.allclose(both[k:k + 1], optical_flow(a[k:k + 1], b[k:k + 1]), atol=1e-4) for k in (0, 1))


def test_only_what_moves_moves():
    "A square that goes three pixels to the right over a still ground."
    a = .2 * spots(3)
    b = a.clone()
    a[..., 18:46, 14:42], b[..., 18:46, 17:45] = .5 + .5 * spots(4)[..., 18:46, 14:42], .5 + .5 * spots(4)[..., 18:46, 14:42]
    flow = optical_flow(a, b)[0]
    assert (flow[0, 26:38, 24:36].median() - 3).abs() < .5 and flow[:, :8].abs().median() < .1 and flow[:, 56:].abs().median() < .1


def test_pull_back_goes_where_the_flow_points():
    x = torch.arange(35.).view(1, 1, 5, 7)
    flow = torch.tensor([1., 2]).view(1, 2, 1, 1).expand(1, 2, 5, 7)
    assert torch.allclose(pull_back(x, flow)[..., :3, :6], x[..., 2:, 1:], atol=1e-4)


def test_window_and_grey():
    one = torch.zeros(1, 1, 15, 15)
    one[..., 7, 7] = 1
    w = window_sum(one, 4)
    assert abs(w.sum() - 1) < 1e-5 and w[0, 0, 7, 7] == w.max() and torch.allclose(w, w.transpose(-1, -2)) and (w[..., :3, :] == 0).all()
    assert torch.allclose(window_sum(torch.ones(2, 3, 9, 9), 3), torch.ones(2, 3, 9, 9))
    assert torch.allclose(grey(torch.ones(2, 3, 4, 4)), torch.ones(2, 1, 4, 4)) and grey(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)).max() == 0


def test_flow_picture_and_place():
    flow = torch.zeros(1, 2, 8, 8)
    flow[0, 0, 2, 6], flow[0, 1, 2, 6] = 3., -2.
    assert flow_at(flow, torch.tensor([[6.5 / 8, 2.5 / 8]])).tolist() == [[3, -2]]
    picture = flow_picture(flow[0])
    assert picture.shape == (8, 8, 3) and picture[2, 6].max() == 255 and picture[0, 0].max() == 0


def test_flow_follows_a_bow():
    clip = song_clips('small', frames=30, rate=25, pixels=96)['test'].only(('violin',)).batch([0])
    hand, g = clip.truth['keypoints'][0, :, KEYPOINTS.index('right_hand')], grey(clip.picture[0])
    found, true = flow_at(optical_flow(g[:-1], g[1:]), hand[:-1]), hand.diff(dim=0) * 96
    assert 'violin' in BOWED and np.corrcoef(found.flatten(), true.flatten())[0, 1] > .8
    still = flow_at(optical_flow(g[:-1], g[1:]), torch.full_like(hand[:-1], .04))
    assert still.norm(dim=1).median() < .1 * true.norm(dim=1).median(), 'the curtain does not move'


# strips

def test_strips_are_drawn(monkeypatch):
    import matplotlib.pyplot as plt
    from avgen_nb import songs
    shown = []
    monkeypatch.setattr(songs, 'show_figure', shown.append)
    clip = song_clips('small', frames=20, rate=25)['test'].batch([5])
    show_strip(clip.picture[0], clip.times[0], clip.wave[0], score_of(Plan('small', 0), clip.song[0]), title='a')
    show_strip(clip.picture[0, :1], clip.times[0, :1], clip.wave[0])
    top, low = shown[0].axes
    edges = [image.get_extent()[:2] for image in top.images]
    assert all(abs(a[1] - b[0]) < 1e-9 for a, b in zip(edges, edges[1:])), 'pictures neither overlap nor leave gaps'
    assert {round(e[0], 6) for e in edges} <= {round(t, 6) for t in clip.times[0].tolist()}, 'a picture begins at its time'
    assert top.get_xlim() == low.get_xlim() == pytest.approx((float(clip.times[0, 0]), float(clip.times[0, 0]) + len(clip.wave[0]) / 44100))
    plt.close('all')
