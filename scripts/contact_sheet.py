"""Write docs/players.jpg: every instrument in several songs and poses, at 64x64 (enlarged twice) and large.

usage: python scripts/contact_sheet.py [OUT]
"""
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from avgen_nb.players import INSTRUMENTS, RANGES, Moment, draw_look, draw_player

LARGE, SMALL, GAP, MARGIN, SONGS = 260, 64, 4, 96, 5


def moment(name, i, n):
    "The i-th of n poses: pitch rises, the rest wanders."
    low, high = RANGES[name]
    return Moment(low + (high - low)*i/max(1, n - 1), (.3, .9, .6)[i % 3], (.1, .8, .45, .6)[i % 4], .3*i)


def row(name):
    "Four songs large, five small ones, and one small song in five poses."
    large = [draw_player(name, moment(name, i, 4), draw_look(name, 200 + i), LARGE) for i in range(4)]
    songs = [draw_player(name, moment(name, 3*i % SONGS, SONGS), draw_look(name, 300 + i), SMALL) for i in range(SONGS)]
    poses = [draw_player(name, moment(name, i, SONGS), draw_look(name, 310), SMALL) for i in range(SONGS)]
    return large, songs + poses


def paste(sheet, pictures, x, y, scale, cols):
    "Pictures in a grid, each pixel `scale` times as large."
    for i, p in enumerate(pictures):
        image = Image.fromarray(p)
        image = image.resize((image.width*scale, image.height*scale), Image.NEAREST)
        sheet.paste(image, (x + i % cols*(image.width + GAP), y + i // cols*(image.height + GAP)))


def contact_sheet():
    "The whole sheet."
    height, left = LARGE + 2*GAP, MARGIN + 4*(LARGE + GAP) + 2*GAP
    sheet = Image.new('RGB', (left + SONGS*(2*SMALL + GAP), 34 + len(INSTRUMENTS)*height), 'white')
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    pen.text((MARGIN, 8), 'four songs, rising pitch', 'black', font)
    pen.text((left, 8), '64x64 pixels, enlarged twice: five songs; below, one song in five poses', 'black', font)
    for i, name in enumerate(INSTRUMENTS):
        y, (large, small) = 34 + i*height, row(name)
        pen.text((6, y + LARGE//2 - 8), name.replace('_', ' '), 'black', font)
        paste(sheet, large, MARGIN, y, 1, 4)
        paste(sheet, small, left, y, 2, SONGS)
    return sheet


if __name__ == '__main__':
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]/'docs'/'players.jpg')
    contact_sheet().save(out, quality=86)
    print(out, out.stat().st_size // 1024, 'kB')
