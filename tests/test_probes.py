"Probes: the camera falls out, movement counts and levels do not, points go where pixels go, and scores of known generators."
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from avgen_nb.nets import PICTURE, SOUND, shake
from avgen_nb.pairs import Pairs
from avgen_nb.players import KEYPOINTS, Moment, draw_look, keypoints
from avgen_nb.probes import (REACH, body_frame, bootstrap, centre_of, correlation, cross_sums,
                             linear_readout, load_probe, midi_of, movement, pitch_error, plain_correlation, plain_sums, pose_correlation,
                             probe_for, reach, save_probe, score_pitch, score_pose, score_probe, score_read, shake_points, share_of, shuffled, train_probe,
                             where_known)
from avgen_nb.files import save_nets

CLASSES = ('cello', 'flute', 'trombone')
LAST = KEYPOINTS.index('left_hand')


def gen(seed=0): return torch.Generator().manual_seed(seed)


def toy_pairs(songs=4, windows=8, seed=0, first_song=0):
    "Three instruments with true keypoints of real players, and pictures that are noise."
    g, n = gen(seed), 3 * songs * windows
    label, song = torch.arange(n) % 3, first_song + torch.arange(n) // 3 // windows * 3 + torch.arange(n) % 3
    pitch = 45 + torch.randint(0, 20, (n,), generator=g).float() + 15 * (label == 1)
    pitch[::11] = torch.nan
    points = torch.stack([torch.from_numpy(keypoints(CLASSES[l], Moment(float(p)), draw_look(CLASSES[l], int(s)))) for l, p, s in zip(label, pitch, song)])
    every = torch.arange(n)
    pictures = torch.randint(0, 255, (n, 3, 64, 64), generator=g, dtype=torch.uint8)
    return Pairs(pictures, torch.rand(n, 1, 128, 44, generator=g) * 2 - 1, label, label, song, CLASSES, every, every,
                 truth=dict(pitch=pitch, keypoints=points))


class Oracle:
    "A probe that knows the answer by heart: the first band says which pair it is."
    def __init__(self, truth, modality, answer): self.truth, self.modality, self.answer = truth, modality, answer
    def read(self, x): return self.answer[self.which(x)]
    def which(self, x): return ((x[:, 0, 0, 0] + 1) * 5000).round().long()


def marked(pairs):
    "Pairs whose sounds say which pair they are."
    sounds = pairs.sounds.clone(); sounds[pairs.sound_of, 0, 0, 0] = torch.arange(len(pairs)) / 5000 - 1
    return replace(pairs, sounds=sounds)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path))
    return tmp_path


def test_body_frame_is_blind_to_the_camera_and_to_nothing_else():
    p = torch.rand(20, 12, 2, generator=gen())
    a, b = (torch.view_as_complex(x.contiguous()) for x in torch.rand(2, 20, 1, 2, generator=gen(1)))
    seen = torch.view_as_real(torch.view_as_complex(p) * (a + .3) + b)
    assert torch.allclose(body_frame(seen), body_frame(p), atol=2e-3)
    moved = p.clone(); moved[:, LAST] += .1
    assert (body_frame(moved) - body_frame(p)).abs()[:, LAST].min() > .05
    mirrored = p.clone(); mirrored[..., 0] = 1 - mirrored[..., 0]
    assert not torch.allclose(body_frame(mirrored), body_frame(p), atol=.01)


def test_body_frame_of_a_crumpled_pose_is_finite():
    assert torch.view_as_real(body_frame(torch.full((2, 12, 2), .5))).isfinite().all()


@pytest.mark.parametrize('name', [k for k in REACH if k != 'trombone'])
def test_a_string_players_reach_falls_as_the_pitch_rises_whoever_plays(name):
    from avgen_nb.players import RANGES
    low, high = RANGES[name]
    for seed in range(4):
        look = draw_look(name, seed)
        p = torch.stack([torch.from_numpy(keypoints(name, Moment(m), look)) for m in range(low, high, 3)])
        assert (reach(p, name).diff() < 0).all()


def test_a_trombones_reach_is_its_slide():
    from avgen_nb.players import lowered
    look, notes = draw_look('trombone', 1), range(41, 70)
    p = torch.stack([torch.from_numpy(keypoints('trombone', Moment(m), look)) for m in notes])
    slide = torch.tensor([float(lowered('trombone', m)) for m in notes])
    assert torch.corrcoef(torch.stack([reach(p, 'trombone'), slide]))[0, 1] > .99


def test_no_reach_for_fingers():
    with pytest.raises(ValueError, match='flute.*violin'): reach(torch.rand(2, 12, 2), 'flute')


def test_correlations_of_worlds_with_known_answers():
    g, songs = gen(), torch.arange(30).repeat_interleave(40)
    tune, level = torch.randn(1200, generator=g), 3 * torch.randn(30, generator=g)[songs]
    true = tune + level
    within = lambda x: correlation(cross_sums(x, true, songs).sum(0)).item()
    over = lambda x: plain_correlation(plain_sums(x, true, songs).sum(0)).item()
    other = 3 * torch.randn(30, generator=g)[songs]
    assert within(tune + other) > .999 and over(tune + other) < .5           # follows, another player
    assert abs(within(level)) < 1e-3 and over(level) > .9                    # a still picture that knows the register
    assert within(-tune) < -.999
    noisy = tune + torch.randn(1200, generator=g)
    assert abs(within(noisy) - .5**.5) < .05                                 # as much noise as movement
    assert over(noisy) == pytest.approx(torch.corrcoef(torch.stack([noisy, true]))[0, 1].item(), abs=1e-4)


def test_a_generator_that_never_moves_scores_zero_and_not_nan():
    songs = torch.arange(4).repeat_interleave(5)
    still = torch.rand(1, 12, 2, generator=gen()).expand(20, -1, -1).contiguous()
    p = torch.rand(20, 12, 2, generator=gen(1))
    assert pose_correlation(still, p, songs, 'cello') == pytest.approx(0, abs=1e-3)


def test_songs_may_have_any_numbers_and_order():
    x, y = torch.rand(2, 60, generator=gen())
    songs = torch.randint(0, 5, (60,), generator=gen()) * 17 + 3
    order = torch.randperm(60, generator=gen(1))
    assert movement(x, songs)[order].allclose(movement(x[order], songs[order]))
    r = correlation(cross_sums(x, y, songs).sum(0))
    assert r == pytest.approx(correlation(cross_sums(x[order], y[order], songs[order]).sum(0)).item(), abs=1e-5)


def test_the_interval_over_songs_holds_the_truth():
    hits = 0
    for seed in range(60):
        g = gen(seed)
        means = torch.randn(16, generator=g)
        sums = torch.stack([20 * means, torch.full((16,), 20.)], 1)
        _, low, high = bootstrap(sums, torch.arange(16) % 2, share_of, seed, 300)
        hits += low <= 0 <= high
    assert hits >= 48      # 95 % promised; sixteen songs, percentile intervals: a little less


def test_bootstrap_counts_instruments_alike_and_is_seeded():
    sums = torch.tensor([[1., 1.], [1., 1.], [0., 98.]])
    value, low, high = bootstrap(sums, torch.tensor([0, 0, 1]), share_of)
    assert value == low == high == .5
    many = torch.rand(9, 2, generator=gen()) + torch.tensor([0., 1.])
    assert bootstrap(many, torch.zeros(9), share_of, 3) == bootstrap(many, torch.zeros(9), share_of, 3) != bootstrap(many, torch.zeros(9), share_of, 4)


def test_an_interval_over_one_song_an_instrument_says_that_there_is_none():
    sums = torch.tensor([[1., 2.], [3., 4.]])
    with pytest.warns(UserWarning, match='2 of 2 classes have one song'): value, low, high = bootstrap(sums, torch.tensor([0, 1]), share_of)
    assert value == .625 and math.isnan(low) and math.isnan(high)


def test_points_go_where_pixels_go():
    g = gen()
    x = torch.zeros(40, 1, 64, 64); at = torch.randint(18, 44, (40, 2), generator=g)
    for i, (row, col) in enumerate(at): x[i, 0, row:row + 4, col:col + 4] = 1
    u = torch.rand(40, 4, generator=g) * 2 - 1
    y, place = shake(x, u)[:, 0], (torch.arange(64) + .5) / 64
    mass = y.sum((1, 2))
    centre = torch.stack([(y.sum(1) * place).sum(1), (y.sum(2) * place).sum(1)], 1) / mass[:, None]
    told = shake_points(((at.flip(1) + 2) / 64)[:, None], u)[:, 0]
    assert ((centre - told).norm(dim=1) < .006).all()
    assert torch.allclose(shake_points(told[:, None], torch.zeros(40, 4)), told[:, None], atol=1e-6)


def test_maps_reach_beyond_the_border():
    maps = torch.zeros(1, 2, 16, 16); maps[0, 0, 0, 0] = maps[0, 1, 15, 15] = 99
    z = centre_of(maps)[0]
    assert (z[0] < 0).all() and (z[1] > 1).all()


def test_pitch_between_two_keys_and_at_the_ends():
    logits = torch.full((3, 128), -60.)
    logits[0, 40] = 0; logits[1, 40] = logits[1, 41] = 0; logits[2, 0] = 0
    assert midi_of(logits).tolist() == pytest.approx([40, 40.5, 0], abs=1e-4)


def test_pitch_errors_by_hand():
    e = pitch_error(torch.tensor([60., 60.6, 48., 84.4, 54., torch.nan]), torch.full((6,), 60.))
    assert e['in_tune'].tolist() == [True, False, False, False, False, False]
    assert e['octave'].tolist() == [False, False, True, True, False, False]
    assert e['semitones'].nan_to_num(-1).tolist() == pytest.approx([0, .6, -1, -1, 6, -1], abs=1e-4)


def test_a_shuffle_stays_within_the_instrument():
    labels = torch.randint(0, 4, (300,), generator=gen())
    p = shuffled(labels, 1)
    assert torch.equal(labels[p], labels) and torch.equal(p.sort().values, torch.arange(300))
    assert (p == torch.arange(300)).float().mean() < .1
    assert torch.equal(p, shuffled(labels, 1)) and not torch.equal(p, shuffled(labels, 2))


def test_rests_and_unknown_truth_are_left_out():
    pairs = toy_pairs()
    assert len(where_known(pairs, 'pitch')) == int(pairs.truth['pitch'].isfinite().sum()) < len(pairs)
    with pytest.raises(ValueError, match='do not say their pitch'): where_known(replace(pairs, truth={}), 'pitch')


def test_scores_of_a_perfect_and_of_a_blind_generator():
    pairs = toy_pairs()
    pairs = where_known(pairs, 'pitch')
    true = pairs.truth['keypoints']
    perfect = score_read(true, true, pairs, 'keypoints', system='perfect')
    by = {(r.metric, r.data): r for r in perfect}
    assert by['pose_error', 'orchestra'].value == 0 < by['pose_error', 'orchestra'].chance
    assert by['pose_correlation', 'orchestra'].value == pytest.approx(1, abs=1e-6)
    assert abs(by['pose_correlation', 'orchestra'].chance) < .5
    assert by['pose_movement', 'orchestra'].value == pytest.approx(1, abs=1e-6)
    assert ('pose_correlation', 'orchestra/flute') not in by and ('pose_error', 'orchestra/flute') in by
    assert by['pose_error', 'orchestra'].n == len(pairs) and by['pose_correlation', 'orchestra'].n == int((pairs.labels != 1).sum())
    assert by['pose_error', 'orchestra'].songs == 12 and by['pose_error', 'orchestra/flute'].songs == 4 and {r.seeds for r in perfect} == {1}
    blind = score_read(true[shuffled(pairs.labels, 5)], true, pairs, 'keypoints')
    worst = {(r.metric, r.data): r for r in blind}
    assert worst['pose_error', 'orchestra'].ceiling == 0 and worst['pose_correlation', 'orchestra'].value < .6
    assert all(r.low <= r.value <= r.high for r in perfect + blind if r.metric.startswith('pose_error'))


def test_a_data_set_without_strings_or_slides_has_no_pose_correlation():
    pairs = where_known(toy_pairs(), 'pitch')
    flutes = pairs.subset(pairs.labels == 1)
    t = flutes.truth['keypoints']
    assert {r.metric for r in score_read(t, t, flutes, 'keypoints')} == {'pose_error', 'pose_error_body'}


def test_a_run_is_scored_with_its_own_moments():
    pairs = marked(where_known(toy_pairs(), 'pitch'))
    run = SimpleNamespace(source=SOUND, target=SOUND, meta=dict(seed=3, steps=7), make=lambda x, seed: x)   # hands the sound through
    rows = score_pitch(run, dict(test=pairs), Oracle('pitch', 'sound', pairs.truth['pitch']), system='copy')
    by = {r.metric: r for r in rows if r.data == 'orchestra'}
    assert by['pitch_within_50_cents'].value == by['pitch_within_50_cents'].ceiling == 1 > by['pitch_within_50_cents'].chance
    assert by['pitch_error_semitones'].value == 0 and by['pitch_octave_errors'].value == 0
    assert by['pitch_correlation'].value == pytest.approx(1, abs=1e-6)
    assert {r.split for r in rows} == {'test'} and rows[0].steps == 7 and rows[0].seed == 3 and rows[0].system == 'copy'


def test_the_real_side_is_read_a_part_at_a_time(monkeypatch):
    pairs, seen, batch = marked(where_known(toy_pairs(8, 24), 'pitch')), [], Pairs.batch
    monkeypatch.setattr(Pairs, 'batch', lambda self, index, *a: (seen.append(len(index)), batch(self, index, *a))[1])
    run = SimpleNamespace(source=SOUND, target=SOUND, make=lambda x, seed: x)
    score_probe(run, pairs, Oracle('pitch', 'sound', pairs.truth['pitch']))
    assert max(seen) == 256 < len(pairs) and sum(seen) == 2 * len(pairs)


def test_the_wrong_probe_is_refused():
    run = SimpleNamespace(source=SOUND, target=PICTURE, make=None)
    with pytest.raises(ValueError, match='reads sounds, the run makes pictures'):
        score_probe(run, toy_pairs(), Oracle('pitch', 'sound', None))


@pytest.mark.parametrize('kind', ('pose', 'pitch'))
def test_a_probe_is_trained_frozen_kept_and_read(kind, cache):
    data, before = dict(train=toy_pairs()), torch.get_rng_state()
    a = probe_for(kind, data, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(list(cache.glob('probe-*.safetensors'))) == 1
    b = probe_for(kind, data, steps=2)
    x = getattr(data['train'].batch(torch.arange(5)), a.modality)
    assert torch.equal(a.read(x), b.read(x)) and b.meta == a.meta and a.meta['steps'] == 2
    assert a.read(x).shape == ((5, 12, 2) if kind == 'pose' else (5,)) and not any(p.requires_grad for p in a.net.parameters())
    again = train_probe(kind, data['train'], steps=2)
    assert torch.equal(again.read(x), a.read(x))


def test_a_broken_cache_is_made_anew(cache):
    data = dict(train=toy_pairs())
    probe_for('pitch', data, steps=1)
    path = next(cache.glob('probe-*.safetensors'))
    path.write_bytes(b'half a file')
    assert probe_for('pitch', data, steps=1).meta['kind'] == 'pitch' and load_probe(path).meta['steps'] == 1


def test_other_files_are_no_probes(tmp_path):
    save_nets(tmp_path / 'x.safetensors', dict(E=torch.nn.Linear(2, 2)), dict(kind='judge'))
    with pytest.raises(ValueError, match='holds no probe'): load_probe(tmp_path / 'x.safetensors')
    with pytest.raises(ValueError, match="kind is 'taste'.*pose, pitch"): train_probe('taste', toy_pairs())


def test_a_line_finds_what_is_linear_and_nothing_in_noise():
    g = gen()
    x, w = torch.randn(400, 6, generator=g), torch.randn(6, generator=g)
    assert torch.allclose(linear_readout(x, x @ w + 3, 1e-8)(x), x @ w + 3, atol=1e-3)
    y = torch.randn(400, generator=g)
    guess = linear_readout(x[:200], y[:200])(x[200:])
    assert abs(torch.corrcoef(torch.stack([guess, y[200:]]))[0, 1]) < .25
