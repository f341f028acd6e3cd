"""Judges: fair counting, intervals over songs, freezing, class subsets, saving and refusing."""
import dataclasses

import numpy as np
import pytest
import torch
from avgen_nb.judges import (Judge, answers, balanced_accuracy, ceiling_of, chance, confusion, judge_for, judges_for, load_judge, majority,
                             outline, package_judge, recalls, same_outline, save_judge, paired_interval, song_interval, train_judge, warm_cosine, world_judge)
from avgen_nb.nets import modality_named
from avgen_nb.pairs import Pairs, pairs_from
from avgen_nb.files import save_nets

CLASSES = ('flute', 'horn', 'tuba')


def toy_pairs(songs_per_class=3, windows=6, seed=0, first_song=0):
    "Pictures whose colour, sounds whose band, is the class: learnable in a few steps."
    g = torch.Generator().manual_seed(seed)
    n = 3 * songs_per_class * windows
    label = torch.arange(n) % 3
    songs = first_song + torch.arange(n) // windows // 3 * 3 + label
    pictures = torch.randint(0, 60, (n, 3, 64, 64), generator=g, dtype=torch.uint8)
    sounds = torch.rand(n, 1, 128, 44, generator=g) - 1
    for i in range(n):
        pictures[i, label[i]] += 150
        sounds[i, 0, 40 * label[i]:40 * label[i] + 30] += .8
    every = torch.arange(n)
    return Pairs(pictures, sounds, label, label, songs, CLASSES, every, every)


@pytest.fixture
def splits():
    return dict(train=toy_pairs(), dev=toy_pairs(2, seed=1, first_song=100), test=toy_pairs(2, seed=2, first_song=200))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path))
    return tmp_path


def test_recall_by_hand():
    r = recalls([0, 0, 0, 2], [0, 1, 0, 2], 4)
    assert r[0] == 2/3 and r[2] == 1 and np.isnan(r[1]) and np.isnan(r[3])
    assert balanced_accuracy([0, 0, 0, 2], [0, 1, 0, 2], 4) == pytest.approx(5/6)


def test_balanced_accuracy_ignores_class_sizes_and_order():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 5, 400), rng.integers(0, 5, 400)
    once, order = balanced_accuracy(true, pred, 5), rng.permutation(400)
    repeat = np.concatenate([np.arange(400)] + [np.flatnonzero(true == 2)] * 3)
    assert balanced_accuracy(true[order], pred[order], 5) == pytest.approx(once)
    assert balanced_accuracy(true[repeat], pred[repeat], 5) == pytest.approx(once)


def test_tensors_and_arrays_count_alike():
    true, pred = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])
    assert balanced_accuracy(true, pred, 2) == .75
    assert confusion(true, pred, 2).tolist() == [[1, 0], [1, 1]]
    assert song_interval(true, pred, torch.tensor([0, 1, 2]))[0] == .75


@pytest.mark.parametrize('true, pred', [([], []), ([0, 1], [0])])
def test_counting_refuses_nothing_and_unequal(true, pred):
    with pytest.raises(ValueError, match='one answer for each'): balanced_accuracy(np.array(true, dtype=int), np.array(pred, dtype=int), 2)
    with pytest.raises(ValueError, match='one answer for each'): song_interval(np.array(true, dtype=int), np.array(pred, dtype=int), np.array(true, dtype=int))


def test_chance_and_majority():
    assert chance(13) == 1/13 and majority([0, 0, 1, 2]) == 1/3 == balanced_accuracy([0, 0, 1, 2], [0, 0, 0, 0], 3)
    assert majority([4, 4]) == balanced_accuracy([4, 4], [4, 4], 5) == 1   # of one instrument: always naming it is always right


def test_interval_holds_its_value_and_is_repeatable():
    rng = np.random.default_rng(1)
    songs = np.repeat(np.arange(60), 20)
    true = songs % 6
    pred = np.where(rng.random(60)[songs] < .7, true, (true + 1) % 6)
    value, low, high = song_interval(true, pred, songs)
    assert low <= value <= high and high - low > .1
    assert song_interval(true, pred, songs) == (value, low, high) != song_interval(true, pred, songs, seed=1)


def test_interval_does_not_shrink_with_more_windows_of_the_same_songs():
    songs = np.arange(40)
    true = songs % 2
    pred = np.where(np.arange(40) % 5 == 0, 1 - true, true)
    many = [np.repeat(a, 50) for a in (true, pred, songs)]
    assert song_interval(true, pred, songs) == song_interval(*many)


def test_interval_agrees_with_a_plain_loop():
    rng = np.random.default_rng(2)
    songs = np.repeat(np.arange(12), rng.integers(3, 30, 12))
    true = songs % 3
    pred = np.where(rng.random(len(songs)) < .3 + .05 * songs, true, (true + 1) % 3)
    values = []
    for _ in range(3000):
        rows = np.concatenate([np.flatnonzero(songs == s) for c in range(3) for s in rng.choice(np.arange(12)[np.arange(12) % 3 == c], 4)])
        values.append(balanced_accuracy(true[rows], pred[rows], 3))
    _, low, high = song_interval(true, pred, songs, n=5000)
    assert np.allclose((low, high), np.percentile(values, [2.5, 97.5]), atol=.01)


def test_one_song_a_class_has_a_width_between_classes_and_says_that_it_is_not_all():
    songs = np.repeat(np.arange(13), 10)
    pred = np.where(songs < 3, 12, songs)
    with pytest.warns(UserWarning, match='13 of 13 classes have one song'): value, low, high = song_interval(songs, pred, songs)
    assert low < value < high and value == pytest.approx(10/13)


def test_one_song_of_one_class_has_no_interval():
    zeros = np.zeros(10, dtype=int)
    with pytest.warns(UserWarning, match='1 of 1 classes'): value, low, high = song_interval(zeros, zeros, zeros)
    assert value == 1 and np.isnan(low) and np.isnan(high)


def test_several_songs_a_class_are_no_reason_to_warn(recwarn):
    songs = np.arange(8)
    song_interval(songs % 2, songs % 2, songs)
    assert not recwarn.list


def three_models(scores=(.9, .7, .85), songs=40):
    "Two classes; each model gets that share of the songs of each class right."
    song, run = np.tile(np.arange(songs), len(scores)), np.repeat(np.arange(len(scores)), songs)
    true = song // (songs // 2)
    right = np.concatenate([np.arange(songs) % (songs // 2) < songs // 2 * s for s in scores])
    return true, np.where(right, true, 1 - true), song, run


def test_interval_over_models_reaches_their_spread():
    true, pred, song, run = three_models()
    value, low, high = song_interval(true, pred, song, runs=run)
    assert value == pytest.approx(2.45 / 3) and low < .72 and high > .88
    _, narrow, wide = song_interval(true, pred, song)
    assert high - low > 1.2 * (wide - narrow)


def test_models_of_one_score_add_nothing_to_the_songs():
    true, pred, song, run = three_models((.8, .8, .8))
    once = song_interval(true[:40], pred[:40], song[:40])
    assert song_interval(true, pred, song, runs=run) == pytest.approx(once) and song_interval(true[:40], pred[:40], song[:40], runs=run[:40]) == once


def test_interval_of_labels_with_gaps_and_big_song_numbers():
    true = np.array([3, 3, 7, 7]); songs = np.array([10**12, 10**12 + 1, 5, 6])
    assert song_interval(true, true, songs) == (1, 1, 1)


def test_interval_is_fast():
    import time
    songs = np.repeat(np.arange(65), 56)
    start = time.process_time(); song_interval(songs % 13, songs % 13, songs)
    assert time.process_time() - start < 1


def test_learning_rate_starts_and_ends_at_zero():
    assert warm_cosine(0) == 0 and warm_cosine(1) == pytest.approx(0) and warm_cosine(1.2) == pytest.approx(0)
    assert max(warm_cosine(t) for t in np.linspace(0, 1, 101)) == 1


@pytest.mark.parametrize('channels, shape', [(3, (64, 64)), (1, (128, 44)), (3, (128, 128)), (1, (128, 5))])
def test_one_class_serves_every_shape(channels, shape):
    judge = Judge(channels, CLASSES, 'any', width=4)
    p = judge.predict(torch.zeros(2, channels, *shape))
    assert p.shape == (2, 3) and torch.allclose(p.sum(1), torch.ones(2), atol=1e-5)
    assert judge.features(torch.zeros(2, channels, *shape)).shape == (2, judge.num_features)


def test_an_answer_does_not_depend_on_its_neighbours_or_the_mode():
    torch.manual_seed(0)
    judge, x = Judge(3, CLASSES, 'picture', width=4).train(), torch.randn(5, 3, 64, 64)
    alone = torch.cat([judge.predict(x[i:i+1]) for i in range(5)])
    assert torch.allclose(judge.predict(x), alone, atol=1e-5) and not judge.training


def test_only_some_classes_may_be_answered():
    judge = Judge(1, CLASSES, 'sound', width=4)
    p = judge.predict(torch.randn(9, 1, 128, 44), only=('horn',))
    assert torch.equal(p, torch.tensor([0., 1., 0.]).expand(9, 3))


@pytest.mark.parametrize('name', ['picture', 'sound'])
def test_a_judge_learns_an_easy_world(name, splits):
    judge = train_judge(name, splits['train'], splits['dev'], steps=40, width=4, batch=24, strength=.3)
    assert judge.meta['dev']['value'] > .9 and judge.meta['steps'] == 40 and judge.modality == name
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())


def test_training_is_repeatable_and_leaves_global_randomness_alone(splits):
    before = torch.get_rng_state()
    a, b, c = (train_judge('picture', splits['train'], steps=3, width=4, batch=8, seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(a.predict(x), b.predict(x)) and not torch.equal(a.predict(x), c.predict(x))


def test_unknown_modality_is_named(splits):
    with pytest.raises(ValueError, match="'smell'.*picture, sound"): train_judge('smell', splits['train'], steps=1)


def test_ceiling_says_everything_beside_it(splits):
    judge = Judge(3, CLASSES, 'picture', width=4)
    c = ceiling_of(judge, splits['test'])
    assert set(c) == {'value', 'low', 'high', 'n', 'songs', 'chance', 'majority'} and c['n'] == 36 and c['chance'] == c['majority'] == 1/3 and c['songs'] == 6
    assert ceiling_of(judge, splits['test'], only=('flute', 'horn'))['chance'] == 1/2
    assert len(answers(judge, splits['test'])) == 36


def test_a_split_is_judged_a_part_at_a_time(monkeypatch):
    pairs, seen, batch = toy_pairs(20), [], Pairs.batch
    monkeypatch.setattr(Pairs, 'batch', lambda self, index, *a: (seen.append(len(index)), batch(self, index, *a))[1])
    ceiling_of(Judge(3, CLASSES, 'picture', width=4), pairs)
    assert max(seen) == 256 and sum(seen) == len(pairs) == 360


def test_the_ceiling_knows_classes_by_name(splits):
    judge, turned = train_judge('picture', splits['train'], steps=40, width=4, batch=24, strength=.3), splits['test'].only(CLASSES[::-1])
    assert ceiling_of(judge, turned)['value'] == ceiling_of(judge, splits['test'])['value'] > .9


def test_a_judge_of_some_classes(splits):
    some = {k: p.only(('tuba', 'flute')) for k, p in splits.items()}
    judge = train_judge('sound', some['train'], some['dev'], steps=3, width=4, batch=8)
    assert judge.classes == ('tuba', 'flute') and judge.predict(some['test'].sounds.float()).shape[1] == 2


def test_saved_and_loaded_alike(tmp_path):
    judge = Judge(3, CLASSES, 'picture', width=4)
    judge.meta = dict(seed=3, ceiling=dict(value=.9))
    save_judge(judge, tmp_path/'j.safetensors')
    again, x = load_judge(tmp_path/'j.safetensors'), torch.randn(3, 3, 64, 64)
    assert torch.allclose(judge.predict(x), again.predict(x), atol=1e-6)
    assert (again.classes, again.modality, again.width, again.meta) == (CLASSES, 'picture', 4, judge.meta)


def test_files_that_hold_no_judge_are_refused(tmp_path):
    with pytest.raises(ValueError, match='does not exist'): load_judge(tmp_path/'none.safetensors')
    save_nets(tmp_path/'other.safetensors', dict(judge=torch.nn.Linear(2, 2)), {})
    with pytest.raises(ValueError, match='holds no judge'): load_judge(tmp_path/'other.safetensors')
    save_judge(Judge(3, CLASSES, 'picture', width=4), tmp_path/'cut.safetensors')
    data = (tmp_path/'cut.safetensors').read_bytes()
    (tmp_path/'cut.safetensors').write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match='cut.safetensors'): load_judge(tmp_path/'cut.safetensors')


@pytest.fixture(scope='module')
def some_songs():
    "Six songs of the built-in world, as Pairs that know their numbers in it."
    from avgen_nb.orchestra import Plan
    from avgen_nb.players import INSTRUMENTS
    plan, numbers = Plan('default', 0), [0, 23, 35, 33, 90, 441]   # train, train, train, test, train, test
    items = [plan[i] for i in numbers]
    arrays = {k: np.concatenate([x[k] for x in items]) for k in ('picture', 'lms', 'pitch', 'loudness', 'phase', 'keypoints')}
    per = len(items[0]['picture'])
    arrays |= dict(label=np.repeat([i // 34 for i in numbers], per), song=np.repeat(numbers, per), ms=np.tile(np.arange(per), 6))
    return pairs_from(arrays, np.arange(6 * per))


@pytest.mark.parametrize('modality', ['picture', 'sound'])
def test_the_packages_judges_know_the_songs_they_learnt_from(modality, some_songs):
    judge = package_judge(modality)
    assert judge.modality == modality and judge.classes == some_songs.classes and judge.meta['steps'] == modality_named(modality).judge_steps
    for split, numbers in dict(train=[0, 23, 35, 90], test=[33, 441]).items():
        world, found = judge.meta['world'][split], outline(some_songs.subset(torch.isin(some_songs.songs, torch.tensor(numbers))), modality)
        place = [world['songs'].index(n) for n in numbers]
        assert same_outline({k: [v[i] for i in place] for k, v in world.items()}, found)
        assert len(world['songs']) == 13 * dict(train=24, test=6)[split] and set(world['windows']) == {41}


def test_all_models_of_the_package_are_scored_by_its_one_judge():
    from avgen_nb.runs import shipped, shipped_folder, shipped_names
    for name in shipped_names():
        run = shipped(name)
        assert not (shipped_folder(name)/'judge.safetensors').exists()
        assert all(map(torch.equal, run.jury.parameters(), package_judge(run.target.name).parameters()))


@pytest.mark.parametrize('modality', ['picture', 'sound'])
def test_the_packages_judge_is_taken_for_its_own_world_only(modality, some_songs, cache, monkeypatch):
    data = dict(train=some_songs, test=some_songs)
    judge = package_judge(modality)
    judge.meta['world'] = dict.fromkeys(data, outline(some_songs, modality))
    monkeypatch.setattr('avgen_nb.judges.package_judge', lambda m: judge)
    monkeypatch.setattr('avgen_nb.judges.train_judge', lambda *a, **k: Judge(*((3,) if modality == 'picture' else (1,)), some_songs.classes, modality, width=4))
    assert judge_for(modality, data).width == 16 and 'world' not in judge.meta
    other = lambda **change: dict(data, train=dataclasses.replace(some_songs, **change))
    for change in (dict(songs=some_songs.songs + 1), dict(pictures=255 - some_songs.pictures, sounds=.9 * some_songs.sounds)):
        judge.meta['world'] = dict.fromkeys(data, outline(some_songs, modality))
        assert judge_for(modality, other(**change)).width == 4
    judge.meta['world'] = dict.fromkeys(data, outline(some_songs, modality))
    assert judge_for(modality, data, steps=modality_named(modality).judge_steps).width == judge_for(modality, data, seed=1).width == 4


def test_the_packages_judge_gets_the_ceiling_of_the_test_songs_that_are_given(some_songs):
    half = some_songs.subset(some_songs.labels == some_songs.labels[0])
    judge = package_judge('picture')
    world = dict.fromkeys(('train', 'test'), outline(some_songs, 'picture'))
    with pytest.MonkeyPatch.context() as m:
        judge.meta['world'] = world
        m.setattr('avgen_nb.judges.package_judge', lambda name: judge)
        assert world_judge('picture', dict(train=some_songs, test=half)).meta['ceiling']['n'] == len(half)


def test_judges_are_trained_once(splits, cache, monkeypatch):
    first = judges_for(splits, steps=2)
    assert set(first) == {'picture', 'sound'} and len(list(cache.rglob('judge-*.safetensors'))) == 2
    monkeypatch.setattr('avgen_nb.judges.train_judge', lambda *a, **k: pytest.fail('trained again'))
    again = judges_for(splits, steps=2)
    assert again['sound'].meta == first['sound'].meta and again['sound'].meta['ceiling']['n'] == 36


def test_other_data_settings_or_seed_mean_another_judge(splits, cache):
    judge_for('picture', splits, steps=1)
    judge_for('picture', splits, steps=2)
    judge_for('picture', splits, steps=1, seed=1)
    judge_for('picture', {**splits, 'train': toy_pairs(seed=9)}, steps=1)
    assert len(list(cache.rglob('judge-*.safetensors'))) == 4


def test_a_broken_cache_is_made_anew(splits, cache):
    judge_for('picture', splits, steps=1)
    path, = cache.rglob('judge-*.safetensors')
    path.write_bytes(b'rubbish')
    assert judge_for('picture', splits, steps=1).meta['steps'] == 1
    assert load_judge(path).meta['ceiling']['n'] == 36


def test_a_judge_of_128_pixels_by_the_same_code():
    from avgen_nb.judges import one_of, train_judge, world_judge
    from avgen_nb.pairs import orchestra_pairs
    data = orchestra_pairs('small', progress=False, pixels=128)
    assert one_of(data['train'], 'picture').shape == (3, 128, 128)
    judge = train_judge('picture', data['train'], steps=60, width=4, batch=32)
    assert judge.meta['size'] == [128, 128]
    true = data['train'].labels
    assert (judge.predict(data['train'].batch(torch.arange(len(true))).picture).argmax(1) == true).float().mean() > 3 / 13
    with pytest.raises(ValueError, match='pictures of 128×128, these are of 64×64'): judge.predict(torch.zeros(2, 3, 64, 64))
    assert world_judge('picture', data) is None


def gap(true, ours, theirs, songs): return paired_interval(true, {0: ours}, {0: theirs}, songs)


def test_a_gap_is_the_difference_and_pairing_narrows_it():
    g = torch.Generator().manual_seed(1)
    true, songs = torch.arange(3).repeat_interleave(200), torch.arange(60).repeat_interleave(10)
    theirs = torch.where(torch.rand(600, generator=g) < torch.rand(60, generator=g)[songs], true, (true + 1) % 3)
    ours = torch.where(torch.rand(600, generator=g) < .2, true, theirs)
    value, low, high = gap(true, ours, theirs, songs)
    a, b = song_interval(true, ours, songs), song_interval(true, theirs, songs)
    assert value == pytest.approx(a[0] - b[0]) and low < value < high
    assert high - low < .5 * min(a[2] - a[1], b[2] - b[1])
    assert gap(true, theirs, ours, songs)[0] == pytest.approx(-value)
    assert gap(true, ours, ours, songs) == (0, 0, 0)
    again = gap(true.repeat(5), ours.repeat(5), theirs.repeat(5), songs.repeat(5))
    assert again == pytest.approx((value, low, high)), 'seeds do not multiply songs'


def test_a_gap_over_one_song_of_one_seed_has_no_interval():
    true, ours, theirs, song = torch.zeros(8).long(), torch.tensor([0] * 6 + [1] * 2), torch.tensor([0] * 4 + [1] * 4), torch.zeros(8).long()
    with pytest.warns(UserWarning, match='one song'): value, low, high = gap(true, ours, theirs, song)
    assert value == .25 and low != low and high != high


def test_a_gap_of_several_seeds_is_as_wide_as_the_seeds_are_apart():
    "Three seeds .18 apart, as CMCGAN+guide's are: songs alone do not say so."
    g = torch.Generator().manual_seed(2)
    true, songs = torch.arange(3).repeat_interleave(400), torch.arange(60).repeat_interleave(20)
    theirs = {s: torch.where(torch.rand(1200, generator=g) < .7, true, (true + 1) % 3) for s in range(3)}
    ours = {s: torch.where(torch.rand(1200, generator=g) < at, true, (true + 1) % 3) for s, at in enumerate((.9, .72, .85))}
    value, low, high = paired_interval(true, ours, theirs, songs)
    alike = gap(true.repeat(3), *(torch.cat(list(of.values())) for of in (ours, theirs)), songs.repeat(3))
    assert value == pytest.approx(alike[0]) and high - low > 2 * (alike[2] - alike[1])
    gaps = [gap(true, ours[s], theirs[s], songs)[0] for s in range(3)]
    assert low < sorted(gaps)[1] < high
    assert paired_interval(true, {k: ours[k] for k in (2, 0, 1)}, theirs, songs) == (value, low, high), 'seeds are paired by name'


def test_three_seeds_are_as_far_apart_as_new_ones_would_be():
    "Every song is answered alike, so songs have no width: the interval is the seeds' own, and no narrower than their spread says."
    true, songs = torch.zeros(200).long(), torch.arange(20).repeat_interleave(10)
    said = [torch.where(torch.arange(200) % 10 < k, 0, 1) for k in (7, 8, 9)]
    value, low, high = song_interval(true.repeat(3), torch.cat(said), songs.repeat(3), runs=torch.arange(3).repeat_interleave(200))
    assert value == pytest.approx(.8) and high - low >= 2 * 1.96 * .1 / 3 ** .5


@pytest.mark.parametrize('size', ((2, 1), (1, 1), (1, 3), (4, 4), (5, 2)))
def test_gradients_of_small_maps_are_right_in_bfloat16(size):
    from avgen_nb.judges import Stepping
    ours, x = Stepping(64, 128, 3, 2, 1, bias=False), torch.randn(12, 64, *size)
    plain = torch.nn.Conv2d(64, 128, 3, 2, 1, bias=False)
    plain.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(x), plain(x), atol=1e-5)
    with torch.autocast('cpu', torch.bfloat16): y = ours(x)
    y.float().square().mean().backward(); plain(x).square().mean().backward()
    assert (ours.weight.grad - plain.weight.grad).norm() < .05 * plain.weight.grad.norm()
