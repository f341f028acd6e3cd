"""Metrics: known distances, hand-counted balls, rows that survive anything, tables."""
import json
import math
import multiprocessing
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from avgen_nb.judges import Judge, balanced_accuracy
from avgen_nb.metrics import (COLUMNS, Given, Row, ball_radius, cell, cloud_rows, copy_rows, copy_share, device_name, diversity_within, fid, frechet, heard_pitch,
                              in_tune, item_rows, judge_labels, kernel_distance, kid, near_copies, nearest_other, nearest_training, patches, periodicity,
                              pitch_error_cents, prdc, pyramid, read_rows, row_json, rows_to_table, score_generated, sliced_wasserstein, write_rows)
from avgen_nb.nets import MODALITIES
from avgen_nb.pairs import to_picture


def cloud(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_frechet_of_gaussians_that_do_not_commute():
    a, b = torch.tensor([[2., 1], [1, 2]]), torch.tensor([[3., 0], [0, 1]])
    vals, vecs = torch.linalg.eigh(a)
    root = vecs @ vals.sqrt().diag() @ vecs.T
    inner = torch.linalg.eigvalsh(root @ b @ root).sqrt().sum()
    expected = 5 + (a.trace() + b.trace() - 2 * inner).item()
    assert frechet(torch.zeros(2), a, torch.tensor([1., 2]), b) == pytest.approx(expected, abs=1e-5)


def test_frechet_is_symmetric():
    a, b = cloud(50).T.cov(), cloud(50, seed=1).T.cov()
    assert frechet(torch.zeros(3), a, torch.ones(3), b) == pytest.approx(frechet(torch.ones(3), b, torch.zeros(3), a), abs=1e-5)


@pytest.mark.parametrize('shift, scale, expected', [(0, 1, 0), (2, 1, 12), (0, 3, 12), (1, 2, 6)])
def test_fid_of_known_gaussians(shift, scale, expected):
    assert fid(cloud(20000), shift + scale * cloud(20000, seed=1)) == pytest.approx(expected, rel=.03, abs=.1)


def test_fid_by_torchmetrics_is_our_formula():
    a, b = cloud(300, 16), 1.3 * cloud(200, 16, 1) + .2
    assert fid(a, b) == pytest.approx(frechet(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()), rel=1e-3)


def test_kid_by_torchmetrics_is_our_formula():
    a, b = cloud(60, 8), cloud(60, 8, 1) + .5
    assert kid(a, b, subsets=1)[0] == pytest.approx(kernel_distance(a, b), rel=1e-3)


def test_kid_is_unbiased():
    values = [kernel_distance(cloud(40, 8, 2 * i), cloud(40, 8, 2 * i + 1)) for i in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20 and min(values) < 0 < max(values)


def test_kid_is_repeatable_needs_no_equal_sizes_and_leaves_global_randomness_alone():
    a, b, before = cloud(500), cloud(90, seed=1), torch.get_rng_state()
    assert kid(a, b, seed=1) == kid(a, b, seed=1) != kid(a, b, seed=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_metrics_need_no_download(monkeypatch):
    monkeypatch.setattr('socket.socket.connect', lambda *a: pytest.fail('network'))
    assert fid(cloud(20), cloud(20, seed=1)) > 0 and Given(7).num_features == 7


def test_balls_by_hand():
    real, made = torch.tensor([[0.], [1], [2], [10]]), torch.tensor([[.5], [1.5], [9.], [30.]])
    # real balls (k=1): 1, 1, 1, 8.  .5 lies in 0, 1; 1.5 in 1, 2; 9 in 10; 30 in none.
    # made balls (k=1): 1, 1, 7.5, 21.  real 0 in .5; 1 in .5, 1.5; 2 in 1.5, 9; 10 in 9, 30.
    p = prdc(real, made, k=1)
    assert p == dict(precision=.75, recall=1., density=1.25, coverage=1.)


def test_same_far_and_copied_clouds():
    a, b = cloud(400), cloud(400, seed=1)
    assert all(v > .85 for v in prdc(a, b).values()) and set(prdc(a, b + 50).values()) == {0}
    assert prdc(a, a) == pytest.approx(dict(precision=1, recall=1, density=1, coverage=1))


def test_repeats_within_a_song_do_not_shrink_the_balls():
    real, made, songs = cloud(60, seed=1), cloud(60, seed=2), np.repeat(np.arange(60), 4)
    again = lambda x: x.repeat_interleave(4, 0) + 1e-3 * cloud(240, seed=3)
    once, often = prdc(real, made, k=1), prdc(again(real), again(made), 1, songs, songs)
    assert often['precision'] == pytest.approx(once['precision'], abs=.1) and often['coverage'] == pytest.approx(once['coverage'], abs=.1)
    assert prdc(again(real), again(made), k=1)['coverage'] < .2 * once['coverage']


def test_one_song_alone_has_no_territory():
    assert ball_radius(cloud(20), songs=[7] * 20).tolist() == [0] * 20


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match='too few'): prdc(cloud(5), cloud(100))


def test_diversity_by_hand_and_of_the_collapsed():
    x = torch.tensor([[0., 0], [3, 4], [0, 0], [6, 8], [7, 7]])
    assert diversity_within(x, [0, 0, 1, 1, 2]) == 7.5          # a class of one item has no diversity and is left out
    assert diversity_within(torch.zeros(6, 3, 8, 8), [0, 1] * 3) == 0
    assert math.isnan(diversity_within(x[:1], [0]))


def test_diversity_scales_and_is_repeatable():
    x, labels = cloud(900), np.arange(900) % 3
    assert diversity_within(2 * x, labels, most=50) == pytest.approx(2 * diversity_within(x, labels, most=50), rel=1e-5)


def test_cents():
    e = pitch_error_cents([60, 61, np.nan, 60], [60, 60, 60, np.nan])
    assert e[0] == 0 and e[1] == 100 and np.isnan(e[2:]).all()


def test_in_tune_counts_missed_notes_and_skips_rests():
    t = in_tune([60, 60.4, 60.6, np.nan, 55], [60, 60, 60, 60, np.nan], [0] * 5)
    assert t['value'] == .5 and t['n'] == 4


def test_chance_of_tune_stays_within_the_instrument():
    truth = np.array([40.] * 30 + [80.] * 30)
    assert in_tune(truth, truth, [0] * 30 + [1] * 30)['chance'] == 1     # each instrument plays one note
    mixed = in_tune(truth, truth, [0] * 60)['chance']
    assert .3 < mixed < .7


def test_pitch_is_heard_and_silence_is_not():
    t = torch.arange(22050) / 44100
    heard = heard_pitch(torch.stack([torch.sin(2 * torch.pi * 220 * t), torch.zeros(22050)]))
    assert abs(heard[0] - 57) < .1 and np.isnan(heard[1])


def test_neighbours_are_of_the_same_class_and_of_another_song():
    x = torch.tensor([[0.], [1], [3], [3.5], [9]])
    assert nearest_other(x, [0, 0, 0, 1, 1]).tolist() == [1, 1, 2, 5.5, 5.5]
    assert nearest_other(x, [0, 0, 0, 1, 1], songs=[7, 7, 8, 9, 9]).tolist() == [3, 2, 2, math.inf, math.inf]


@pytest.mark.parametrize('stuck', [0, 30, 120])
def test_near_copies_are_counted(stuck):
    real, made, labels = cloud(240, 16), cloud(240, 16, seed=1), np.arange(240) % 2
    made[:stuck] = torch.tensor([[0.], [9.]])[labels[:stuck]] + 1e-4 * cloud(stuck, 16, seed=2)   # one item a class, again and again
    assert near_copies(real, made, labels, labels) == pytest.approx(stuck / 240, abs=.06)
    assert near_copies(real, real, labels, labels) == 0


def test_likeness_within_a_song_is_no_copy_and_what_cannot_be_known_is_nan():
    songs = np.repeat(np.arange(20), 5)
    alike = lambda seed: cloud(20, 8, seed).repeat_interleave(5, 0) + 1e-3 * cloud(100, 8, seed + 1)
    zeros = np.zeros(100, dtype=int)
    assert near_copies(alike(0), alike(10), zeros, zeros, songs, songs) < .2
    assert near_copies(alike(0), cloud(5, 8).repeat(20, 1), zeros, zeros, songs, songs) == 1
    assert math.isnan(near_copies(alike(0), alike(10), zeros, zeros, zeros, zeros))
    assert near_copies(cloud(30), cloud(30), np.arange(30) % 2, np.arange(30) % 3) < 1   # class 2 has no real items: it is left out


def test_a_copier_of_the_training_set_is_found():
    train = cloud(300, 8)
    assert nearest_training(train.flip(0), train, part=64).max() < 1e-2
    assert nearest_training(cloud(300, 8, 1), train).median() > 1


def test_the_share_of_copies_is_0_and_that_of_new_draws_1():
    train, new, unseen = cloud(300, 8), cloud(300, 8, 1), cloud(300, 8, 2)
    assert copy_share(train, train, unseen) < .01 and copy_share(new, train, unseen) == pytest.approx(1, abs=.1)
    near = [copy_share(train + scale * new, train, unseen) for scale in (.01, .1, .3)]
    assert near[0] < near[1] < near[2] < .9 and copy_share(5 * new, train, unseen) > 2
    assert math.isnan(copy_share(new, train * 0, unseen * 0))


@pytest.mark.parametrize('shape', [(3, 64, 64), (1, 128, 44), (3, 128, 128)])
def test_copy_rows_in_pixels_and_in_features(shape):
    g = torch.Generator().manual_seed(0)
    train, new, unseen = F.interpolate(torch.randn(180, shape[0], 8, 8, generator=g), shape[1:]).split(60)
    mean = lambda x: x.mean(3).flatten(1)
    values = lambda made, **more: {r.metric: r.value for r in copy_rows(train, made, unseen, mean, **more)}
    assert max(values(train).values()) < .01
    assert all(v == pytest.approx(1, abs=.15) for v in values(new).values())
    assert values(new, most=20, seed=1) == values(new, most=20, seed=1)
    row, = copy_rows(train, new, unseen, most=20, system='S2I-C', split='test')
    assert (row.metric, row.system, row.split, row.n, row.ceiling) == ('copy_share_pixels', 'S2I-C', 'test', 20, 1)


def test_copy_rows_take_bytes_and_half_floats_and_leave_randomness_alone():
    g = torch.Generator().manual_seed(0)
    stored = torch.randint(256, (30, 3, 32, 32), generator=g).byte()
    made, unseen = to_picture(stored), to_picture(torch.randint(256, (30, 3, 32, 32), generator=g).byte())
    state = torch.get_rng_state()
    assert copy_rows(stored, made, unseen)[0].value < 1e-3
    assert copy_rows(unseen.half(), made, unseen + .5)[0].value == pytest.approx(copy_rows(unseen, made, unseen + .5)[0].value, rel=.01)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('shape', [(3, 64, 64), (1, 128, 44), (3, 17, 90)])
def test_a_pyramid_adds_up_again(shape):
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    *fine, rest = pyramid(x, 3)
    for level in fine[::-1]: rest = level + torch.nn.functional.interpolate(rest, level.shape[-2:], mode='bilinear', align_corners=False)
    assert torch.allclose(rest, x, atol=1e-5)


def test_patches_are_what_lies_there():
    x = torch.arange(2 * 3 * 20 * 11.).view(2, 3, 20, 11)
    p = patches(x, 50, torch.Generator().manual_seed(0))
    assert p.shape == (50, 7, 7, 3)
    assert all((q[1:] - q[:-1] == 11).all() and (q[:, 1:] - q[:, :-1] == 1).all() and (q[..., 1:] - q[..., :-1] == 220).all() for q in p)


def blotches(n, k, shape, seed):
    small = torch.randn(n, shape[0], shape[1] // k, shape[2] // k, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, shape[1:], mode='bilinear', align_corners=False)


@pytest.mark.parametrize('name', ['picture', 'sound'])
def test_each_fault_moves_its_level(name):
    shape = MODALITIES[name].shape
    draw = lambda seed: sum(a * blotches(200, k, shape, 3 * seed + i) for i, (a, k) in enumerate(((.1, 1), (.2, 4), (.3, 11 if shape[2] == 44 else 16))))
    real, other = draw(0), draw(1)
    far = lambda made: np.array(sliced_wasserstein(real, made, n=4096))
    still, blur = far(other), torch.nn.functional.avg_pool2d(other, 3, 1, 1, count_include_pad=False)
    moved = [int((far(x) / still).argmax()) for x in (blur, other + .3 * blotches(200, 4, shape, 90), other - .5)]
    assert len(still) == 3 and moved == [0, 1, 2] and far(real).max() == 0
    assert far(other).tolist() == still.tolist() != sliced_wasserstein(real, other, n=4096, seed=1)


def test_levels_follow_the_size():
    sizes = {(64, 64): 3, (128, 44): 3, (128, 128): 4, (16, 16): 1, (8, 8): 1}
    assert {s: len(sliced_wasserstein(torch.rand(2, 1, *s), torch.rand(3, 1, *s), n=10)) for s in sizes} == sizes


def test_periodicity_of_known_sounds():
    t, g = torch.arange(22050) / 44100, torch.Generator().manual_seed(0)
    sine, noise = lambda f: torch.sin(2 * torch.pi * f * t), torch.randn(22050, generator=g)
    smooth = torch.nn.functional.avg_pool1d(noise[None], 15, 1, 7)[0]   # neighbours alike, and yet no tone
    low, middle, high, hiss, dull, half, none = periodicity(torch.stack([sine(40), sine(440), sine(1900), noise, smooth, sine(440) + noise / 2**.5, 0 * t]))
    assert min(low, middle, high) > .99 and hiss < .15 and dull < .5 and half == pytest.approx(.5, abs=.05) and none == 0
    several = periodicity(sum(map(sine, (311.7, 440, 587.3, 745.1, 913.9, 1101.3)))[None])   # a chord that hardly repeats itself
    assert .3 < several < .9


def test_rows_of_items_have_real_songs_as_ceiling():
    songs, g = torch.arange(40) // 4, torch.Generator().manual_seed(0)
    real = torch.rand(40, 3, 64, 64, generator=g) - .5
    rows = item_rows(real, real + .3, songs, system='x', split='test')
    assert [r.metric for r in rows] == ['swd_level_0', 'swd_level_1', 'swd_level_2'] and all(r.split == 'test' for r in rows)
    assert rows[2].value > 3 * rows[2].ceiling > 0
    assert [r.ceiling for r in item_rows(real[:4], real[:4], torch.zeros(4), system='x')] == [None] * 3   # one song has no other half


def test_what_can_be_heard_is_heard():
    from avgen_nb.sound import lms, tone
    tones = lms(torch.stack([tone(60 + k, .5)[:22050] for k in range(4)]))
    hiss = lms(torch.randn(4, 22050, generator=torch.Generator().manual_seed(0)) / 9)
    judge = Judge(1, ('a', 'b'), 'sound', width=4)
    row = score_generated(judge, hiss, [0, 0, 1, 1], range(4), tones, [0, 0, 1, 1])[-1]
    assert row.metric == 'periodicity' and row.value < .5 < .9 < row.ceiling and row.n == 4


def test_no_measure_touches_the_callers_randomness():
    judge, x = Judge(3, ('a', 'b'), 'picture', width=4), torch.rand(16, 3, 64, 64) * 2 - 1
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    rows = score_generated(judge, x, [0, 1] * 8, range(16), x.flip(0), [0, 1] * 8)
    assert {'kid_judge', 'near_copies', 'swd_level_0'} <= {r.metric for r in rows}
    periodicity(MODALITIES['sound'].hear(torch.rand(2, 1, 128, 44, generator=torch.Generator().manual_seed(0))))
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numbers)


ROW = Row('S2I-C+guide', 'sound → picture', 'orchestra', 'test', 'balanced_accuracy', .91, .88, .94, 3640, 78, 1, .98, 1/13, 1/13, .7556, 0, 2000, 1.5, 'CPU', '0.1')


def test_factors_are_plain_and_come_back(tmp_path):
    row = Row('x', recipe='r', budget='cpu', factors=dict(every=4, who='cello', level=np.float32(.5), most=math.inf))
    write_rows(tmp_path/'rows.jsonl', [row])
    back, = read_rows(tmp_path/'rows.jsonl')
    assert (back.recipe, back.budget, back.factors) == ('r', 'cpu', dict(every=4, who='cello', level=.5, most=None))
    assert Row('x').factors == {} and Row('x').factors is not Row('y').factors
    assert cell(back, 'factors') == 'every 4, who cello, level 0.5, most None'


def test_the_columns_are_the_contract():
    assert list(json.loads(row_json(ROW))) == ['system', 'recipe', 'direction', 'data', 'budget', 'factors', 'split', 'metric', 'value', 'low', 'high',
                                               'n', 'songs', 'seeds', 'ceiling', 'chance', 'majority', 'paper', 'seed', 'steps', 'minutes', 'device', 'version']


def test_rows_survive_the_file(tmp_path):
    path = tmp_path/'deep'/'results.jsonl'
    write_rows(path, [ROW]); write_rows(path, [Row('größer|<b>')])
    assert read_rows(path) == [ROW, Row('größer|<b>')]
    write_rows(path, [ROW], append=False)
    assert read_rows(path) == [ROW] and list(path.parent.iterdir()) == [path]


def _append(path, name, n):
    for i in range(n): write_rows(path, [Row(f'{name} {i}', device='x' * 500)])


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork')
def test_no_row_of_two_processes_is_lost_and_no_reader_sees_half_a_row(tmp_path):
    path, fork = tmp_path/'r.jsonl', multiprocessing.get_context('fork')
    write_rows(path, [Row('first')])
    writers = [fork.Process(target=_append, args=(path, name, 40)) for name in 'ab']
    for w in writers: w.start()
    while any(w.is_alive() for w in writers): assert read_rows(path)[0].system == 'first'
    for w in writers: w.join()
    assert [w.exitcode for w in writers] == [0, 0] and list(tmp_path.iterdir()) == [path]
    assert sorted(r.system for r in read_rows(path)[1:]) == sorted(f'{name} {i}' for name in 'ab' for i in range(40))


@pytest.mark.parametrize('content', [b'\xff\xfe\x00no text', b'a table of other things\n'])
def test_nothing_is_appended_to_what_is_no_file_of_rows(tmp_path, content):
    path = tmp_path/'notes.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='notes.txt'): write_rows(path, [ROW])
    assert path.read_bytes() == content


def test_a_file_without_a_last_newline_is_continued(tmp_path):
    path = tmp_path/'r.jsonl'
    path.write_text(row_json(ROW))
    write_rows(path, [ROW])
    assert read_rows(path) == [ROW, ROW]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), np.float32('nan')])
def test_json_stays_json(value):
    assert json.loads(row_json(Row('x', value=value)), parse_constant=lambda c: pytest.fail(c))['value'] is None


def test_numbers_of_numpy_and_torch_are_written():
    line = json.loads(row_json(Row('x', value=np.float32(.5), n=np.int64(3), low=torch.tensor(.25))))
    assert (line['value'], line['n'], line['low']) == (.5, 3, .25)


@pytest.mark.parametrize('text', ['{"system": "a"', '{"metric": "no system"}', '[1]'])
def test_a_bad_line_is_named(tmp_path, text):
    (tmp_path/'r.jsonl').write_text(row_json(ROW) + '\n\n' + text + '\n')
    with pytest.raises(ValueError, match='r.jsonl, line 3'): read_rows(tmp_path/'r.jsonl')


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path/'r.jsonl'
    write_rows(path, [ROW])
    with pytest.raises(TypeError): write_rows(path, [Row('x', value=object())])
    assert read_rows(path) == [ROW]


def test_cells():
    assert cell(ROW, 'value') == '0.910 [0.880, 0.940]' and cell(ROW, 'n') == '3640'
    assert cell(Row('x'), 'value') == cell(Row('x'), 'paper') == cell(Row('x'), 'data') == '–'
    assert cell(Row('x', value=-.0004), 'value') == '-0.000' and cell(Row('x', value=.5, low=math.nan, high=math.nan), 'value') == '0.500'
    assert cell(ROW, 'seeds') == 'one seed' and cell(Row('x', seeds=3), 'seeds') == '3'


def test_tables():
    text, mark, page = (rows_to_table([ROW, Row('<i>')], form=f) for f in ('text', 'markdown', 'html'))
    assert text.count('\n') == 3 and all(c in text for c in COLUMNS)
    assert all(line.count('|') == len(COLUMNS) + 1 for line in mark.splitlines())
    assert page.count('<tr>') == 3 and '&lt;i&gt;' in page and '<i>' not in page
    assert rows_to_table([]).count('\n') == 1
    assert 'one seed' in rows_to_table([ROW], ('system', 'value')) and 'seed' not in rows_to_table([Row('x')], ('system', 'value'))
    with pytest.raises(ValueError, match="'latex'"): rows_to_table([ROW], form='latex')


def test_labels_are_matched_by_name():
    judge = Judge(3, ('a', 'b', 'c'), 'picture', width=4)
    assert judge_labels(judge, torch.tensor([0, 1, 1]), ('c', 'a')).tolist() == [2, 0, 0]
    with pytest.raises(ValueError, match='does not know z'): judge_labels(judge, [0], ('z',))


def test_scores_of_a_generator():
    torch.manual_seed(0)
    judge, x = Judge(3, ('a', 'b', 'c'), 'picture', width=4), torch.rand(30, 3, 64, 64) * 2 - 1
    judge.meta = dict(ceiling=dict(value=.97))   # of another split: no row may take it
    labels = judge.predict(x).argmax(1)
    real_labels = torch.where(torch.arange(30) < 15, labels, (labels + 1) % 3)
    rows = score_generated(judge, x, labels, torch.arange(30), x, real_labels, system='S2I', split='test', seed=4, steps=10)
    by = {r.metric: r for r in rows}
    assert by['balanced_accuracy'].value == 1 and by['balanced_accuracy'].ceiling == balanced_accuracy(real_labels, labels, 3) < .97 and by['balanced_accuracy'].chance == 1/3
    assert by['fid_judge'].value == pytest.approx(0, abs=1e-4) and by['coverage'].value == 1
    assert all((r.system, r.split, r.seed, r.seeds, r.steps, r.n, r.songs) == ('S2I', 'test', 4, 1, 10, 30, 30) for r in rows)


def test_scores_without_real_items_and_with_few_classes():
    judge, x = Judge(1, ('a', 'b', 'c'), 'sound', width=4), torch.randn(4, 1, 128, 44)
    row, = score_generated(judge, x, [0, 0, 1, 1], [0, 1, 2, 3], classes=('c', 'b'), only=('b', 'c'))
    assert row.chance == .5 and row.ceiling is None and 0 <= row.low <= row.value <= row.high <= 1


def test_a_run_of_one_instrument_says_what_always_naming_it_would_score():
    judge, x = Judge(3, ('a', 'b', 'c'), 'picture', width=4), torch.rand(8, 3, 64, 64) * 2 - 1
    row = score_generated(judge, x, [0] * 8, range(8), x, [0] * 8, classes=('b',), only=('b',))[0]
    assert (row.value, row.ceiling, row.chance, row.majority, row.songs) == (1, 1, 1, 1, 8)
    row = score_generated(judge, x, [0] * 8, range(8), classes=('b',))[0]
    assert (row.chance, row.majority) == (1/3, 1)


def test_rows_of_several_models_say_so_and_have_their_spread():
    torch.manual_seed(0)
    judge, x = Judge(3, ('a', 'b'), 'picture', width=4), torch.rand(40, 3, 64, 64) * 2 - 1
    named, run, song = judge.predict(x).argmax(1), torch.arange(40) // 20, torch.arange(40) % 20
    labels = torch.where(run == 0, named, 1 - named)     # one model always right, one always wrong
    row, = score_generated(judge, x, labels, song, runs=run)
    assert (row.seeds, row.songs, row.low, row.high) == (2, 20, 0, 1)
    assert score_generated(judge, x[:20], labels[:20], song[:20])[0].seeds == 1


def test_cloud_rows_of_few_items_leave_out_what_cannot_be_counted():
    names = [r.metric for r in cloud_rows(cloud(5), cloud(5, seed=1), None, [0] * 5, system='x')]
    assert names == ['kid_judge', 'fid_judge', 'diversity_within']


def test_device_name():
    assert 'threads' in device_name('cpu')
