"What the tests of ratings and of votes ask about."
import torch

from avgen_nb.rating import GROUND_TRUTH, Rating, rating_items

ASKED = ['tuba', 'violin', 'flute'] * 10
QUALITY = {GROUND_TRUTH: 2.8, 'good': 1.9, 'fair': 1.1, 'bad': .2}


def some_items(system, n=30, seed=0):
    pictures = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return rating_items(system, ASKED[:n], pictures)


def systems(n=30): return {s: some_items(s, n, i) for i, s in enumerate(QUALITY)}


def a_rating(item='a', score=2, rater='ada', system='s', **k): return Rating(rater, item, system, 'tuba', score, 1.5, '2026-01-31T12:00:00Z')._replace(**k)
