"""Draw docs/demo.png, the README's picture: what was heard, what a model drew, and the true player.

    python scripts/readme_picture.py [MODEL]     # of the package, or the folder of a run; default S2I-flow

The first exam song of each instrument, the window in the middle of it: chosen by place, not by looks.
"""
import sys
from pathlib import Path

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch

from avgen_nb.explorer import open_model
from avgen_nb.pairs import exam_pairs
from avgen_nb.show import to_uint8

ROOT = Path(__file__).resolve().parent.parent


def middle_of_first_songs(pairs):
    "For each class the pair in the middle of its first song."
    rows = []
    for k in range(len(pairs.classes)):
        mine = (pairs.labels == k).nonzero().flatten()
        song = mine[pairs.songs[mine] == pairs.songs[mine[0]]]
        rows.append(song[len(song) // 2])
    return torch.stack(rows)


def draw(name, path):
    "Three rows of thirteen: spectrogram, made, true."
    run, pairs = open_model(name), exam_pairs()
    batch = pairs.batch(middle_of_first_songs(pairs))
    made, true = to_uint8(run.make(batch.sound)), to_uint8(batch.picture)
    fig, axes = plt.subplots(3, len(pairs.classes), figsize=(13, 3.5), gridspec_kw=dict(hspace=.06, wspace=.05))
    for k, column in enumerate(axes.T):
        column[0].imshow(batch.sound[k, 0], origin='lower', aspect='auto', vmin=-1, vmax=1, cmap='magma')
        column[0].set_title(pairs.classes[k].replace('_', ' '), fontsize=10)
        column[1].imshow(made[k]); column[2].imshow(true[k])
        for ax in column: ax.set(xticks=[], yticks=[])
    for ax, word in zip(axes[:, 0], ('heard', 'made', 'true')): ax.set_ylabel(word, fontsize=10)
    fig.savefig(path, dpi=100, bbox_inches='tight')


if __name__ == '__main__':
    draw(sys.argv[1] if len(sys.argv) > 1 else 'S2I-flow', ROOT/'docs'/'demo.png')
