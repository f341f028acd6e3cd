"Further people: the same bytes in any order, nobody of the test songs, the truth beside them."
from dataclasses import replace

import numpy as np, pytest, torch
from avgen_nb import looks as k, orchestra as o
from avgen_nb.players import INSTRUMENTS

PLAN = o.Plan('small', 0)
ROWS = k.training_rows(PLAN)[3::9]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    "Orchestras of 26 songs of 0.7 s (3 pairs each), kept in a folder of their own."
    monkeypatch.setitem(o.SIZES, 'small', dict(songs=(1, 0, 1), seconds=.7))
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def person(look): return replace(look, seed=0)

def people(size, seed, splits):
    "The looks of a world's songs."
    plan = o.Plan(size, seed)
    return [person(k.scene(INSTRUMENTS[label], number, seed, o.SIZES[size]['seconds'], size)[0])
            for label, number in (plan.place(i) for i in np.flatnonzero(np.isin(plan.splits(), splits)))]

def same(a, b): return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize('size, seed', [('small', 0), ('small', 5), ('default', 1), ('exam', 2017)])
def test_a_scene_is_what_is_seen_of_the_song(size, seed):
    seconds = o.SIZES[size]['seconds']
    for name in ('trombone', 'cello'):
        song = o.make_song(name, 0, seed, seconds, size)
        look, doing = k.scene(name, 0, seed, seconds, size)
        assert look == song.look and repr(doing) == repr(song.moments(np.arange(o.frames_in(len(song.wave))) / 10))


def test_look_0_is_the_player_of_the_song(tiny):
    a = o.build_orchestra('small', workers=0, progress=False)
    rows = np.flatnonzero(a['split'] == 0)
    drawn = k.draw_looks(rows, 0, 'small')
    assert np.array_equal(drawn['picture'], a['picture'][rows]) and np.array_equal(drawn['keypoints'], a['keypoints'][rows])
    assert not (k.draw_looks(rows, 1, 'small')['picture'] == drawn['picture']).all((1, 2, 3)).any()


def test_neither_order_nor_processes_nor_company_change_a_byte():
    numbers = np.arange(len(ROWS)) % 5 + 1
    first = k.draw_looks(ROWS, numbers, 'small')
    order = np.random.default_rng(0).permutation(len(ROWS))
    turned = k.draw_looks(ROWS[order], numbers[order], 'small')
    assert all(np.array_equal(turned[n], first[n][order]) for n in first)
    alone = k.draw_looks(int(ROWS[7]), int(numbers[7]), 'small')
    assert all(np.array_equal(alone[n][0], first[n][7]) for n in first)
    parts = k.Looks(PLAN, ROWS, numbers, 5)
    for workers in (0, 1, 2):
        found = list(k._each(parts, workers))
        assert len(found) == len(parts) and same({n: np.concatenate([f[n] for f in found]) for n in found[0]}, first)


def test_drawing_leaves_the_randomness_of_its_caller_alone():
    torch.manual_seed(3); np.random.seed(3)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(k._each(k.Looks(PLAN, ROWS[:4], np.ones(4, int), 2), 2)); k.draw_looks(ROWS[:2], 1, 'small')
    assert torch.equal(torch.get_rng_state(), state) and np.array_equal(np.random.get_state()[1], other)


def test_every_moment_and_number_has_its_own_person():
    seen = [k.who_plays(PLAN, r, n) for r in ROWS for n in range(1, 5)]
    assert len({(name, person(look)) for name, _, look in seen}) == len(seen) == 4 * len(ROWS)
    assert all(repr(doing) == repr(k.who_plays(PLAN, r, 0)[1]) for r in ROWS[:5] for _, doing, _ in [k.who_plays(PLAN, r, 3)])


def test_nobody_plays_in_dev_test_or_exam():
    "Compared are the looks themselves, all that is drawn of them, and not their pictures."
    hidden = set(people('small', 0, (1, 2)) + people('default', 0, (1, 2)) + people('exam', 2017, (1, 2)))
    assert len(hidden) == 13 * (2 + 10 + 8)
    for size in ('small', 'default'):
        plan = o.Plan(size, 0)
        ours = {person(k.who_plays(plan, r, n)[2]) for r in k.training_rows(plan)[::5] for n in (1, 2)}
        assert not ours & hidden and not ours & set(people(size, 0, (0,)))


def test_no_further_look_can_begin_where_a_song_does():
    seeds = [k.look_seed(name, number, moment, look, world, size) for name in INSTRUMENTS[:4] for number in (0, 1) for moment in (0, 40)
             for look in (1, 2) for world in (0, 7) for size in ('default', 'small')]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 2**63 and max(seeds) < 2**64
    words = o.song_seed('oboe', 3, 0, 'default').generate_state(1000)
    assert words.dtype == np.uint32 and k.look_seed('oboe', 3, 0, 0) % 2**32 not in set(words.tolist())


def test_the_first_people_are_always_these():
    look = k.who_plays(o.Plan('default', 0), 0, 1)[2]
    assert (look.seed, look.style, look.pattern, look.standing) == (14898058564793133489, 'bald', 'plain', False)


def test_a_larger_picture_shows_the_same_person():
    small, large = (k.draw_looks(ROWS[::3], 2, 'small', pixels=p) for p in (64, 128))
    assert large['picture'].shape == (len(ROWS[::3]), 3, 128, 128) and np.array_equal(small['keypoints'], large['keypoints'])
    half = large['picture'].reshape(-1, 3, 64, 2, 64, 2).mean((3, 5))
    far = np.abs(half - small['picture']).mean((1, 2, 3))
    others = np.abs(half - np.roll(small['picture'], 1, 0)).mean((1, 2, 3))
    assert (far < 12).all() and (others > 2 * far).all()


def test_keypoints_are_where_the_picture_has_them():
    "A head has the colour of its skin or hair around the keypoint of the head, in the light of its room."
    for r in ROWS[::4]:
        name, moment, look = k.who_plays(PLAN, r, 1)
        drawn = k.draw_looks(r, 1, 'small', pixels=256)
        x, y = (drawn['keypoints'][0, k.KEYPOINTS.index('head')] * 256).round().astype(int)
        found = drawn['picture'][0, :, y + 8, x].astype(float)
        skin, hair = (np.minimum(255, np.array(c) * look.light) for c in (look.skin, look.hair))
        assert min(np.abs(found - c * share).mean() for c in (skin, hair) for share in (1, .87)) < 30, (name, r)


def test_more_looks_are_those_drawn_one_by_one_and_fit_the_arrays(tiny):
    a = o.build_orchestra('small', workers=0, progress=False)
    more = k.more_looks('small', 2, workers=0, progress=False)
    own = np.flatnonzero(a['split'] == 0)
    assert more['picture'].shape == (2 * len(own), 3, 64, 64) and more['picture'].dtype == np.uint8 and more['keypoints'].dtype == np.float32
    assert more['row'].tolist() == own.tolist() * 2 and more['look'].tolist() == [1] * len(own) + [2] * len(own)
    assert same(k.draw_looks(more['row'], more['look'], 'small'), {n: more[n] for n in ('picture', 'keypoints')})
    one = k.more_looks('small', 1, workers=0, progress=False)
    assert all(np.array_equal(one[n], more[n][:len(own)]) for n in one)


def test_cache_is_used_and_may_be_left_out(tiny, monkeypatch):
    options = dict(size='small', looks=1, workers=0, progress=False)
    k.more_looks(**options, cache=False)
    assert not tiny.exists() or not list(tiny.iterdir())
    first = k.more_looks(**options); path, = tiny.iterdir()
    assert path.name.startswith('looks-small-1-0-')
    monkeypatch.setattr(k, 'draw_looks', lambda *a, **b: pytest.fail('drawn although cached'))
    assert same(k.more_looks(**options), first)
    for other in (dict(looks=2), dict(seed=1), dict(pixels=32)):
        with pytest.raises(pytest.fail.Exception): k.more_looks(**options | other)


def test_what_cannot_be_drawn_is_refused():
    hidden = int(np.flatnonzero(np.repeat(PLAN.splits() == 2, o.frames_in(PLAN.samples())))[0])
    for row in (hidden, -1, 10**6):
        with pytest.raises(ValueError, match=f'row {row} is no training moment'): k.draw_looks([0, row], 1, 'small')
    with pytest.raises(ValueError, match='look -1'): k.draw_looks(0, -1, 'small')
    with pytest.raises(ValueError, match='looks=0'): k.more_looks('small', 0)
    with pytest.raises(ValueError, match="'huge'"): k.more_looks('huge')
    with pytest.raises(ValueError, match='no training songs'): k.more_looks('exam', 1)
    empty = k.draw_looks(np.empty(0, int), 1, 'small')
    assert empty['picture'].shape == (0, 3, 64, 64) and empty['keypoints'].shape == (0, 12, 2)
