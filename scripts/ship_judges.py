"""Put judges of the built-in world into the package: weights in half precision, and the outlines of the songs they learnt from.

    python scripts/ship_judges.py                                     # trained here, as lesson 14 trains them
    python scripts/ship_judges.py picture.safetensors sound.safetensors   # or files of `save_judge`, trained elsewhere

Every figure on the built-in world is counted with these judges: after a change, all rows, cards and ledgers are counted anew.
"""
import sys

from links import ROOT

FOLDER = ROOT/'avgen_nb/models/judges'


def main(*files):
    from avgen_nb.judges import ceiling_of, load_judge, outline, save_judge, train_judge
    from avgen_nb.pairs import orchestra_pairs
    data = orchestra_pairs()
    judges = [load_judge(f) for f in files] or [train_judge(m, data['train'], data['dev']) for m in ('picture', 'sound')]
    for judge in judges:
        judge.half().float()   # what is kept
        judge.meta |= dict(ceiling=ceiling_of(judge, data['test']), world={k: outline(data[k], judge.modality) for k in ('train', 'test')})
        save_judge(judge.half(), FOLDER/f'{judge.modality}.safetensors')
        print(f'{judge.modality}: {judge.meta["ceiling"]["value"]:.3f} on the test songs')


if __name__ == '__main__': main(*sys.argv[1:])
