"Synchrony: the loss by hand, what each kind of negative may be, shifts found to the column, films whole and cut short."
import functools, math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avgen_nb import avts, cli, films, synchrony
from avgen_nb.films import Synchrony, as_seen, fit_temper, in_words, package_sync, read_film, shift_chances, sync_of
from avgen_nb.mp4 import save_film
from avgen_nb.pairs import orchestra_clips
from avgen_nb.sound import SAMPLE_RATE, BadFile
from avgen_nb.synchrony import AVTS, SHIFTS, SYNC_RUNS, FrameTower, MotionTower, ShiftTask, SoundTower, Spread, SyncNet, SyncTask, Takes
from avgen_nb.synchrony import at_share, clip_distance, clip_starts, contrastive, embedded, just_noticeable, noticed, other_sounds
from avgen_nb.synchrony import shift_distances, shift_errors, sound_columns, sync_net, takes_of, three_frames, train_sync, window_distances
from avgen_nb.training import describe


def toy(n=6, seed=0, T=60, late=0):
    "A square that lights up with a click; `late`: columns."
    rng, g = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    frames, sound = torch.zeros(n, T, 3, 32, 32, dtype=torch.uint8), torch.full((n, 64, 4 * T + 30), -1.)
    for i in range(n):
        for t in np.cumsum(rng.integers(4, 14, 9)):
            if t >= T: break
            frames[i, t, :, 8:24, 8:24] = 255
            sound[i, :, 4 * t + late:4 * t + late + 2] = torch.rand(64, 2, generator=g)
    return Takes(frames, sound.half(), torch.randn(n, T, 24, generator=g), torch.zeros(n, dtype=torch.long), torch.arange(n), ('square',))


SHORT = replace(AVTS, frames=12, batch=4)


def test_the_loss_by_hand():
    d = torch.tensor([.3, .3, .8, 1.5])
    same = torch.tensor([1., 0, 0, 0])
    assert contrastive(d, same, .99).item() == pytest.approx((.09 + .69 ** 2 + .19 ** 2 + 0) / 4, abs=1e-6)
    assert contrastive(d, same, .5).item() == pytest.approx((.09 + .2 ** 2) / 4, abs=1e-6)


def test_the_gradient_pulls_and_pushes_and_stops_at_the_margin():
    d = torch.tensor([.5, .5, 1.2], requires_grad=True)
    contrastive(d, torch.tensor([1., 0, 0])).backward()
    assert d.grad[0] > 0 > d.grad[1] and d.grad[2] == 0


def test_a_distance_is_that_of_the_whole_embedding():
    v, a = (F.normalize(torch.randn(3, 5, 7), dim=1) for _ in range(2))
    whole = ((v - a) / math.sqrt(7)).flatten(1).norm(dim=1)
    assert torch.allclose(clip_distance(v, a), whole, atol=1e-5) and (clip_distance(v, -v) <= 2 + 1e-5).all()
    x = torch.zeros(1, 2, 3, requires_grad=True)
    clip_distance(x, x.detach()).sum().backward()
    assert x.grad.isfinite().all()   # equal embeddings do not blow up


def test_a_column_every_ten_milliseconds():
    wave = torch.zeros(1, SAMPLE_RATE)
    for c in (17, 63): wave[0, c * 441] = 1
    loud = sound_columns(wave)[0].mean(0)
    assert loud.shape == (101,) and sorted(loud.topk(2).indices.tolist()) == [17, 63]


@pytest.mark.parametrize('near,far', ((25, 76), (1, 24)))
def test_all_allowed_beginnings_are_equally_likely(near, far):
    for first in (0, 5, 40, 76):
        allowed = [k for k in range(77) if near <= abs(k - first) <= far]
        share = (torch.arange(len(allowed) * 10) + .5) / (len(allowed) * 10)
        found = at_share(share, torch.full_like(share, first).long(), near, far, 76)
        assert found.unique().tolist() == allowed and (found.bincount()[allowed] == 10).all()


def test_where_no_hard_negative_is_allowed_the_far_end_is_taken():
    found = at_share(torch.rand(2), torch.tensor([3, 9]), 25, 12, 12)
    assert found.tolist() == [12, 0]


def test_kinds_of_negatives():
    n, g = 900, torch.Generator().manual_seed(0)
    kind, song, first = torch.arange(n) % 3, torch.randint(5, (n,), generator=g), torch.randint(50, (n,), generator=g)
    s, f = other_sounds(kind, song, first, torch.rand(n, 2, generator=g), 5, 49, 10)
    apart = (f - first).abs()
    assert (s == song).tolist() == (kind > 0).tolist() and set(s[kind == 0].tolist()) == set(range(5))
    assert (apart[kind == 1] >= 10).all() and ((apart[kind == 2] > 0) & (apart[kind == 2] < 10)).all() and 0 <= f.min() and f.max() <= 49


def test_nets_answer_every_moment_with_a_unit_vector():
    for net in (SyncNet(), SyncNet(FrameTower(width=8, moving=False), SoundTower(width=16)), SyncNet(MotionTower())):
        seen = torch.rand(2, 9, 24) if net.V.reads == 'motion' else torch.randint(0, 255, (2, 9, 3, 32, 32), dtype=torch.uint8)
        v, a = net(seen, torch.rand(2, 64, 36))
        assert v.shape == (2, 32, 9) and a.shape == (2, 32, 36)
        for x in (v, a): assert torch.allclose(x.norm(dim=1), torch.ones(2, x.shape[2]), atol=1e-4)


def test_what_stands_still_is_not_seen():
    torch.manual_seed(0)
    film = torch.randint(0, 200, (1, 9, 3, 32, 32), dtype=torch.uint8)
    still = torch.randint(0, 50, (1, 1, 3, 32, 32), dtype=torch.uint8)
    for moving in (True, False):
        V = FrameTower(moving=moving).eval()
        assert torch.allclose(V(film), V(film + still), atol=1e-4) == moving


def test_a_spread_embedding_cannot_collapse():
    x = torch.ones(4, 8, 10) + 1e-3 * torch.randn(4, 8, 10)
    near = lambda y: clip_distance(y[:1], y[1:2]).item()
    assert near(Spread(8)(x)) > .5 > .05 > near(Spread(8, spread=False)(x))


def test_ends_stand_beside_themselves():
    x = torch.arange(4.).view(1, 4, 1, 1, 1).expand(2, 4, 3, 2, 2)
    assert three_frames(x).shape == (8, 9, 2, 2) and three_frames(x)[0, :, 0, 0].tolist() == [0] * 6 + [1] * 3


def test_takes_are_the_songs_of_the_clips(tmp_path):
    clips = orchestra_clips('small', 38, 25, pixels=32)['dev']
    clips = replace(clips, songs=clips.songs[:2])
    takes, batch = takes_of(clips, tmp_path/'films-x.safetensors', workers=0), clips.batch([0, 1])
    assert torch.equal(takes.frames, ((batch.picture + 1) * 127.5).round().to(torch.uint8))
    assert torch.allclose(takes.motion.unflatten(-1, (12, 2)), batch.motion) and takes.labels.tolist() == clips.labels.tolist()
    assert torch.allclose(takes.sound[0, :, :190].float(), sound_columns(batch.wave[:1])[0, :, :190], atol=2e-3)
    again = takes_of(clips, tmp_path/'films-x.safetensors', workers=0)
    assert again.identity == takes.identity != replace(takes, sound=takes.sound + 1).identity


def test_clips_are_cut_where_they_say():
    takes = toy()
    song, first = torch.tensor([2, 0]), torch.tensor([5, 17])
    assert torch.equal(takes.seen('frames', song, first, 4)[1], takes.frames[0, 17:21])
    assert torch.equal(takes.heard(song, 4 * first, 16)[0], takes.sound[2, :, 20:36].float())


class Say:
    "What a task asks of its run."
    fraction, device, place = 0., torch.device('cpu'), None
    def __init__(self, seed=0): self.generator = torch.Generator().manual_seed(seed)
    def numbers(self, kind, n, *shape): return kind(n, *shape, generator=self.generator)


def test_the_curriculum_turns_where_it_says():
    marked = toy()
    marked.sound[:] = torch.arange(6.)[:, None, None].half()       # a sound says its song
    task, loop = SyncTask(marked, replace(SHORT, batch=64), sync_net(SHORT)), Say()
    task.clips = lambda song, first: first
    def hard():
        seen, sound = task.draw(loop)
        return (sound[:64, 0, 0] == sound[64:, 0, 0]).float().mean()
    loop.fraction = .55; assert hard() == 0
    loop.fraction = .56; assert .05 < hard() < .5


def test_the_first_candidate_is_the_true_shift():
    takes = toy()
    takes.sound[:] = torch.arange(takes.sound.shape[2]).half()
    task = ShiftTask(takes, SHORT, sync_net(SHORT))
    task.clips = lambda song, first: first
    first, sound, shifts = task.draw(Say())
    assert torch.equal(sound[:, 0, int(shifts[0])], 4. * first) and (shifts[1:] != shifts[0]).all() and len(set(shifts.tolist())) == len(shifts)


@pytest.mark.parametrize('recipe', (SHORT, replace(SHORT, loss='shifts'), replace(SHORT, reads='motion')))
def test_every_recipe_learns_a_step(recipe):
    net, run = train_sync(recipe, toy(), 2, quiet=True)
    assert run.steps == 2 and all(p.isfinite().all() for p in net.parameters())


def test_tasks_tell_themselves_apart():
    a, b = toy(), toy(seed=1)
    told = [describe(SyncTask(t, r, sync_net(r))) for t, r in ((a, SHORT), (b, SHORT), (a, replace(SHORT, margin=.5)), (a, replace(SHORT, turn=.1)))]
    assert len({str(t) for t in told}) == 4
    assert describe(SyncTask(toy(), SHORT, sync_net(SHORT))) == told[0]


def test_too_short_songs_are_refused():
    with pytest.raises(ValueError, match='too short for clips of 25'): SyncTask(toy(T=25), AVTS, sync_net(AVTS))
    with pytest.raises(ValueError, match='too short for shifted clips'): clip_starts(25, 38, 200)


def test_distances_of_every_shift():
    v, a = F.normalize(torch.randn(2, 5, 6), dim=1), F.normalize(torch.randn(2, 5, 30), dim=1)
    shifts = torch.tensor([-4, 0, 7, 9])
    D = shift_distances(v, a, shifts)
    for k, s in enumerate(shifts.tolist()):
        for t in range(6):
            c = 4 * t + s
            if 0 <= c < 30: assert torch.allclose(D[:, k, t], (v[..., t] - a[..., c]).square().sum(1), atol=1e-5)
            else: assert D[:, k, t].isnan().all()
    d = window_distances(D, [1], 3)
    assert torch.allclose(d[:, 0, 1], clip_distance(v[..., 1:4], a[..., 4:16:4]).square(), atol=1e-5)


def test_errors_and_what_is_noticed():
    d = (SHIFTS - 3).abs().float()[None, None]
    assert shift_errors(d)[0, 0].tolist() == [0] + [30] * 8      # with the first shift, +30 ms is outside of what is searched
    right = noticed(d)[0, 0]
    assert right[:5].tolist() == [.5] * 5 and right[5] == .75 and (right[6:] == 1).all()
    assert (noticed(torch.zeros(1, 1, 161)) == .5).all()


def test_just_noticeable():
    steps = torch.cat([torch.full((10,), .5), torch.linspace(.55, 1, 10), torch.ones(20)])
    assert just_noticeable(steps).item() == pytest.approx(150)
    assert just_noticeable(torch.ones(40)) == 5 and just_noticeable(torch.full((40,), .74)).isinf()


def test_a_guess_within_60_ms_by_hand():
    hits = sum(abs(s - c) <= 6 for s in range(-40, 41, 10) for c in range(-40, 41))
    assert avts.blind_within() == pytest.approx(hits / 9 / 81)


def test_the_best_threshold():
    own, far = torch.tensor([.1, .4, .2]), torch.tensor([.3, .9, .8])
    cut = avts.best_threshold(own, far)
    assert (own <= cut).sum() + (far > cut).sum() == 5


class Oracle(torch.nn.Module):
    "Answers with the moment itself: the first pixel and the first band tell the time of a clock that goes round every 750 ms."
    def __init__(self): super().__init__(); self.V = torch.nn.Identity(); self.V.reads = 'frames'
    def forward(self, seen, sound): return self.hand(seen[:, :, 0, 0, 0].float()), self.hand(sound[:, 0].float())
    def hand(self, t): return torch.stack([(2 * math.pi * t / 75).cos(), (2 * math.pi * t / 75).sin()], 1)


def clock(n=13, T=101, late=0):
    "Frames and sound that say what time it is, in columns."
    frames = torch.zeros(n, T, 3, 32, 32, dtype=torch.uint8)
    frames[..., 0, 0] = (4 * torch.arange(T) % 75).to(torch.uint8)[None, :, None]
    sound = torch.zeros(n, 64, 451)
    sound[:, 0] = (torch.arange(451) - late) % 75
    return Takes(frames, sound, torch.zeros(n, T, 24), torch.arange(n) % 13, torch.arange(n))


@pytest.mark.filterwarnings('ignore:13 of 13 classes')
def test_rows_of_a_net_that_knows_and_of_one_that_does_not():
    measured = avts.Measured(Oracle(), clock(), 25)
    assert (measured.errors == 0).float().mean() > .5    # the clock goes round every 750 ms, so that 0 and 750 look alike
    rows = avts.sync_rows({0: (measured, measured)}, {0: 1.}, system='x', split='test')
    by = lambda metric: next(r for r in rows if r.metric == metric and r.seed is None and not r.factors)
    assert by('together_super-hard').value > .8 and by('just_noticeable_ms').value == pytest.approx(5) and by('within_60_ms').chance == pytest.approx(avts.blind_within())
    blind = avts.Measured(Oracle(), replace(clock(), sound=torch.zeros(13, 64, 451)), 25)
    rows = avts.sync_rows({0: (blind, blind)}, {0: 1.}, system='x', split='test')
    assert by('together_easy').value <= .6 and math.isinf(by('just_noticeable_ms').value)
    assert {r.factors.get('instrument') for r in rows if r.factors} == set(clock().classes)


def test_the_ledger_names_runs_that_exist():
    assert set(avts.PAPER_AVTS) <= set(SYNC_RUNS) and {e[1] for e in avts.AVTS_LEDGER} <= set(SYNC_RUNS)
    with pytest.raises(ValueError, match='no films'): avts.open_takes('Sub-URMP')


def test_the_toy_is_learnt_and_the_shift_found():
    "150 steps with easy negatives: the click is found where it is, and where it is moved to."
    recipe = replace(AVTS, second=(1., 0., 0.), frames=20, batch=8)
    net, _ = train_sync(recipe, toy(24), 100, quiet=True)
    at = [10 * SHIFTS[shift_distances(*embedded(net, toy(8, 1, late=late))).nanmean(2).mean(0).argmin()].item() for late in (0, 12)]
    assert abs(at[0]) <= 20 and abs(at[1] - 120) <= 20


# --- films


@functools.lru_cache
def drawn(k):
    "A development song."
    clips = orchestra_clips('default', 101, 25, pixels=32)['dev']
    song = clips.plan.song(int(clips.songs[k]))
    return synchrony.film_arrays(song, 32), torch.from_numpy(song.samples.astype(np.float32) / 32768)


def film(seconds=3., k=0, late=0.):
    "Frames and sound of a song, the sound so many seconds late."
    (arrays, wave), n = drawn(k), int(seconds * SAMPLE_RATE)
    pad = int(abs(late) * SAMPLE_RATE)
    wave = torch.cat([torch.zeros(pad), wave]) if late > 0 else wave[pad:]
    return torch.from_numpy(arrays['frames'][:int(25 * seconds)]), wave[:n]


def test_an_mp4_keeps_its_time(tmp_path):
    frames, wave = torch.zeros(60, 3, 32, 32, dtype=torch.uint8), torch.zeros(int(2.4 * SAMPLE_RATE))
    for t in (10, 40): frames[t, :, 8:24, 8:24] = 255; wave[t * 1764:t * 1764 + 400] = torch.rand(400) - .5
    save_film(tmp_path/'a.mp4', frames, wave)
    seen, heard = read_film(tmp_path/'a.mp4')
    assert seen.shape == frames.shape and (seen.float().mean((1, 2, 3)) > 20).nonzero().flatten().tolist() == [10, 40]
    loud = heard.unfold(0, 441, 441).abs().amax(1)
    assert (loud > .2).nonzero().flatten()[0] == 40 and abs(len(heard) - len(wave)) < 2000


def test_other_rates_and_sizes(tmp_path):
    frames = torch.zeros(50, 3, 48, 64, dtype=torch.uint8)
    frames[25:, :, :, 40:] = 255
    save_film(tmp_path/'a.mp4', frames, torch.rand(SAMPLE_RATE) - .5, rate=50, zoom=2)
    seen, _ = read_film(tmp_path/'a.mp4')
    assert len(seen) == 25 and seen[0].float().mean() < 30 and seen[-1, :, :, -6:].float().mean() > 200 and seen[-1, :, :, :10].float().mean() < 30
    assert as_seen(frames, 50).shape == (25, 3, 32, 32)


def test_the_package_finds_a_shift(tmp_path):
    found = {}
    for k in (4, 12, 44):
        for late in (0., .2): found[k, late] = sync_of(*film(4., k, late))
    right = [abs(f.shift - 1000 * late) <= 60 for (_, late), f in found.items()]
    assert sum(right) >= 5 and all(0 <= f.sure <= 1 and abs(f.chances.sum() - 1) < 1e-4 for f in found.values())


def test_a_frozen_film_is_not_believed():
    sure = {frozen: np.mean([sync_of(f[:1].expand(len(f), -1, -1, -1) if frozen else f, w).sure for f, w in (film(4., k) for k in (4, 12, 44))]) for frozen in (True, False)}
    assert sure[True] < .5 < sure[False]


def test_floats_and_bytes_are_one_film():
    frames, wave = film()
    a, b = sync_of(frames, wave), sync_of(frames.float() / 127.5 - 1, wave)
    assert a.shift == b.shift and abs(a.sure - b.sure) < 1e-3


def test_films_that_cannot_be_judged():
    frames, wave = film()
    with pytest.raises(ValueError, match='silent'): sync_of(frames, 0 * wave)
    with pytest.raises(ValueError, match=r'too short: 1\.0 s'): sync_of(frames, wave[:SAMPLE_RATE])


def test_chances_mean_what_they_say():
    d = torch.rand(5, 9, 30, generator=torch.Generator().manual_seed(0)); d[:, 4] -= .4
    t = fit_temper(d, torch.arange(-4, 5), (None,))
    nll = lambda t: -shift_chances(d.mean(2), 30, t)[:, 4].log().mean()
    assert nll(t) <= nll(t * 1.3) and nll(t) <= nll(t / 1.3)


def test_words():
    say = lambda shift, sure: in_words(Synchrony(shift, sure, None, None))
    assert say(-80, .9) == 'the sound comes 80 ms early (90 % sure within 60 ms)' and 'at its moment' in say(0, .9) and say(40, .3).startswith('no shift can be told')


# --- avgen sync


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    save_film(folder/'a.mp4', *film(4., 12, .2))
    return folder


def test_avgen_sync(written, capsys):
    assert cli.main(['sync', str(written/'a.mp4')]) == 0
    name, shift, sure, words = capsys.readouterr().out.strip().split('\t')
    assert name.endswith('a.mp4') and abs(int(shift.removesuffix(' ms')) - 200) <= 60 and .5 < float(sure) <= 1 and 'ms late' in words


@pytest.fixture(scope='module')
def spoilt(written, tmp_path_factory):
    "A folder of films that are of no use."
    import av
    tmp_path = tmp_path_factory.mktemp('spoilt')
    frames, wave = film(2.4)
    data = (written/'a.mp4').read_bytes()
    (tmp_path/'half.mp4').write_bytes(data[:len(data) // 2])
    (tmp_path/'text.mp4').write_text('not a film')
    (tmp_path/'empty.mp4').write_bytes(b'')
    save_film(tmp_path/'short.mp4', frames[:20], wave[:20 * 1764])
    save_film(tmp_path/'silent.mp4', frames, 0 * wave)
    with av.open(str(tmp_path/'mute.mp4'), 'w') as f:
        s = f.add_stream('libx264', rate=25); s.width = s.height = 32; s.pix_fmt = 'yuv420p'
        for x in frames: f.mux(s.encode(av.VideoFrame.from_ndarray(x.permute(1, 2, 0).contiguous().numpy(), format='rgb24')))
        f.mux(s.encode(None))
    with av.open(str(tmp_path/'dark.mp4'), 'w') as f:
        s = f.add_stream('aac', rate=SAMPLE_RATE, layout='mono')
        part = av.AudioFrame.from_ndarray((wave.numpy() * 3e4).astype(np.int16)[None], format='s16', layout='mono')
        part.sample_rate = SAMPLE_RATE
        for x in (part, None): f.mux(s.encode(x))
    return tmp_path


@pytest.mark.parametrize('name,words', (('half', 'cut short'), ('text', 'cannot be read as a film'), ('empty', 'is an empty file'), ('mute', 'holds no sound'),
                                        ('dark', 'holds no picture'), ('short', 'too short: 0.8 s'), ('silent', 'silent'), ('none', 'there is no such film')))
def test_a_film_that_is_of_no_use_is_one_sentence(spoilt, capsys, name, words):
    assert cli.main(['sync', str(spoilt/f'{name}.mp4')]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('avgen: ') and err.count('\n') == 1 and f'{name}.mp4' in err and words in err


def test_a_film_whose_index_promises_more(written, tmp_path):
    "With its index in front a film that is cut short can be opened: it must be noticed all the same."
    import av
    with av.open(str(written/'a.mp4')) as old, av.open(str(tmp_path/'front.mp4'), 'w', options=dict(movflags='faststart')) as new:
        copies = {s: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is None: continue
            packet.stream = copies[packet.stream]; new.mux(packet)
    data = (tmp_path/'front.mp4').read_bytes()
    assert len(read_film(tmp_path/'front.mp4')[0]) == 100
    (tmp_path/'cut.mp4').write_bytes(data[:len(data) * 6 // 10])
    with pytest.raises(BadFile, match='cut short|cannot be read'): read_film(tmp_path/'cut.mp4')


def test_a_good_film_among_bad_ones(written, tmp_path, capsys):
    (tmp_path/'text.mp4').write_text('x')
    assert cli.main(['sync', str(tmp_path/'text.mp4'), str(written/'a.mp4')]) == 2
    out, err = capsys.readouterr()
    assert out.count('\n') == 1 and 'a.mp4' in out and 'text.mp4' in err


def test_the_package_net_is_small_and_says_how_it_was_made():
    net = package_sync()
    assert {'recipe', 'temper', 'steps', 'minutes', 'songs'} <= set(net.meta) and net.V.reads == 'frames'
    assert (films.sync_file()).stat().st_size < 4e5


def test_a_file_of_something_else_is_refused(tmp_path):
    from avgen_nb.files import save_nets
    save_nets(tmp_path/'x.safetensors', dict(net=torch.nn.Linear(2, 2)), dict(what='else'))
    with pytest.raises(ValueError, match='synchrony'): films.load_sync(tmp_path/'x.safetensors')
