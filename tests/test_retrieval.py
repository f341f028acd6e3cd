"Retrieval and probes: ranks by hand, intervals that know songs, what the true pose tells, and the experiments end to end."
from dataclasses import replace

import pytest, torch

from avgen_nb import retrieval as r
from avgen_nb.correspondence import CONTRAST, Towers, look_at_all
from avgen_nb.loop import seeded
from avgen_nb.metrics import read_rows
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.runs import changed

SMALL = changed(CONTRAST, plan=('4/2', 4, '8/2', 8), hidden=8, embed=4)


@pytest.fixture(scope='module')
def data(): return orchestra_pairs('small', progress=False)


def towers():
    with seeded(0): return Towers(SMALL).eval()


def test_ranks_by_hand():
    S = torch.tensor([[3., 9, 1, 2], [0, 5, 5, 1], [1, 2, 0, 3], [9, 9, 9, 1]])
    every = torch.arange(4)
    rank, best = r.ranks(lambda q: S[q], every, every, candidates=4, part=3)
    assert rank.tolist() == [2, 1.5, 4, 4] and best.tolist()[:3] == [1, 2, 3]
    rank, _ = r.ranks(lambda q: S[q], torch.tensor([0, 0, 1, 1]), every, candidates=3)   # the other moment of the song is no candidate
    assert rank.tolist() == [1, 1.5, 3, 3]
    rank, best = r.ranks(lambda q: S[q], every, every, groups=torch.tensor([0, 1, 0, 1]), candidates=2)
    assert rank.tolist() == [1, 1, 2, 2] and best.tolist() == [2, 3, 0, 1]


def test_a_blind_guess_is_in_the_middle():
    g = torch.Generator().manual_seed(7)   # not the seed of the candidates
    S = torch.rand(600, 600, generator=g)
    rank, _ = r.ranks(lambda q: S[q], torch.arange(600), torch.arange(600), candidates=100)
    assert abs(rank.median() - 50.5) < 5 and abs((rank <= 10).float().mean() - .1) < .04


def test_too_few_candidates_is_one_sentence():
    with pytest.raises(ValueError, match='there are 2 candidates of other songs, too few for 4'):
        r.ranks(lambda q: torch.zeros(len(q), 4), torch.tensor([0, 0, 1, 1]), torch.arange(4), candidates=4)


def test_an_interval_knows_songs_and_seeds():
    g = torch.Generator().manual_seed(0)
    by_song = torch.rand(20, generator=g).repeat_interleave(50)
    songs, alone = torch.arange(20).repeat_interleave(50), torch.arange(1000)
    width = lambda v, s: (lambda a: a[2] - a[1])(r.over_songs_and_seeds(v, s))
    assert width(by_song[None], songs) > 3 * width(by_song[None], alone)
    two = torch.stack([by_song, by_song + .5])
    assert width(two, songs) > width(by_song[None], songs)
    value, low, high = r.over_songs_and_seeds(two, songs)
    assert low < value < high and value == pytest.approx(by_song.mean().item() + .25, abs=1e-5)


def test_the_true_pose_is_told_by_keypoints_and_notes(data):
    poses, notes, label, song = r.true_moments('cello', 2)
    assert poses.shape == (82, 12, 2) and notes.shape == (82, 2) and (label == 1).all() and len(song.unique()) == 2
    t = r.TruthTowers()
    with torch.no_grad():
        a, b = t.seen(poses, label), t.heard(notes, label)
        assert a.shape == (82, 1, 64) and torch.allclose(b.norm(dim=1), torch.ones(82), atol=1e-5)
        moved = t.seen(poses + .03, label)
        assert torch.allclose(a, moved, atol=1e-4)          # the camera's shift says nothing


def test_a_probe_reads_what_is_there_and_nothing_else(data):
    train, test = data['train'], data['test']
    told = lambda p: torch.cat([torch.nn.functional.one_hot(p.labels, 13).float(), p.truth['pitch'].nan_to_num(60)[:, None]], 1)
    v = r.probe_values(told(train), train, told(test), test)
    assert v['probe_instrument'][0].mean() == 1 and v['probe_pitch_error'][0].mean() < .2 < v['probe_pitch_error'][2]
    noise = torch.randn(len(train), 14), torch.randn(len(test), 14)
    blind = r.probe_values(noise[0], train, noise[1], test)
    assert blind['probe_instrument'][0].mean() < .25 and blind['probe_pitch_error'][0].mean() > .8 * blind['probe_pitch_error'][2]


class Copy:
    "A 'generator' that gives back the true partner of what it was given, or that of another pair."
    meta, classes = {}, ()
    def __init__(self, pairs, source, target, shift=0):
        self.source, self.target, self.pairs, self.shift = source, target, pairs, shift
        self.given = getattr(pairs.batch(torch.arange(len(pairs))), source.name).flatten(1)
    def make(self, x, seed=0):
        i = torch.stack([(self.given - v).abs().sum(1).argmin() for v in x.flatten(1)])
        return getattr(self.pairs.batch((i + self.shift) % len(self.pairs)), self.target.name)


@pytest.mark.parametrize('source, target', ((SOUND, PICTURE), (PICTURE, SOUND)))
def test_the_rank_of_true_partners_is_that_of_real_pairs(data, source, target):
    pairs, net = data['test'], towers()
    q = torch.arange(0, len(pairs), 9)
    looked = look_at_all(net, pairs)
    with torch.no_grad(): real = r.ranks(lambda i: looked.rows(i, target.name == SOUND.name), pairs.songs, q, candidates=20)[0]
    made = r.retrieval_rank(Copy(pairs, source, target), pairs, net, q, candidates=20)
    assert torch.equal(made, real)
    side = 'b' if target.name == SOUND.name else 'a'                    # what was made stands in place of the real one
    swapped = replace(looked, **{side: getattr(looked, side).index_copy(0, q, getattr(looked, side)[(q + 40) % len(pairs)])})
    with torch.no_grad(): wanted = r.ranks(lambda i: swapped.rows(i, target.name == SOUND.name), pairs.songs, q, candidates=20)[0]
    other = r.retrieval_rank(Copy(pairs, source, target, 40), pairs, net, q, candidates=20)
    assert (other - wanted).abs().mean() < .1                           # rounding may swap two that are nearly equal


@pytest.mark.slow
def test_the_experiments_run_and_go_on(tmp_path, capsys):
    argv = ['--budget', 'test', '--out', str(tmp_path/'out'), '--only', 'AVOL,random,bounds']
    assert r.main(argv) == 0
    rows = read_rows(tmp_path/'out/rows.jsonl')
    assert {row.system for row in rows} == {'AVOL-Net', 'random', 'true pose', 'middle of the picture'}
    assert all(row.low <= row.value <= row.high for row in rows if row.seed is None and row.metric != 'median_rank')
    capsys.readouterr()
    assert r.main(argv) == 0 and 'already there' in capsys.readouterr().out
