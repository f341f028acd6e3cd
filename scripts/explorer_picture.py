"""Draw docs/explorer.jpg, the README's picture of the explorer: what two of its panels show at first, with the rings that can be dragged.

    python scripts/explorer_picture.py
"""
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt

from avgen_nb.explorer import explore, explore_pose
from avgen_nb.page import images_of
from links import ROOT


def draw(path):
    "One row a panel: given, made, true."
    fig, axes = plt.subplots(2, 3, figsize=(9.5, 7.2), layout='constrained')
    for ax, tile in zip(axes.flat, [*explore(), *explore_pose()]):
        ax.imshow(images_of(tile)[0], extent=(0, 1, 1, 0), aspect='equal')
        ax.axis('off')
        ax.set_title(tile.caption, fontsize=11, weight='bold')
        ax.text(.5, 1.03, tile.said, fontsize=9, ha='center', va='top')
        for joint, (x, y) in getattr(tile, 'joints', {}).items():
            ax.plot(x, y, 'o', ms=18, mfc='none', mec='black', mew=5)
            ax.plot(x, y, 'o', ms=18, mfc='none', mec='white', mew=2)
            ax.text(x, y - .08, joint.replace('_', ' '), color='white', ha='center', fontsize=10, bbox=dict(fc='black', ec='none', pad=1, alpha=.6))
    fig.savefig(path, dpi=100, pil_kwargs=dict(quality=85))


if __name__ == '__main__': draw(ROOT/'docs/explorer.jpg')
