"""Write docs/sheets/NAME.jpg for every model of the package: all classes, three moments each, drawn by chance from the exam.

usage: python scripts/model_sheets.py [NAME …]

Upper row of each pair: the real item of the moment, never seen by the model; lower row: what the model made from its other half.
Nothing is chosen: the moments come from one seed, and z is what the seed gives.
"""
import sys

import numpy as np
import torch
from links import ROOT
from PIL import Image, ImageDraw, ImageFont

EACH, SEED, WIDE = 3, 0, 128


def chosen(pairs):
    "Indices (classes, EACH) of sounding moments, by chance."
    g, sounding = torch.Generator().manual_seed(SEED), ~pairs.truth['pitch'].isnan()
    def some(c):
        own = ((pairs.labels == c) & sounding).nonzero().flatten()
        return own[torch.randperm(len(own), generator=g)[:EACH]]
    return torch.stack([some(c) for c in range(len(pairs.classes))])


def image_of(modality, x):
    "One item as a picture of WIDE pixels."
    from avgen_nb.page import lms_image
    from avgen_nb.show import to_uint8
    image = to_uint8(x[None])[0] if modality.channels == 3 else lms_image(x[None])
    return Image.fromarray(np.ascontiguousarray(image)).resize((WIDE, WIDE), Image.Resampling.LANCZOS if modality.channels == 3 else Image.Resampling.NEAREST)


def sheet(run, pairs):
    "Real and made, a column for each class."
    index = chosen(pairs)
    batch = pairs.batch(index.flatten())
    real, made = getattr(batch, run.target.name), run.make(getattr(batch, run.source.name), seed=SEED)
    page = Image.new('RGB', (len(index) * (WIDE + 4), 2 * EACH * (WIDE + 4) + 22), 'white')
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for k in range(index.numel()):
        c, j = divmod(k, EACH)
        if not j: pen.text((c * (WIDE + 4) + 4, 3), pairs.classes[c].replace('_', ' '), 'black', font)
        for i, items in enumerate((real, made)): page.paste(image_of(run.target, items[k]), (c * (WIDE + 4), 22 + (2 * j + i) * (WIDE + 4)))
    return page


def main():
    from avgen_nb.pairs import exam_pairs
    from avgen_nb.runs import shipped, shipped_names
    exam, place = exam_pairs(), ROOT/'docs/sheets'
    place.mkdir(exist_ok=True)
    for name in sys.argv[1:] or shipped_names():
        out = place/f'{name.replace("/", "-")}.jpg'
        sheet(shipped(name), exam).save(out, quality=88)
        print(out.relative_to(ROOT), out.stat().st_size // 1024, 'kB', flush=True)


if __name__ == '__main__': main()
