"""Train the net of synchrony that comes with the package, fit how sure it is, and put it there in one byte a weight.

    python scripts/ship_sync.py runs/sync            # some ten minutes of one core; what was begun goes on
    python scripts/ship_sync.py runs/sync --ship     # and into the package
    python scripts/ship_sync.py runs/sync --card     # only its card: scored once on the exam

It learns from the training songs of two worlds (seeds 0 and 1); its τ is fitted on development songs of world 0.
"""
import argparse, json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from links import ROOT

STEPS = 1200


def joined(a, b):
    "The songs of two worlds; those of the second get numbers of their own."
    both = {k: torch.cat([getattr(a, k), getattr(b, k)]) for k in ('frames', 'sound', 'motion', 'labels')}
    return replace(a, **both, songs=torch.cat([a.songs, b.songs + 10000]))


def card():
    "Score the package's net on the exam, its thresholds from development songs; card.json and card.md beside its weights."
    from avgen_nb import __version__
    from avgen_nb.avts import Measured, sync_rows
    from avgen_nb.films import package_sync, sync_file
    from avgen_nb.metrics import device_name
    from avgen_nb.pairs import EXAM
    from avgen_nb.synchrony import orchestra_takes
    net = package_sync()
    dev, exam = (Measured(net, t, 25) for t in (orchestra_takes(splits=('dev',))['dev'], orchestra_takes('exam', EXAM, splits=('test',))['test']))
    rows = sync_rows({0: (dev, exam)}, {0: net.meta['minutes']}, system='sync', recipe='which shift', direction='picture, sound → shift', data='orchestra',
                     split='exam', steps=net.meta['steps'], device=device_name(), version=__version__)
    rows = [r for r in rows if r.seed is None]
    place, get = sync_file().parent, lambda m: next(r for r in rows if r.metric == m and not r.factors)
    about = dict(name='sync', command='python scripts/ship_sync.py runs/sync --ship', seed=0, **{k: net.meta[k] for k in ('steps', 'minutes', 'songs')})
    clean = lambda r: {k: v if v == v and v not in (float('inf'),) else None for k, v in asdict(r).items()}
    (place/'card.json').write_text(json.dumps(about | dict(rows=[clean(r) for r in rows]), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    say = lambda m, form: form.format(*(getattr(get(m), k) for k in ('value', 'low', 'high')))
    by = {r.factors['instrument']: r.value for r in rows if r.factors and r.metric == 'within_60_ms'}
    (place/'card.md').write_text(f"""# sync

Two nets whose distance says whether frames and sound belong to the same moment (lesson 31, *which shift*); `avgen sync` and `films.sync_of` use them. Trained on {about['songs']} songs of two worlds, {about['steps']} steps, {about['minutes']} minutes of a shared core, one seed: `{about['command']}`.

On the exam ({get('error_ms').songs} songs of a world of another seed; the interval is over songs), of one second of film and a search over ±400 ms:

- the shift is found within 60 ms in {say('within_60_ms', '{:.2f} [{:.2f}, {:.2f}]')} of cases (a blind guess: {get('within_60_ms').chance:.2f}); the mean error is {say('error_ms', '{:.0f} [{:.0f}, {:.0f}] ms')};
- a shift is noticed in three of four cases from {say('just_noticeable_ms', '{:.0f} [{:.0f}, {:.0f}] ms')} on;
- by instrument, within 60 ms: {', '.join(f'{k} {v:.2f}' for k, v in sorted(by.items(), key=lambda kv: -kv[1]))}.

What it does not do: it has seen drawn musicians only, each alone, before a camera that stands still. Of films of people it has learnt nothing, and nothing is claimed.
""", encoding='utf-8')
    print((place/'card.md').read_text(encoding='utf-8'))


def main():
    from avgen_nb.files import in_bytes, out_of_bytes, write_tensors
    from avgen_nb.films import calibrated, save_sync
    from avgen_nb.runs import numbers_of
    from avgen_nb.synchrony import SYNC_RUNS, orchestra_takes, train_sync
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('out', type=Path)
    p.add_argument('--steps', type=int, default=STEPS)
    p.add_argument('--ship', action='store_true', help='put the net into the package, and write its card')
    p.add_argument('--card', action='store_true', help='only write the card of the net in the package')
    a = p.parse_args()
    if a.card: return card()
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
        card()


if __name__ == '__main__': main()
