"Pictures and folders that cannot be used: one sentence that names the file or the argument, and a data set that goes on."
import shutil, struct, zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_nb.pairs import orchestra_pairs
from avgen_nb.sound import SAMPLE_RATE, write_sound
from avgen_nb.urmp import SOUNDS, Report, class_files, load_class_folders, load_urmp, read_picture

PHOTO = Image.fromarray(np.stack([*np.meshgrid(np.arange(96), np.arange(64)), np.full((64, 96), 90)], -1).astype(np.uint8) * 2)


def refused(call, *args, **options):
    "The sentence of the ValueError that must come."
    with pytest.raises(ValueError) as e: call(*args, **options)
    text = str(e.value)
    assert text.strip() == text and '\n' not in text and text.endswith('.') and len(text) < 400, text
    return text


def close(a, b): return (a.int() - b.int()).abs().float().mean() < 3


def png16(path, pixels):
    "A 16-bit RGB png, which Pillow reads but does not write."
    h, w, _ = pixels.shape
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    raw = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 16, 2, 0, 0, 0))
                     + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b''))


# every mode of picture

@pytest.mark.parametrize('mode, ending', [('RGB', 'png'), ('RGB', 'jpg'), ('CMYK', 'jpg'), ('RGBA', 'png'), ('P', 'png')])
def test_colour_survives_the_mode(tmp_path, mode, ending):
    image = PHOTO.quantize(256) if mode == 'P' else PHOTO.convert(mode)
    PHOTO.save(tmp_path / 'true.png'); image.save(tmp_path / f'a.{ending}', quality=95)
    x = read_picture(tmp_path / f'a.{ending}')
    assert x.shape == (3, 64, 64) and x.dtype == torch.uint8 and x.is_contiguous()
    limit = 12 if mode == 'P' else 3
    assert (x.int() - read_picture(tmp_path / 'true.png').int()).abs().float().mean() < limit


@pytest.mark.parametrize('mode, ending', [('L', 'png'), ('L', 'jpg'), ('LA', 'png'), ('1', 'png')])
def test_grey_has_three_equal_channels(tmp_path, mode, ending):
    PHOTO.convert(mode).save(tmp_path / f'a.{ending}')
    x = read_picture(tmp_path / f'a.{ending}')
    assert torch.equal(x[0], x[1]) and torch.equal(x[1], x[2]) and x.float().std() > 10


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    grey = np.asarray(PHOTO.convert('L'))
    Image.fromarray(grey).save(tmp_path / 'eight.png'); Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / 'sixteen.png')
    Image.fromarray(np.full((32, 32), 300, np.uint16)).save(tmp_path / 'dark.png')
    assert close(read_picture(tmp_path / 'eight.png'), read_picture(tmp_path / 'sixteen.png'))
    assert read_picture(tmp_path / 'dark.png').max() <= 2


def test_sixteen_bit_colour(tmp_path):
    PHOTO.save(tmp_path / 'eight.png'); png16(tmp_path / 'sixteen.png', np.asarray(PHOTO).astype(np.uint16) * 257)
    assert close(read_picture(tmp_path / 'eight.png'), read_picture(tmp_path / 'sixteen.png'))


def test_transparency_is_laid_over_white(tmp_path):
    Image.new('RGBA', (32, 32), (0, 0, 255, 0)).save(tmp_path / 'clear.png')
    Image.new('RGBA', (32, 32), (0, 0, 255, 128)).save(tmp_path / 'half.png')
    index = Image.new('P', (32, 32), 0); index.putpalette([255, 0, 0]); index.save(tmp_path / 'index.png', transparency=0)
    assert (read_picture(tmp_path / 'clear.png') == 255).all() and (read_picture(tmp_path / 'index.png') == 255).all()
    assert read_picture(tmp_path / 'half.png')[:, 0, 0].tolist() == [127, 127, 255]


def test_a_phones_turn_is_undone(tmp_path):
    exif = Image.Exif(); exif[274] = 6
    PHOTO.save(tmp_path / 'a.jpg', quality=95, exif=exif); PHOTO.rotate(-90, expand=True).save(tmp_path / 'b.jpg', quality=95)
    assert close(read_picture(tmp_path / 'a.jpg'), read_picture(tmp_path / 'b.jpg'))


@pytest.mark.parametrize('size', [(16, 16), (16, 900), (1920, 1080), (17, 31)])
def test_any_size_from_16_up(tmp_path, size):
    PHOTO.resize(size).save(tmp_path / 'a.jpg')
    assert read_picture(tmp_path / 'a.jpg').shape == (3, 64, 64) and read_picture(tmp_path / 'a.jpg', 128).shape == (3, 128, 128)


def test_the_square_is_cut_where_it_is_asked_for(tmp_path):
    wide = np.zeros((108, 192, 3), np.uint8); wide[:, :20, 0] = 255; wide[:, -20:, 2] = 255
    Image.fromarray(wide).save(tmp_path / 'a.png')
    left, middle, right = (read_picture(tmp_path / 'a.png', across=a).float().mean((1, 2)) for a in (0, .5, 1))
    assert left[0] > 30 and left[2] == 0 and right[2] > 30 and right[0] == 0 and middle.sum() == 0


# pictures that cannot be used

@pytest.mark.parametrize('size', [(1, 1), (15, 400), (400, 15)])
def test_a_tiny_picture_is_refused_with_the_least_size(tmp_path, size):
    Image.new('RGB', size).save(tmp_path / 'dot.png')
    said = refused(read_picture, tmp_path / 'dot.png')
    assert 'dot.png' in said and f'{size[0]}×{size[1]}' in said and '16×16' in said


@pytest.mark.parametrize('name', ('a.png', 'a.jpg'))
@pytest.mark.parametrize('left', (0, 10, 300, -40))
def test_a_truncated_picture_is_refused(tmp_path, name, left):
    Image.effect_noise((96, 64), 80).convert('RGB').save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:left])
    assert str(tmp_path / name) in refused(read_picture, tmp_path / name)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / 'text.png').write_text('la la la')
    (tmp_path / 'folder.png').mkdir()
    for name in ('text.png', 'folder.png', 'none.png'): assert name in refused(read_picture, tmp_path / name)
    assert 'no such' in refused(read_picture, tmp_path / 'none.png')


# folders

def tone(hz): return .3 * torch.sin(2 * torch.pi * hz * torch.arange(26460) / SAMPLE_RATE)


@pytest.fixture
def root(tmp_path):
    for c, name in enumerate(('bell', 'pipe')):
        for kind in ('sounds', 'pictures'): (tmp_path / kind / name).mkdir(parents=True)
        for i in range(4):
            write_sound(tmp_path / 'sounds' / name / f'{i}.wav', tone(300 * (c + 1) + 20 * i))
            PHOTO.rotate(10 * i + 90 * c).save(tmp_path / 'pictures' / name / f'{i}.png')
    return tmp_path


def load(root, **options): return load_class_folders(root / 'sounds', root / 'pictures', (.5, .25, .25), **options)


@pytest.mark.parametrize('which', ('sounds', 'pictures'))
def test_a_path_that_does_not_exist(root, which):
    shutil.rmtree(root / which)
    said = refused(load, root)
    assert str(root / which) in said and 'does not exist' in said


@pytest.mark.parametrize('which', ('sounds', 'pictures'))
def test_a_file_where_a_folder_is_expected(root, which):
    shutil.rmtree(root / which); (root / which).write_text('')
    said = refused(load, root)
    assert str(root / which) in said and 'is a file' in said


@pytest.mark.parametrize('which', ('sounds', 'pictures'))
def test_a_folder_without_files(root, which):
    for f in (root / which).glob('*/*'): f.unlink()
    assert str(root / which) in refused(load, root)
    shutil.rmtree(root / which); (root / which).mkdir()
    said = refused(load, root)
    assert str(root / which) in said and '<class>' in said


def test_files_beside_the_class_folders_only(root):
    shutil.rmtree(root / 'sounds'); (root / 'sounds').mkdir()
    write_sound(root / 'sounds' / 'a.wav', tone(300))
    assert 'sounds/<class>/' in refused(load, root)


@pytest.mark.parametrize('which', ('sounds', 'pictures'))
def test_an_empty_class_folder_is_named(root, which):
    for f in (root / which / 'pipe').iterdir(): f.unlink()
    assert str(root / which / 'pipe') in refused(load, root)


@pytest.mark.parametrize('which, other', [('sounds', 'pictures'), ('pictures', 'sounds')])
def test_a_class_on_one_side_only_is_named(root, which, other):
    shutil.rmtree(root / which / 'pipe')
    said = refused(load, root)
    assert f"'pipe' has {other} but no {which}" in said


def test_a_class_that_the_orchestra_lacks_is_named(root):
    orchestra = orchestra_pairs('small', progress=False)
    said = refused(load_class_folders, root / 'sounds', orchestra)
    assert "'bell'" in said and 'violin' in said


@pytest.mark.parametrize('fractions', [(.5, .5), (0, .5, .5), (.9, .2, -.1)])
def test_fractions_that_are_none(root, fractions):
    assert 'fractions' in refused(load_class_folders, root / 'sounds', root / 'pictures', fractions)


def test_a_class_of_bad_files_only_is_named(root):
    for f in (root / 'sounds' / 'pipe').iterdir(): f.write_bytes(b'RIFF')
    assert "'pipe' has no sound file" in refused(load, root, max_bad=.9)


def test_too_few_pictures_for_three_sides(root):
    for i in (1, 2, 3): (root / 'pictures' / 'pipe' / f'{i}.png').unlink()
    assert "'pipe'" in refused(load, root)


# a few bad files among many

def spoil(root):
    (root / 'sounds' / 'bell' / '1.wav').write_bytes(b'')
    write_sound(root / 'sounds' / 'pipe' / 'silent.wav', torch.zeros(30_000))
    write_sound(root / 'sounds' / 'pipe' / 'short.wav', torch.ones(1))
    data = (root / 'pictures' / 'bell' / '0.png').read_bytes()
    (root / 'pictures' / 'bell' / '0.png').write_bytes(data[:len(data) // 2])
    Image.new('RGB', (1, 1)).save(root / 'pictures' / 'pipe' / 'dot.png')


BAD = {'1.wav', 'silent.wav', 'short.wav', '0.png', 'dot.png'}


def test_bad_files_are_named_counted_and_skipped(root, capsys):
    spoil(root)
    report = Report()
    splits = load(root, max_bad=.5, report=report)
    out = capsys.readouterr().out
    assert {Path(p).name for p, _ in report.bad} == BAD and report.read == 7 + 7
    assert all(name in out for name in BAD) and '5 bad, 14 good' in out
    assert all('\n' not in why and why for _, why in report.bad) and 'silent' in dict((p.name, w) for p, w in report.bad)['silent.wav']
    assert sum(p.songs.unique().numel() for p in splits.values()) == 7


def test_too_many_bad_files_stop_the_run(root):
    spoil(root)
    said = refused(load, root)
    assert '26.3%' in said and 'max_bad' in said and str(root) in said


def test_one_bad_file_in_two_hundred_does_not(root):
    for i in range(200): (root / 'pictures' / 'bell' / f'copy{i}.png').write_bytes((root / 'pictures' / 'bell' / '0.png').read_bytes())
    (root / 'sounds' / 'bell' / '1.wav').write_bytes(b'')
    assert len(load(root)) == 3


def test_only_bad_files(root):
    for f in (root / 'sounds').glob('*/*.wav'): f.write_bytes(b'RIFF')
    assert 'None of the 8 sound files' in refused(load, root)


def test_the_report_prints_ten_lines_and_a_count(capsys):
    Report(read=5000, bad=[(Path(f'{i}.wav'), 'is empty') for i in range(25)]).close(.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and lines[9].startswith('skipped 9.wav') and '15 more' in lines[10] and '25 bad' in lines[11]
    Report(read=3).close()
    assert capsys.readouterr().out == ''


def test_a_path_with_a_colon_is_still_named(tmp_path):
    (tmp_path / 'Bach: Suites').mkdir()
    (tmp_path / 'Bach: Suites' / 'a.png').write_bytes(b'')
    from avgen_nb.urmp import read_all
    report, path = Report(), tmp_path / 'Bach: Suites' / 'a.png'
    assert list(read_all(read_picture, [path], report)) == [] and report.bad[0][0] == path


# Sub-URMP

def write_world(root):
    for split in ('train', 'validation'):
        for name in ('cello', 'tuba'):
            for tree in ('img', 'chunk'): (root / tree / split / name).mkdir(parents=True)
            for i in range(2):
                stem = f'{name}{i + 2 * (split == "validation"):02d}_500'
                PHOTO.save(root / 'img' / split / name / f'{stem}.jpg')
                write_sound(root / 'chunk' / split / name / f'{stem}.wav', tone(300)[:22050], stereo=True)
    return root


def test_files_without_partner_and_strange_names_are_reported(tmp_path, capsys):
    root = write_world(tmp_path)
    (root / 'img' / 'train' / 'cello' / 'cello00_500.jpg').unlink()
    (root / 'chunk' / 'train' / 'tuba' / 'tuba00_500.wav').unlink()
    for tree, ending in (('img', 'jpg'), ('chunk', 'wav')):
        f = root / tree / 'validation' / 'tuba' / f'tuba02_500.{ending}'
        f.rename(f.with_name(f'strange.{ending}'))
    report = Report()
    splits = load_urmp(root, max_bad=.5, report=report)
    assert sorted((Path(p).name, why) for p, why in report.bad) == [
        ('cello00_500.wav', 'has no partner in img'), ('strange.jpg', 'is not named {instrument}{song}_{ms}'),
        ('tuba00_500.jpg', 'has no partner in chunk')]
    assert sum(map(len, splits.values())) == 5 and '3 bad' in capsys.readouterr().out
    assert 'max_bad' in refused(load_urmp, root)


def test_a_pair_with_one_bad_half_is_left_out(tmp_path):
    root = write_world(tmp_path)
    (root / 'img' / 'train' / 'cello' / 'cello00_500.jpg').write_bytes(b'x')
    report = Report()
    assert sum(map(len, load_urmp(root, max_bad=.2, report=report).values())) == 7
    assert [Path(p).name for p, _ in report.bad] == ['cello00_500.jpg']


def test_folders_that_are_not_sub_urmp(tmp_path):
    assert 'does not exist' in refused(load_urmp, tmp_path / 'none')
    assert 'img and chunk' in refused(load_urmp, tmp_path)
    root = write_world(tmp_path / 'w')
    shutil.rmtree(root / 'chunk' / 'train')
    assert str(root / 'chunk' / 'train') in refused(load_urmp, root)


def test_a_class_in_one_tree_or_only_in_test(tmp_path):
    root = write_world(tmp_path)
    shutil.rmtree(root / 'chunk' / 'train' / 'tuba')
    assert "'tuba'" in refused(load_urmp, root)
    shutil.rmtree(root / 'img' / 'train' / 'tuba')
    assert "'tuba' has test files" in refused(load_urmp, root)


def test_class_files_says_which_endings_it_knows(tmp_path):
    said = refused(class_files, tmp_path, SOUNDS)
    assert '.wav/.flac/.ogg/.mp3' in said
