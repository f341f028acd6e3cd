"""Train the net of synchrony that comes with the package, fit how sure it is, and put it there in one byte a weight.

    python scripts/ship_sync.py runs/sync            # some ten minutes of one core; what was begun goes on
    python scripts/ship_sync.py runs/sync --ship     # and into the package

It learns from the training songs of two worlds (seeds 0 and 1); its τ is fitted on development songs of world 0.
"""
import argparse
from dataclasses import replace
from pathlib import Path

import torch

from links import ROOT

STEPS = 1200


def joined(a, b):
    "The songs of two worlds; those of the second get numbers of their own."
    both = {k: torch.cat([getattr(a, k), getattr(b, k)]) for k in ('frames', 'sound', 'motion', 'labels')}
    return replace(a, **both, songs=torch.cat([a.songs, b.songs + 10000]))


def main():
    from avgen_nb.files import in_bytes, out_of_bytes, write_tensors
    from avgen_nb.films import calibrated, save_sync
    from avgen_nb.runs import numbers_of
    from avgen_nb.synchrony import SYNC_RUNS, orchestra_takes, train_sync
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('out', type=Path)
    p.add_argument('--steps', type=int, default=STEPS)
    p.add_argument('--ship', action='store_true')
    a = p.parse_args()
    data, more = orchestra_takes(splits=('train', 'dev')), orchestra_takes(seed=1, splits=('train',))
    recipe = SYNC_RUNS['which shift']
    net, run = train_sync(recipe, joined(data['train'], more['train']), a.steps, out=a.out/'run', resume=True)
    net.load_state_dict(out_of_bytes(in_bytes(net.state_dict())))   # as it is in the package: τ is fitted to that
    net.temper = calibrated(net, data['dev'])
    about = dict(recipe=numbers_of(recipe), steps=run.steps, minutes=round(run.minutes, 1), seed=0, songs=len(data['train']) + len(more['train']))
    save_sync(net, a.out/'frames.safetensors', **about)
    print(f'τ = {net.temper:.3f}; {about}')
    if a.ship:
        path = ROOT/'avgen_nb/models/sync/frames.safetensors'
        path.parent.mkdir(exist_ok=True)
        weights = {f'net/{k}': v for k, v in net.state_dict().items()}
        write_tensors(path, in_bytes(weights), about | dict(temper=net.temper), 'nets')
        print(f'{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes')


if __name__ == '__main__': main()
