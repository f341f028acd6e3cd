"Duets: masks drawn as the picture is, who sounds, and what cannot be drawn."
import numpy as np, pytest, torch
from PIL import Image

from avgen_nb import duets as d
from avgen_nb.looks import who_plays
from avgen_nb.orchestra import Plan, build_orchestra, windows_of
from avgen_nb.players import INSTRUMENTS, Moment, Pen, camera, draw_look, paint_player
from avgen_nb.sound import lms


def who(instrument, seed, pitch=60.): return instrument, Moment(pitch, .6, .3), draw_look(instrument, seed)


@pytest.fixture(scope='module')
def small(): return d.orchestra_duets('small', 12, progress=False)


@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_layers_paint_the_very_player(instrument):
    for seed, pitch in ((0, 60.), (1, float('nan'))):
        name, moment, look = who(instrument, seed, pitch)
        images = [Image.new('RGB', (96, 96), (9, 99, 9)) for _ in range(2)]
        for image, paint in zip(images, (paint_player, d.paint_layers)): paint(Pen(image, *camera(look, 96.), look.light), name, moment, look)
        assert np.array_equal(*map(np.asarray, images))


@pytest.mark.parametrize('instrument', INSTRUMENTS)
def test_a_mask_covers_what_was_painted(instrument):
    left, right = who(instrument, 2), who('flute', 3)
    picture, mask = d.draw_duet(left, right, 64, 1)
    empty = np.asarray(d.stage_of((left[2], right[2]), 64, 1)[0])
    same = (picture == empty).all(2)
    assert same[mask == 0].mean() > .99 and same[mask > 0].mean() < .1
    assert set(np.unique(mask)) == {0, 1, 2, 3, 4}
    assert (np.isin(mask[:, :32], (3, 4))).mean() < .01 and (np.isin(mask[:, 96:], (1, 2))).mean() < .01   # each in their half


def test_a_picture_of_one_moment_is_the_same_twice_and_of_any_size():
    a, b = who('viola', 1), who('tuba', 2)
    one, two = d.draw_duet(a, b), d.draw_duet(a, b)
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert d.draw_duet(a, b, 128)[0].shape == (128, 256, 3)


def test_who_sounds_is_heard_and_who_does_not_rests(small):
    arrays, plan = build_orchestra('small', progress=False), Plan('small', 0)
    rng = np.random.default_rng(0)
    rng_rows = d.draw_rows(arrays, np.flatnonzero(arrays['split'] == 2), 12, False, rng)
    heard = lms(torch.from_numpy(windows_of(arrays, rng_rows[:, 0]))).half()
    assert torch.equal(small.sounds, heard) and np.isfinite(arrays['pitch'][rng_rows[:, 0]]).all()
    silent = d.hushed(who_plays(plan, rng_rows[0, 1], 0), False)
    assert silent[1].rests and silent[1].loudness == 0 and d.hushed(silent, True) == silent
    first = small.sounding.long().argmax(1)
    assert small.labels.gather(1, first[:, None])[:, 0].tolist() == arrays['label'][rng_rows[:, 0]].tolist()


def test_splits_and_kinds(small):
    arrays = build_orchestra('small', progress=False)
    test = set(arrays['song'][arrays['split'] == 2])
    assert set(small.songs.flatten().tolist()) <= test and (small.songs[:, 0] != small.songs[:, 1]).all()
    twins = d.orchestra_duets('small', 6, 0, alike=True, progress=False)
    assert (twins.labels[:, 0] == twins.labels[:, 1]).all() and (twins.songs[:, 0] != twins.songs[:, 1]).all()
    both = d.orchestra_duets('small', 4, both=True, progress=False)
    assert both.sounding.all() and torch.equal(both.of_sounding(), both.masks > 0)
    again = d.orchestra_duets('small', 12, progress=False)
    assert torch.equal(again.pictures, small.pictures) and torch.equal(again.masks, small.masks)


def test_masks_of_the_sounding(small):
    whole, own = small.of_sounding(), small.of_sounding(instrument=True)
    assert (own & ~whole).sum() == 0 and own.any((1, 2)).all() and whole.sum() > own.sum()
    for k in range(len(small)):
        layers = {1, 2} if small.sounding[k, 0] else {3, 4}
        assert set(small.masks[k][whole[k]].tolist()) == layers


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match='no two songs of the same instrument'): d.orchestra_duets('small', 4, 2, alike=True, progress=False)
    with pytest.raises(ValueError, match='no songs of split 7'): d.orchestra_duets('small', 4, 7, progress=False)
