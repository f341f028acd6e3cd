"What is put beside something else: walks, trips, models, songs, copies, and their panels."
import gc, json, shutil

import numpy as np
import pytest
import torch

from avgen_nb import beside, explorer
from avgen_nb.beside import (arc, browse, browse_by, browse_panel, compare, compare_panel, copies_panel, explore_copies, explore_models, explore_trip,
                             explore_walk, faded, ledger_row, ledger_words, nearest, neighbours, round_trip, song_rows, thumbs, trip_panel,
                             walk_between, walk_panel)
from avgen_nb.explorer import HOME, explore, models_here, note_panel, open_model, play_pair, pose_panel, reply
from avgen_nb.page import tiles_html
from avgen_nb.players import INSTRUMENTS
from avgen_nb.runs import keep_run, load_run, shipped_names
from avgen_nb.sound import SAMPLE_RATE
from test_explorer import SHIPPED, Tags, all_widgets, arrays, copy_of, parts


def test_no_colour_is_set_so_both_themes_can_be_read():
    assert 'color' not in tiles_html(explore()) + tiles_html(explore_walk()[:2])


@pytest.mark.parametrize('make_panel, control, n', [(note_panel, 'pitch', 200), (pose_panel, 'pitch', 30), (walk_panel, 'z', 10), (trip_panel, 'z', 10), (compare_panel, 'z', 30)])
def test_updates_leave_nothing_behind(make_panel, control, n, monkeypatch):
    import matplotlib.pyplot as plt
    for room in (explorer, beside):   # the slow part, not what is tested
        monkeypatch.setattr(room, 'lms_to_wave', lambda x, *a, length=22050: x.new_zeros(len(x), length))
    box = make_panel()
    slider, out = box.controls[control], box.children[1]
    def held():
        gc.collect()
        return all_widgets(), parts(box), len(plt.get_fignums()), out.value.count('<figure'), out.value.count('<audio')
    def move(n):
        for k in range(n): slider.value = slider.min + (slider.value - slider.min + 1) % (slider.max - slider.min + 1)
    move(3)
    before, objects = held(), len(gc.get_objects())
    move(n)
    assert held() == before and len(gc.get_objects()) - objects < 100


def test_every_panel_opens_and_answers(arrays):
    train = np.flatnonzero(arrays['split'] == 0)
    for box in (note_panel(), note_panel('picture'), pose_panel(), walk_panel(), trip_panel(), trip_panel('picture', 'sound'), compare_panel(), compare_panel('picture'),
                browse_panel(arrays), copies_panel(arrays, train, thumbs(arrays['picture'][train]), 'a scale')):
        out = box.children[1]
        before = out.value
        box.controls['instrument'].value = 'tuba'
        assert 'role="alert"' not in before + out.value and '<figure' in before and out.value != before and Tags(out.value)


def test_no_model_chosen_is_said():
    box = compare_panel()
    box.controls['names'].value = ()
    assert 'there is no model to compare' in box.children[1].value


@pytest.mark.parametrize('a, b', [([[1., 0.]], [[0., 1.]]), ([[1., 0.]], [[1., 0.]]), ([[1., 0.]], [[-1., 0.]]), ([[0., 0.]], [[1., 0.]])])
def test_arcs_end_where_they_should(a, b):
    way = arc(torch.tensor(a), torch.tensor(b), 5)
    assert torch.isfinite(way).all() and torch.allclose(way[0], torch.tensor(a[0])) and torch.allclose(way[-1], torch.tensor(b[0]), atol=1e-6)


def test_a_walk_begins_and_ends_at_its_ends():
    run, (a, b) = open_model('S2I-C+guide'), (play_pair(i).sound for i in ('flute', 'tuba'))
    made = walk_between(run, a, b, 1, 2, 4)
    assert torch.allclose(made[:1], run.make(a, seed=1), atol=1e-4) and torch.allclose(made[-1:], run.make(b, seed=2), atol=1e-4)


@pytest.mark.parametrize('steps', [1, 0, -3])
def test_too_few_steps(steps):
    with pytest.raises(ValueError, match='at least 2'): explore_walk(steps=steps)


@pytest.mark.parametrize('name', SHIPPED)
def test_a_walk_is_a_film_and_a_strip(name):
    film, *strip = explore_walk(name, 'flute', 76, 'tuba', 40, steps=3)
    assert film.frames.shape == (20, 64, 64, 3) and film.wave.shape == (2 * SAMPLE_RATE,) and film.wave.abs().max() > .01
    assert len(strip) == 3 and (strip[-1].image == film.frames[-1]).all() and 'flute' in strip[0].said and 'tuba' in strip[-1].said


def test_a_walk_of_sounds_ends_on_its_last_note():
    "Between two pictures of one pose there is one steady sound; nothing clicks in the middle."
    film = explore_walk('I2S+guide', 'flute', 76, 'flute', 76)[0]
    level = film.wave.unfold(0, 4410, 4410).std(1)
    assert level[2:-2].min() > .25 * level[2:-2].max()


def test_fading_keeps_power():
    a, b = torch.randn(44100, generator=torch.Generator().manual_seed(0)), torch.randn(44100, generator=torch.Generator().manual_seed(1))
    assert faded(a, b).unfold(0, 4410, 4410).std(1).sub(1).abs().max() < .05


def test_a_trip_goes_there_and_back():
    there, back = open_model('S2I-C+guide'), open_model('I2S+guide')
    kinds = [m.name for m, x, judge in round_trip(there, back, play_pair().sound, 2)]
    assert kinds == ['picture', 'sound'] * 2
    assert [c.wave is None for c in explore_trip(times=1)] == [False, True, False]
    assert [c.wave is None for c in explore_trip(times=1, start='I2S+guide', back='S2I-C+guide')] == [True, False, True]


def test_own_runs_are_found_however_deep(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine'); copy_of('I2S+guide', tmp_path/'a/b/picture-sound')
    (tmp_path/'broken').mkdir(); (tmp_path/'broken/model.safetensors').write_bytes(b'no')
    mine = str(tmp_path/'mine')
    assert models_here(places=(tmp_path, 'nowhere'))[-1] == mine and 'broken' not in str(models_here(places=(tmp_path,)))
    assert models_here('picture', places=(tmp_path,))[-1] == str(tmp_path/'a/b/picture-sound')
    assert models_here(places=()) == [n for n in shipped_names() if open_model(n).source.name == 'sound']
    tiles = explore_models(names=['S2I-C+guide', mine])
    assert len(tiles) == 4 and (tiles[1].image == tiles[2].image).all() and 'ceiling' in tiles[1].note and 'not scored yet' in tiles[2].note


def test_a_run_that_is_trained_anew_is_seen_anew(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine')
    name = str(tmp_path/'mine')
    first, again, before = open_model(name), open_model(name), explore(name)[1].image
    assert first is again and (before == explore('S2I-C+guide')[1].image).all()
    new = load_run(name)
    with torch.no_grad():
        for p in new.G.parameters(): p.mul_(.5)
    keep_run(name, new)
    assert (explore(name)[1].image != before).any() and explore_models(names=[name])[1].image.std() != before.std()
    shutil.copy(HOME/'I2S+guide/model.safetensors', tmp_path/'mine')   # another direction altogether
    (tmp_path/'mine/judge.safetensors').unlink()
    assert name in models_here('picture', places=(tmp_path,)) and name not in models_here(places=(tmp_path,))


def test_ledger_rows_of_own_runs(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'chen/S2I-C+guide/seed-0')
    run, name = open_model('S2I-C+guide'), str(tmp_path/'chen/S2I-C+guide/seed-0')
    row = dict(system='S2I-C+guide', direction='sound → picture', seed=run.meta['seed'], steps=run.meta['steps'], metric='balanced_accuracy', split='test', value=.5, low=.4, high=.6, ceiling=.9, minutes=3.)
    others = [row | dict(split='train', value=.1), row | dict(seed=9, value=.2), row | dict(system='I2S+guide', value=.3), row | dict(metric='recall', value=.4), row | dict(steps=1, value=.45),
              row | dict(direction='picture → sound', value=.46), row | dict(split='recordings', value=.47)]
    (tmp_path/'chen/rows').mkdir()
    (tmp_path/'chen/rows/table-5.jsonl').write_text('\n'.join(map(json.dumps, [row, *others])) + '\n\n')
    assert ledger_row(name)['value'] == .5 and ledger_words(ledger_row(name)).startswith('right instrument 0.500 [0.400, 0.600] on test songs, one seed, ceiling 0.900')
    (tmp_path/'chen/S2I-C+guide/seed-0/results.jsonl').write_text(json.dumps(row | dict(split='exam', value=.42, songs=78)) + '\n' + json.dumps(row | dict(value=.41)) + '\n')
    assert ledger_row(name)['value'] == .42 and ledger_words(ledger_row(name)).startswith('right instrument 0.420 [0.400, 0.600] on the exam, 78 songs, one seed')


def test_a_file_of_results_that_is_none_is_named(tmp_path):
    copy_of('S2I-C+guide', tmp_path/'mine')
    (tmp_path/'mine/results.jsonl').write_text('{"system": "S2I-C+guide"}\nno row\n')
    said = reply(explore_models, names=[str(tmp_path/'mine')])
    assert said.startswith('<p role="alert">') and 'results.jsonl, line 2' in said


def test_ledger_words_say_no_more_than_the_row():
    bare = dict(value=.5, low=None, high=None, ceiling=None, steps=9, minutes=1., split='exam')
    assert ledger_words(bare) == 'right instrument 0.500 on the exam, one seed, 9 steps, 1 min' and ledger_words(None) == 'not scored yet'


def test_nothing_to_compare():
    with pytest.raises(ValueError, match='no model'): compare({})


def test_rows_are_of_one_song(arrays):
    for song in (0, 5, -1):
        rows = song_rows(arrays, 'sax', 'train', song)
        assert len(set(arrays['song'][rows])) == 1 and (np.diff(arrays['ms'][rows]) == 100).all()
        assert (arrays['split'][rows] == 0).all() and (arrays['label'][rows] == INSTRUMENTS.index('sax')).all()
    assert browse(arrays, 'sax', n=1)[0].image.shape == (64, 64, 3) and len(browse(arrays, n=500)) == len(browse(arrays, pitch=48, n=500))


@pytest.mark.parametrize('bad', [dict(instrument='kazoo'), dict(split='all')])
def test_rows_refuse(arrays, bad):
    with pytest.raises(ValueError, match=next(iter(bad.values()))): song_rows(arrays, **bad)


def test_a_copy_is_found_and_a_stranger_is_not(arrays):
    train, test = (np.flatnonzero(arrays['split'] == k) for k in (0, 2))
    bank = thumbs(arrays['picture'][train])
    d, i = nearest(thumbs(arrays['picture'][train[[3, 40]]]), bank)
    assert d.max() < 1e-3 and (torch.from_numpy(arrays['picture'][train[i[:, 0]]]) == torch.from_numpy(arrays['picture'][train[[3, 40]]])).all()
    assert nearest(thumbs(arrays['picture'][test[::9]]), bank)[0].min() > .02
    made = torch.from_numpy(arrays['picture'][train[[3]]]).float() / 127.5 - 1
    near = neighbours(made, arrays, train, bank)
    assert near[1].caption == 'nearest 1: 0.000' and len({c.note for c in near[1:]}) == 4, 'each of another song'
    far = [float(c.caption.split()[-1]) for c in explore_copies(arrays, train, bank, 'a scale')[1:]]
    assert far == sorted(far) and far[0] > .02
    assert nearest(bank[:1], bank[:2], 9)[0].shape == (1, 2)


def test_browsing_in_words(arrays):
    assert [c.caption for c in browse_by(arrays, order='in time', n=3)] == [c.caption for c in browse(arrays, n=3)]
    assert [c.caption for c in browse_by(arrays, order='nearest in pitch', pitch=50, n=3)] == [c.caption for c in browse(arrays, pitch=50, n=3)]


def test_thumbs_of_sounds(arrays): assert thumbs(arrays['lms'][:3]).shape == (3, 256)
