"""A paper's own recipe for many epochs at its own width and batch: the accuracy on development songs at every epoch,
and weights and a sheet of pictures at some epochs.

    python scripts/long_run.py S2I-C                      # 50 epochs of the default orchestra, into runs/long/S2I-C; the same line goes on
    python scripts/long_run.py I2S --epochs 80 --keep 20,40,80
    python scripts/long_run.py S2I-C --size small --steps 12 --out runs/try

A system is one of `avgen_nb.chen.SYSTEMS`. In the folder: `rows.jsonl`, which `chen.curve_figure` draws, new after every epoch;
`sheet-005.jpg` and `epoch-005/`, which `load_run` reads, at the epochs of --keep and at the end; `sheet-real.jpg`, the true partners.
"""
import argparse, copy, time
from pathlib import Path

import torch

from avgen_nb import __version__
from avgen_nb.cgan import EncoderTask, Generator
from avgen_nb.chen import SYSTEMS, encoder_for_system
from avgen_nb.experiments import taken_for, thin
from avgen_nb.judges import balanced_accuracy, ceiling_of, judge_for
from avgen_nb.loop import home_of, seeded
from avgen_nb.metrics import Row, device_name, write_rows
from avgen_nb.nets import modality_named
from avgen_nb.runs import keep_run, open_data
from avgen_nb.show import paint, to_uint8
from avgen_nb.training import fit

SHEET = 3   # pictures of an instrument


def drawn_by_chance(pairs, count=SHEET, seed=0):
    "`count` moments of every instrument that occurs: the first of each, then the second of each, and so on."
    g = torch.Generator().manual_seed(seed)
    where = [(pairs.labels == k).nonzero().flatten().cpu() for k in pairs.present.tolist()]
    return torch.stack([w[torch.randperm(len(w), generator=g)[:count]] for w in where], 1).flatten()


def save_sheet(path, made, names):
    "An instrument a column."
    from matplotlib.figure import Figure
    pictures = to_uint8(made) if made.shape[1] == 3 else [paint(x[0], -1, 1) for x in made]
    high, wide = pictures[0].shape[:2]
    fig = Figure(figsize=(len(names), .3 + SHEET * high / max(high, wide)), layout='constrained')
    for i, (ax, picture) in enumerate(zip(fig.subplots(SHEET, len(names)).flat, pictures)):
        ax.imshow(picture); ax.axis('off')
        if i < len(names): ax.set_title(names[i].replace('_', ' '), fontsize=7)
    fig.savefig(path, dpi=150, pil_kwargs=dict(quality=88))


class Epochs:
    "What a game makes at the end of every epoch: its `sample`, and its memory of the epochs that are over."
    def __init__(self, out, system, data, jury, encoder, every, steps, keep, about):
        self.out, self.recipe, self.jury, self.E, self.about = out, system.recipe, jury, encoder, about
        self.every, self.steps, self.keep = every, steps, keep
        self.dev, self.per = thin(data['dev'], 4), len(data['train']) / system.recipe.game.batch
        self.few = (some := data['dev'].subset(drawn_by_chance(data['dev']))).batch(torch.arange(len(some)))
        self.names, self.ceiling = [some.classes[k] for k in some.labels[:len(some) // SHEET].tolist()], ceiling_of(jury, self.dev)
        self.looks, self.before, self.began = [], 0., time.perf_counter()
        save_sheet(out/'sheet-real.jpg', getattr(self.few, self.recipe.target), self.names)

    @property
    def seconds(self): return self.before + time.perf_counter() - self.began

    def sample(self, nets):
        "Called by `fit`: the accuracy on development songs, new rows, and now and then a sheet and weights."
        G, last = copy.deepcopy(nets['G']).cpu(), self.looks[-1][0] if self.looks else 0
        step = min((last // self.every + 1) * self.every, self.steps)
        number = -(-step // self.every)
        meta = self.about | dict(steps=step, minutes=round(self.seconds / 60, 2))
        model = Generator(self.recipe, self.dev.classes, self.E, G, self.jury, meta)
        value = float(balanced_accuracy(*taken_for(model, self.dev), len(self.jury.classes)))
        self.looks.append((step, value))
        write_rows(self.out/'rows.jsonl', self.rows(device_name(home_of(nets['G']))), append=False)
        print(f'epoch {number}: {value:.3f}, step {step} of {self.steps}, {self.seconds / 60:.1f} min', flush=True)
        if number in self.keep or step == self.steps: self.save(model, number)
        return value

    def save(self, model, number):
        save_sheet(self.out/f'sheet-{number:03d}.jpg', model.make(getattr(self.few, self.recipe.source)), self.names)
        keep_run(self.out/f'epoch-{number:03d}', model)

    def rows(self, device):
        r, seen = self.recipe, self.ceiling
        tried = self.about['opened']['size'] != 'default' or self.steps < self.every
        told = dict(system=r.name, recipe=r.name, direction=f'{r.source} → {r.target}', data='orchestra', split='dev',
                    budget='test' if tried else 'long', n=len(self.dev), ceiling=seen['value'], chance=seen['chance'],
                    majority=seen['majority'], seed=0, seeds=1, minutes=self.seconds / 60, device=device, version=__version__)
        at = lambda step: dict(epochs=round(self.steps / self.per, 2), every=1, epoch=step / self.per)
        return [Row(metric='dev_accuracy', value=v, steps=step, factors=at(step), **told) for step, v in self.looks]

    def describe(self): return dict(looks_every=self.every)

    def remember(self): return {}, dict(looks=self.looks, seconds=self.seconds)

    def recall(self, tensors, meta):
        self.looks, self.before, self.began = [tuple(look) for look in meta['looks']], meta['seconds'], time.perf_counter()


def train_long(system, out, epochs=50, keep=(), size='default', steps=None, precision='auto'):
    "Encoders, then the game; what is there in `out` goes on."
    out.mkdir(parents=True, exist_ok=True)
    opened, r = dict(data='orchestra', size=size), system.recipe
    data = open_data(**opened)
    source, target = modality_named(r.source), modality_named(r.target)
    makes = [(source, system.teach)] + [(target, EncoderTask)] * bool(r.game.guide)
    long = lambda m: r.encoder_of(m).steps.under('test' if steps else 'gpu')
    nets = [encoder_for_system(m, r.encoder_of(m), data, long(m), 0, teach, out/'encoders', precision=precision)[0] for m, teach in makes]
    with seeded(0): game = system.game(source, target, r, nets[0], data['train'], *nets[1:])
    every = max(1, round(len(data['train']) / r.game.batch))
    steps = steps or epochs * every
    about = dict(seed=0, opened=opened, device=device_name(), version=__version__, encoder=system.teach.__name__)
    game.memory = looks = Epochs(out, system, data, judge_for(target, data), nets[0], every, steps, keep, about)
    game.sample, looks.began = looks.sample, time.perf_counter()
    return fit(game, steps=steps, out=out/'game', resume=True, precision=precision, seed=0, quiet=True, average=r.game.average,
               sample_every=every, save_minutes=4, log_every=50)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    p.add_argument('system', choices=tuple(SYSTEMS))
    p.add_argument('--epochs', type=int, default=50)
    p.add_argument('--out', help='folder (default: runs/long/SYSTEM)')
    p.add_argument('--keep', default='5,20,35,50', help='epochs after which weights and a sheet are written, and the last')
    p.add_argument('--precision', default='auto', choices=('auto', 'bf16', 'fp16', 'fp32'))
    p.add_argument('--size', default='default', choices=('small', 'default'), help='of the orchestra')
    p.add_argument('--steps', type=int, help='so many in place of the epochs, and short encoders: for a try')
    a = p.parse_args(argv)
    keep = [int(k) for k in a.keep.split(',') if k]
    run = train_long(SYSTEMS[a.system], Path(a.out or f'runs/long/{a.system}'), a.epochs, keep, a.size, a.steps, a.precision)
    print(f'{run.steps} steps in {run.minutes:.1f} minutes on {run.device} in {run.precision}')


if __name__ == '__main__': main()
