"Folders of sounds and pictures that the tests read."
import pytest
import torch
from PIL import Image

from avgen_nb.sound import SAMPLE_RATE, write_sound

CLASSES = ('bell', 'drum', 'pipe')


def tone(hz, seconds=.8, level=.3, silence=0.):
    t = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return torch.cat([torch.zeros(round(silence * SAMPLE_RATE)), level * torch.sin(2 * torch.pi * hz * t)])


def picture(value, size=(40, 30)): return Image.new('RGB', size, (value, 0, 255 - value))


def write_folders(root, n=10, classes=CLASSES):
    "sounds/<class>/<class>_<n>.wav and pictures/<class>/<n>.png; the picture's red is 80 × its class + its number."
    for c, name in enumerate(classes):
        for kind in ('sounds', 'pictures'): (root / kind / name).mkdir(parents=True)
        for i in range(n):
            write_sound(root / 'sounds' / name / f'{name}_{i}.wav', tone(200 * (c + 1) + 10 * i))
            picture(80 * c + i).save(root / 'pictures' / name / f'{i}.png')
    return root


def write_world(root, songs=3, windows=4, classes=('cello', 'tuba'), splits=('train', 'validation')):
    for split in splits:
        for c, name in enumerate(classes):
            for tree in ('img', 'chunk'): (root / tree / split / name).mkdir(parents=True, exist_ok=True)
            numbers = range(songs) if split == 'train' else [songs]
            for song in numbers:
                for k in range(windows):
                    stem = f'{name}{song:02d}_{500 + 100 * k}'
                    picture(100 * c + 10 * song + k, (64, 36)).save(root / 'img' / split / name / f'{stem}.jpg', quality=95)
                    write_sound(root / 'chunk' / split / name / f'{stem}.wav', tone(200 * (c + 1) + 20 * song, .5), stereo=True)
    return root


def refused(call, *args, **options):
    with pytest.raises(ValueError) as e: call(*args, **options)
    assert '\n' not in str(e.value)
    return str(e.value)
