"""Put the towers of lesson 30 into the package: weights in bytes, and a card that says what they reach on the exam.

    python scripts/ship_towers.py                      # trained here, as lesson 30 trains them
    python scripts/ship_towers.py runs/l3net2017/cpu   # or found among the nets of the experiments
"""
import sys
from pathlib import Path

from links import ROOT

FOLDER = ROOT/'avgen_nb/models/towers'
CARD = '''# contrast: which sound goes with which picture

An eye and an ear (lesson 30, recipe `contrast`: seven 3×3 convolutions each, φ of 128 numbers, compared by their cosine) that learnt by InfoNCE which
picture and half second of sound of the built-in orchestra are of the same moment. No label was used. `avgen match` prints their scores; above 0 they say "together".

- {steps} steps of 64 pairs, seed {seed}, {minutes:.1f} minutes on one busy core; training songs with two further people at each moment.
- Weights in bytes, {kb:.0f} kB. Made by `python scripts/ship_towers.py`, version {version}.

On the exam, {songs} songs of a world that no choice was made on, weights as they are kept, one seed, with 95 % intervals over songs:

| pairs told from pairs with | right | chance |
| --- | --- | --- |
{lines}

## What it does not do
One negative in 13 of another song is of the same instrument, and no name tells it apart. The table says how little of the *moment* it knows: other players of the
instrument and other moments of the song are near chance. It knows 13 instruments, drawn and played by the same sampled voices as in training, and one player in a picture.
'''


def main(folder=None):
    import torch
    from avgen_nb import __version__
    from avgen_nb.correspondence import CONTRAST, AVC_NEGATIVES, avc_answers, load_towers, look_at_all, save_towers, train_towers
    from avgen_nb.pairs import exam_pairs, orchestra_pairs
    from avgen_nb.retrieval import over_songs_and_seeds
    steps = CONTRAST.steps.cpu
    towers, minutes = train_towers(CONTRAST, orchestra_pairs(looks=2), steps, 0, folder and Path(folder)/'nets')
    path, exam = FOLDER/'contrast.safetensors', exam_pairs()
    FOLDER.mkdir(exist_ok=True)
    told = dict(steps=steps, seed=0, minutes=round(minutes, 2), version=__version__)
    save_towers(path, towers, **told)
    looked = look_at_all(load_towers(path), exam)
    found = {kind: over_songs_and_seeds(avc_answers(looked, exam, kind)[None], exam.songs) for kind in AVC_NEGATIVES}
    words = dict(songs='another song', players='another player of the instrument', moments='another moment of the song')
    lines = '\n'.join(f'| {words[k]} | {v:.3f} [{low:.3f}, {high:.3f}] | 0.5 |' for k, (v, low, high) in found.items())
    save_towers(path, towers, **told, exam={k: [round(x, 4) for x in v] for k, v in found.items()})
    (FOLDER/'card.md').write_text(CARD.format(lines=lines, kb=path.stat().st_size / 1e3, songs=len(exam.songs.unique()), **told))
    print(lines)


if __name__ == '__main__': main(*sys.argv[1:])
