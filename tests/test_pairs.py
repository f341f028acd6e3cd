"Pairs: fair draws, wrong partners, splits, and what is refused."
import dataclasses, time

import numpy as np
import pytest
import torch

from avgen_nb.pairs import (Batch, Pairs, Shelf, check_apart, clip_batches, clips_in, content_hash, exam_pairs, orchestra_clips, orchestra_pairs,
                            pair_at, pairs_from, throw, to_picture, with_looks)


def gen(seed=0): return torch.Generator().manual_seed(seed)


def make(labels, songs=None, side=2, **options):
    "Pairs with a tiny picture and sound that both carry the index of their pair."
    labels = torch.as_tensor(labels)
    n, every = len(labels), torch.arange(len(labels))
    pictures = (every % 256).to(torch.uint8).view(n, 1, 1, 1).expand(n, 3, side, side).contiguous()
    sounds = every.float().view(n, 1, 1, 1).expand(n, 1, 2, 2).contiguous()
    classes = options.pop('classes', tuple('abcdefghijklm'[:int(labels.max()) + 1]))
    return Pairs(pictures, sounds, labels, labels, every if songs is None else torch.as_tensor(songs), classes, every, every, **options)


def chi2(counts, expected): return float(((counts - expected) ** 2 / expected).sum())


uneven = torch.repeat_interleave(torch.arange(13), torch.tensor([1, 980, 812, 127, 569, 554, 450, 761, 869, 101, 328, 653, 743]))


def test_balanced_draw_is_uniform_over_classes_and_items():
    p = make(uneven)
    index = p.draw(130_000, gen())
    assert chi2(p.labels[index].bincount(minlength=13), torch.full((13,), 10_000.)) < 36
    of_class = index[p.labels[index] == 3]
    first = int((uneven == 3).nonzero()[0])
    expected = torch.full((127,), len(of_class) / 127)
    assert chi2((of_class - first).bincount(minlength=127), expected) < 126 + 5 * (2 * 126) ** .5


def test_plain_draw_is_uniform_over_pairs():
    p = make(uneven)
    counts = p.draw(400_000, gen(), balanced=False).bincount(minlength=len(p))
    n = len(p)
    assert chi2(counts, torch.full((n,), 400_000 / n)) < n + 5 * (2 * n) ** .5


def test_wrong_partners_never_share_the_label_and_are_uniform_over_the_others():
    p = make(uneven)
    index = p.draw(130_000, gen())
    wrong = p.draw_wrong(index, gen(1))
    table = torch.zeros(13, 13).index_put_((p.labels[index], p.labels[wrong]), torch.ones(1), accumulate=True)
    assert table.diag().sum() == 0
    off, expected = ~torch.eye(13, dtype=torch.bool), (table.sum(1, keepdim=True) / 12).expand(13, 13)
    assert chi2(table[off], expected[off]) < 143 + 5 * (2 * 143) ** .5


def test_wrong_partner_does_not_depend_on_which_item_asks():
    p = make(uneven)
    wrong = p.draw_wrong(torch.full((60_000,), 500), gen())
    counts = wrong[p.labels[wrong] == 9] - int((uneven == 9).nonzero()[0])
    assert chi2(counts.bincount(minlength=101), torch.full((101,), len(counts) / 101)) < 100 + 5 * 200 ** .5


def test_classes_without_pairs_are_never_drawn():
    p = make([0, 0, 5, 5, 5, 9], classes=tuple('abcdefghijklm'))
    index = p.draw(3000, gen())
    assert set(p.labels[index].tolist()) == {0, 5, 9}
    assert (p.labels[p.draw_wrong(index, gen())] != p.labels[index]).all()


def test_two_classes_and_one():
    p = make([0, 0, 1])
    assert p.draw_wrong(torch.tensor([0, 1, 2, 2]), gen()).tolist()[:2] == [2, 2]
    with pytest.raises(ValueError, match='two classes'): make([0, 0]).draw_wrong(torch.tensor([0]), gen())


def test_the_generator_is_the_only_source_of_randomness():
    p = make(uneven)
    torch.manual_seed(1); a = p.draw(64, gen(7)), p.draw_wrong(torch.arange(64), gen(8))
    state = torch.get_rng_state()
    torch.manual_seed(2); b = p.draw(64, gen(7)), p.draw_wrong(torch.arange(64), gen(8))
    assert all(torch.equal(x, y) for x, y in zip(a, b))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(p.draw(64, gen(9)), a[0])


def test_nothing_drawn_is_fine():
    p = make([0, 1])
    empty = p.draw(0, gen())
    assert len(empty) == 0 and p.batch(empty).picture.shape == (0, 3, 2, 2) and len(p.draw_wrong(empty, gen())) == 0


def test_throw_is_uniform_for_any_modulus():
    for m in (2, 3, 7, 1000):
        counts = (throw(gen(m), 200_000) % m).bincount(minlength=m)
        assert chi2(counts, torch.full((m,), 200_000 / m)) < m + 6 * (2 * m) ** .5


def test_shelf_takes_every_item_once_a_round():
    labels = torch.randint(5, (200,), generator=gen())
    shelf = Shelf(labels, 6)
    for c in range(5):
        n = int(shelf.count[c])
        taken = shelf.take(torch.full((n,), c), torch.arange(n))
        assert sorted(taken.tolist()) == (labels == c).nonzero().flatten().tolist()
    assert shelf.count[5] == 0


def test_a_batch_is_what_the_contract_says():
    p = make(uneven, side=64)
    batch = p.batch(torch.tensor([3, 1, 255]))
    assert isinstance(batch, Batch) and batch.picture.dtype == batch.sound.dtype == torch.float32
    assert batch.picture.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(batch.picture[:, 0, 0, 0], torch.tensor([3, 1, 255]) / 127.5 - 1)
    assert batch.picture.min() >= -1 and batch.picture.max() <= 1
    assert batch.index.tolist() == [3, 1, 255] and torch.equal(batch.label, p.labels[batch.index])


def test_every_byte_survives_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(((to_picture(every) + 1) * 127.5).round().to(torch.uint8), every)


def test_a_batch_does_not_touch_what_is_stored():
    p = make([0, 1, 0])
    before = p.pictures.clone(), p.sounds.clone()
    batch = p.batch(torch.tensor([0, 1]))
    batch.picture.fill_(9); batch.sound.fill_(9)
    assert torch.equal(p.pictures, before[0]) and torch.equal(p.sounds, before[1])


def test_by_class_draws_the_partner_anew_and_keeps_the_class():
    p = dataclasses.replace(make(uneven), by_class=True)
    index = p.draw(2000, gen())
    shown = p.batch(index, gen(1)).picture[:, 0, 0, 0]
    stored = ((shown + 1) * 127.5).round().long()
    assert len(stored.unique()) > 100 and not torch.equal(stored, index % 256)
    allowed = [set((p.picture_labels == c).nonzero().flatten().remainder(256).tolist()) for c in range(13)]
    assert all(int(s) in allowed[c] for s, c in zip(stored, p.labels[index]))
    assert torch.equal(p.batch(index).picture, make(uneven).batch(index).picture)
    assert torch.equal(p.batch(index, gen(1)).picture[:, 0, 0, 0], shown)


def test_only_keeps_renumbers_and_drops():
    p = make(uneven, songs=torch.arange(len(uneven)) // 7, truth={'pitch': torch.arange(len(uneven)).float()})
    q = p.only(('d', 'b'))
    assert q.classes == ('d', 'b') and len(q) == 980 + 127 and len(q.pictures) == len(q)
    assert ((q.labels == 0) == (uneven[q.truth['pitch'].long()] == 3)).all()
    batch = q.batch(torch.arange(len(q)))
    assert torch.equal(batch.sound[:, 0, 0, 0], q.truth['pitch'])
    assert torch.equal(q.songs, p.songs[q.truth['pitch'].long()])
    with pytest.raises(ValueError, match="'kazoo'"): p.only(('a', 'kazoo'))


def test_subset_shares_tensors_and_keeps_order():
    p = make(uneven, truth={'ms': torch.arange(len(uneven))})
    q = p.subset(torch.tensor([5, 2, 9]))
    assert q.batch(torch.arange(3)).sound[:, 0, 0, 0].tolist() == [5, 2, 9] == q.truth['ms'].tolist()
    assert q.pictures.data_ptr() == p.pictures.data_ptr()
    assert len(p.subset(p.labels == 9)) == 101
    assert torch.equal(q.to('cpu').songs, q.songs)


def test_identity_is_of_the_content_and_of_nothing_else():
    p, again = make(uneven, truth={'ms': torch.arange(len(uneven))}), make(uneven, truth={'ms': torch.arange(len(uneven))})
    assert p.identity == again.identity == p.to('cpu').identity and set(p.identity) <= set('0123456789abcdef')
    order = torch.arange(len(p)); order[[3, 4]] = order[[4, 3]]
    change = lambda t, i: t.clone().index_fill_(0, torch.tensor([i]), 0)
    others = [dict(pictures=change(p.pictures, 1001)), dict(sounds=change(p.sounds, 1002)), dict(sounds=p.sounds.half()), dict(songs=p.songs + 1),
              dict(classes=tuple('ABCDEFGHIJKLM')), dict(picture_of=torch.where(order == 4, 3, order)), dict(by_class=True), dict(truth={}),
              dict(truth={'ms': p.truth['ms'] + 1}), dict(truth={'ns': p.truth['ms']})]
    found = [dataclasses.replace(p, **o).identity for o in others] + [p.subset(order).identity, p.only(p.classes[::-1]).identity, p.identity]
    assert len(set(found)) == len(found)


def test_identity_is_found_once_and_reads_a_part_at_a_time(monkeypatch):
    p, read = make(torch.arange(5000) % 3), []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda t: (read.append(len(t)), cpu(t))[1])
    first = p.identity
    assert max(read) <= 1024 and sum(read) >= 4 * 5000
    read.clear()
    assert p.identity == first and not read


def test_a_hash_does_not_run_names_and_values_together():
    assert len({content_hash(d) for d in (dict(a='bc'), dict(ab='c'), dict(a='b', c=''), dict(a=dict(b='c')), dict(a=1), dict(a='1'))}) == 6


def test_over_asks_of_every_pair_a_part_at_a_time():
    p, seen = make(uneven), []
    def f(batch):
        seen.append(len(batch.label))
        return batch.sound[:, 0, 0, 0].double()
    found = p.over(f, part=100)
    assert torch.equal(found, torch.arange(len(p)).float()) and max(seen) == 100 and sum(seen) == len(p)
    assert p.over(lambda b: b.label.int()).dtype == torch.long and not p.over(lambda b: torch.ones(len(b.label), requires_grad=True)).requires_grad


@pytest.mark.parametrize('change, words', [
    (dict(picture_of=torch.tensor([0, 1, 3])), 'picture_of points outside the 3'),
    (dict(sound_of=torch.tensor([0, -1, 2])), 'sound_of points outside'),
    (dict(sound_labels=torch.tensor([0, 1, 7])), 'sound_labels must hold'),
    (dict(picture_labels=torch.tensor([0, 1])), 'picture_labels must hold'),
    (dict(sound_of=torch.tensor([1, 0, 2])), 'different classes'),
    (dict(songs=torch.tensor([0, 1])), 'equally long'),
    (dict(picture_of=torch.tensor([], dtype=torch.long)), 'empty'),
])
def test_tensors_that_cannot_be_pairs_are_refused(change, words):
    with pytest.raises(ValueError, match=words) as e: dataclasses.replace(make([0, 1, 1]), **change)
    assert '\n' not in str(e.value)


def test_a_song_on_two_sides_is_refused():
    p = make([0, 1, 0, 1], songs=[0, 0, 1, 2])
    sides = dict(train=p.subset(torch.tensor([0, 1])), test=p.subset(torch.tensor([2, 3])))
    assert check_apart(sides) is sides
    with pytest.raises(ValueError, match='Song 1 is in both train and test'):
        check_apart(dict(train=p.subset(torch.tensor([0, 2])), test=p.subset(torch.tensor([2, 3]))))


@pytest.fixture(scope='module')
def orchestra(): return orchestra_pairs('small', progress=False)


def test_no_song_of_the_orchestra_is_on_two_sides(orchestra):
    songs = [set(p.songs.tolist()) for p in orchestra.values()]
    assert list(orchestra) == ['train', 'dev', 'test'] and sum(map(len, songs)) == len(set.union(*songs))
    assert all(set(p.labels.tolist()) == set(range(13)) for p in orchestra.values())


@pytest.fixture(scope='module')
def exam(): return exam_pairs(progress=False)


def test_the_exam_has_every_instrument_and_eight_songs_of_each(exam):
    assert exam.labels.bincount().tolist() == [8 * 41] * 13 and len(exam.songs.unique()) == 104
    with pytest.raises(ValueError, match='exam_pairs'): orchestra_pairs('exam')


def test_no_song_of_a_size_is_in_another(orchestra, exam):
    "By content: pictures and sounds of small's songs against default's songs of the same numbers, and against all of the exam."
    from avgen_nb.orchestra import Plan
    rows = lambda items: {r.tobytes() for x in items for k in ('picture', 'lms') for r in x[k]}
    small, default = [rows(Plan(size, 0)[i] for i in songs) for size, songs in (('small', range(8)), ('default', [*range(4), *range(34, 38)]))]
    kept = {r.numpy().tobytes() for t in (exam.pictures, exam.sounds) for r in t}
    assert len(small) > 200 and not small & default and not small & kept and not default & kept


def test_the_orchestras_truth_stays_with_its_pair(orchestra):
    from avgen_nb.orchestra import build_orchestra
    arrays, p = build_orchestra('small', progress=False), orchestra['test']
    rows = p.truth['row'].numpy()
    assert np.array_equal(arrays['label'][rows], p.labels) and np.array_equal(arrays['song'][rows], p.songs)
    assert np.allclose(arrays['keypoints'][rows], p.truth['keypoints']) and (arrays['split'][rows] == 2).all()
    batch = p.batch(torch.arange(len(p)))
    assert np.array_equal(((batch.picture + 1) * 127.5).round().byte().numpy(), arrays['picture'][rows])
    assert np.allclose(batch.sound, arrays['lms'][rows]) and batch.sound.shape[1:] == (1, 128, 44)


def test_pairs_from_takes_the_rows_in_the_order_asked_for(orchestra):
    from avgen_nb.orchestra import build_orchestra
    arrays = build_orchestra('small', progress=False)
    rows = np.array([40, 3, 800])
    assert np.array_equal(pairs_from(arrays, rows).truth['ms'], arrays['ms'][rows])


def test_a_draw_costs_little_and_no_more_from_a_large_set():
    def cost(n):
        p, best = make(torch.arange(n) % 13), 1.
        for _ in range(30):
            start = time.process_time()  # not disturbed by what else runs
            p.draw_wrong(p.draw(64, g), g)
            best = min(best, time.process_time() - start)
        return best
    g = gen()
    small, large = cost(1_000), cost(100_000)
    assert large < .0125 and large < 4 * small + .001


# ---- clips
def test_no_song_is_in_two_splits_of_clips_and_the_songs_are_those_of_the_pairs(orchestra):
    clips = orchestra_clips('small', frames=3, rate=12.5)
    songs = [set(c.song.tolist()) for c in clips.values()]
    assert list(clips) == ['train', 'dev', 'test'] and sum(map(len, songs)) == len(set.union(*songs))
    assert songs == [set(p.songs.tolist()) for p in orchestra.values()]
    exam = orchestra_clips('exam', seed=2017)
    assert list(exam) == ['test'] and len(exam['test'].songs) == 104


@pytest.mark.parametrize('rate', [1, 7, 10, 24, 29.97, 60])
def test_no_clip_crosses_the_end_of_its_song(rate):
    from avgen_nb.orchestra import Plan, frames_in
    frames = frames_in(2 * 44100, rate)
    for n in {1, 2, frames}:
        clips = orchestra_clips('small', frames=n, rate=rate, hop=2)['test']
        last = torch.tensor([i for i in range(len(clips)) if i == len(clips) - 1 or clips.song[i] != clips.song[i + 1]])
        assert len(last) == 13 and ((clips.first[last] + n - 1) / rate + .5 <= 2.).all() and ((clips.first[last] + n + 1) / rate + .5 > 2.).all()
        batch = clips.batch(last[:2], pictures=False)
        assert batch.wave.shape[1] == int((n - 1) * 44100 / rate) + 22050 and batch.picture is None and batch.times.shape == (2, n)
        song = Plan('small', 0).song(int(batch.song[0]))
        start = int(int(clips.first[last[0]]) * 44100 / rate)
        assert np.array_equal(batch.wave[0], song.samples[start:start + batch.wave.shape[1]] / np.float32(32768))


@pytest.mark.parametrize('pixels', [64, 40])
def test_at_ten_frames_a_second_a_clip_is_pairs_to_the_bit(pixels):
    pairs = orchestra_pairs('small', progress=False, pixels=pixels, cache=pixels == 64)
    for name, clips in orchestra_clips('small', frames=4, hop=3, pixels=pixels).items():
        every, p = torch.arange(len(clips)), pairs[name]
        batch = clips.batch(every[::5])
        place = {(int(s), int(ms)): i for i, (s, ms) in enumerate(zip(p.songs, p.truth['ms']))}
        at = torch.tensor([[place[int(s), round(500 + 1000 * float(t))] for t in times] for s, times in zip(batch.song, batch.times)])
        pair = p.batch(at.flatten())
        assert torch.equal(pair.picture, batch.picture.flatten(0, 1)) and torch.equal(pair.sound, batch.sound.flatten(0, 1))
        assert torch.equal(pair.label, batch.label.repeat_interleave(4))
        for k in ('pitch', 'loudness', 'phase', 'keypoints'):
            assert torch.equal(p.truth[k][at.flatten()].nan_to_num(-1), batch.truth[k].flatten(0, 1).nan_to_num(-1)), k


def test_a_clip_depends_on_its_place_alone():
    clips = orchestra_clips('small', frames=3, rate=15)['train']
    index = clips.draw(5, gen())
    a, b = clips.batch(index), orchestra_clips('small', frames=3, rate=15)['train'].batch(index.flip(0))
    for name in ('picture', 'sound', 'wave', 'motion', 'label', 'song', 'times'):
        assert torch.equal(getattr(a, name), getattr(b, name).flip(0)), name
    assert torch.equal(clips.draw(5, gen()), index) and not torch.equal(clips.batch(index, pictures=False).motion[0], a.motion[1])


def test_motion_is_in_the_players_own_frame():
    from avgen_nb.players import KEYPOINTS
    batch = orchestra_clips('small', frames=4, rate=20)['dev'].batch(torch.arange(0, 200, 40), pictures=False)
    neck, hip = (batch.motion[:, :, KEYPOINTS.index(k)] for k in ('neck', 'hip'))
    assert batch.motion.shape == (5, 4, 12, 2) and batch.motion.dtype == torch.float32
    assert neck.abs().max() < 1e-6 and (hip - torch.tensor([1., 0.])).abs().max() < 1e-6
    assert batch.motion.diff(dim=1).abs().max() > 1e-3


def test_clips_in_parallel_are_the_clips_one_after_the_other():
    clips = orchestra_clips('small', frames=2, rate=5)['test']
    index = clips.draw(7, gen())
    found = list(clip_batches(clips, index, n=3, workers=2))
    assert [len(b.label) for b in found] == [3, 3, 1] and torch.equal(torch.cat([b.index for b in found]), index)
    one = clips.batch(index)
    assert torch.equal(torch.cat([b.picture for b in found]), one.picture) and torch.equal(torch.cat([b.sound for b in found]), one.sound)
    assert len(list(clip_batches(clips, index, n=7, workers=0))) == 1


def test_clips_of_some_instruments_are_numbered_anew_and_drawn_evenly():
    clips = orchestra_clips('small', frames=2)['train']
    two = clips.only(('tuba', 'cello'))
    assert two.classes == ('tuba', 'cello') and set(two.song.tolist()) == set(clips.song[(clips.labels == 1) | (clips.labels == 10)].tolist())
    assert (two.batch(torch.tensor([0]), pictures=False).label == 1).all()      # the cello's songs come first in the world
    index = two.draw(2000, gen())
    assert abs((two.labels[index] == 0).float().mean() - .5) < .05 and (two.labels[two.draw_wrong(index, gen())] != two.labels[index]).all()
    with pytest.raises(ValueError, match="'kazoo'"): clips.only(('kazoo',))


def test_the_identity_of_clips_is_of_what_they_are():
    make_clips = lambda **o: orchestra_clips('small', **{**dict(frames=4, rate=10, hop=1), **o})['train']
    others = [make_clips(), make_clips(frames=5), make_clips(rate=12), make_clips(hop=2), make_clips(seed=1), make_clips(pixels=128), make_clips().only(('cello',))]
    assert len({c.identity for c in others}) == len(others) and make_clips().identity == others[0].identity


def test_clips_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match='16 frames at this rate, fewer than the 17'): orchestra_clips('small', frames=17)
    with pytest.raises(ValueError, match='at least 1'): orchestra_clips('small', hop=0)
    assert clips_in(16, 16, 1) == 1 and clips_in(16, 4, 5) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_same_pairs_are_drawn_on_a_gpu():
    p = make(uneven, truth={'ms': torch.arange(len(uneven))})
    q = p.to('cuda')
    a, b = p.draw(500, gen()), q.draw(500, gen())
    assert b.is_cuda and torch.equal(a, b.cpu())
    assert torch.equal(p.draw_wrong(a, gen(1)), q.draw_wrong(b, gen(1)).cpu())
    assert q.batch(b).picture.is_cuda and torch.equal(q.batch(b).sound.cpu(), p.batch(a).sound)
    assert q.identity == p.identity and torch.equal(q.over(lambda b: b.label, part=100), p.labels)
    assert q.only(('c', 'd')).device.type == 'cuda' and q.subset(torch.arange(5)).truth['ms'].is_cuda


# ---- further people
@pytest.fixture
def tiny(monkeypatch, tmp_path):
    "Worlds of 39 songs of 0.7 s (3 pairs each), kept in a folder of their own."
    from avgen_nb import orchestra
    monkeypatch.setitem(orchestra.SIZES, 'small', dict(songs=(1, 1, 1), seconds=.7))
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path / 'cache'))

OPTIONS = dict(size='small', workers=0, progress=False)


def test_without_looks_the_orchestra_is_what_it_was(tiny):
    from avgen_nb.orchestra import build_orchestra
    arrays = build_orchestra(**OPTIONS)
    for name, p in orchestra_pairs(**OPTIONS, looks=0).items():
        rows = (arrays['split'] == ('train', 'dev', 'test').index(name)).nonzero()[0]
        assert p.identity == pairs_from(arrays, rows).identity and p.sound_of.tolist() == list(range(39))


def test_further_people_share_sounds_songs_and_truth(tiny):
    from avgen_nb.looks import draw_looks
    plain, crowd = orchestra_pairs(**OPTIONS), orchestra_pairs(**OPTIONS, looks=2)
    assert all(plain[n].identity == crowd[n].identity for n in ('dev', 'test')) and plain['train'].identity != crowd['train'].identity
    old, new = plain['train'], crowd['train']
    assert len(new) == 3 * len(old) == 117 and len(new.pictures) == 117 and torch.equal(new.sounds, old.sounds)
    assert all(torch.equal(v.nan_to_num(), old.truth[k].repeat(3).nan_to_num()) for k, v in new.truth.items() if k != 'keypoints')
    assert torch.equal(new.songs, old.songs.repeat(3)) and torch.equal(new.labels, old.labels.repeat(3))
    assert new.subset(torch.arange(39)).truth['keypoints'].equal(old.truth['keypoints']) and torch.equal(new.pictures[:39], old.pictures)
    for i in (40, 77, 78, 116):
        drawn = draw_looks(int(new.truth['row'][i]), i // 39, 'small')
        assert torch.equal(new.pictures[new.picture_of[i]], torch.from_numpy(drawn['picture'][0]))
        assert torch.equal(new.truth['keypoints'][i], torch.from_numpy(drawn['keypoints'][0]))
        assert torch.equal(new.batch(torch.tensor([i])).sound, old.batch(torch.tensor([i % 39])).sound)
    check_apart(crowd)


def test_further_people_can_be_cut_moved_and_drawn(tiny):
    crowd = orchestra_pairs(**OPTIONS, looks=1)['train']
    two = crowd.only(('tuba', 'flute'))
    assert len(two) == 12 and len(two.sounds) == 6 and len(two.pictures) == 12
    assert torch.equal(two.batch(torch.arange(6)).sound, two.batch(torch.arange(6, 12)).sound)
    index = crowd.draw(20_000, gen())
    assert chi2(index.bincount(minlength=78), torch.full((78,), 20_000 / 78)) < 77 + 5 * (2 * 77) ** .5
    again = crowd.subset(torch.arange(77, -1, -1))
    wider = with_looks(again.subset(torch.arange(39, 78)), dict(picture=crowd.pictures[:1].numpy(), keypoints=np.zeros((1, 12, 2), np.float32), row=[int(crowd.truth['row'][5])]))
    assert torch.equal(wider.batch(torch.tensor([39])).sound, crowd.batch(torch.tensor([5])).sound)


def test_a_larger_world_has_larger_people(tiny):
    small, large = (orchestra_pairs(**OPTIONS, looks=1, pixels=p)['train'] for p in (64, 128))
    assert large.pictures.shape[1:] == (3, 128, 128) and torch.equal(small.truth['keypoints'], large.truth['keypoints'])


def test_looks_of_moments_that_are_not_there_are_refused(tiny):
    p = orchestra_pairs(**OPTIONS)
    row = p['train'].truth['row']
    assert pair_at(p['train'], row.flip(0)).tolist() == list(range(38, -1, -1))
    for bad in (p['test'].truth['row'][:1], row.max() + torch.ones(1, dtype=torch.long)):
        with pytest.raises(ValueError, match='same world and split'): pair_at(p['train'], bad)
    with pytest.raises(ValueError, match='looks=-1'): orchestra_pairs(**OPTIONS, looks=-1)
