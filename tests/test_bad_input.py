"Pictures and folders that cannot be used: one sentence that names the file or the argument, and a data set that goes on."
import errno, os, shutil, struct, zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch, torch
from PIL import Image

from avgen_nb.cgan import CHEN_S2I, encoder_for
from avgen_nb.cli import main
from avgen_nb.cmcgan import load_cycle
from avgen_nb.folders import SOUNDS, Report, class_files, load_class_folders, read_picture
from avgen_nb.judges import Judge, load_judge, save_judge
from avgen_nb.nets import PICTURE, SOUND, Decoder
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.runs import changed, load_run
from avgen_nb.sound import SAMPLE_RATE, read_sound, write_sound
from avgen_nb.files import fingerprint, load_nets, read_tensors, save_nets
from avgen_nb.store import load_urmp

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
    from avgen_nb.folders import read_all
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


# model files: whole, with a good fingerprint, and of no use all the same

SMALL = dict(encoder=dict(plan=(4, 'M', 'M', 'M'), hidden=(8,), keep=(.8,)), game=dict(width=2))

def tiny_run(folder, name='model.safetensors', meta=(), drop=(), spoil=None, **changes):
    "A run of a few kilobytes, with its judge; `meta` changes what is written beside the weights, `drop` leaves some of it out."
    torch.manual_seed(0)
    recipe = changed(CHEN_S2I, **SMALL)
    nets = dict(E=encoder_for(SOUND, recipe.encoder, ('cello', 'tuba')), G=Decoder(PICTURE, 74, 2))
    if spoil: spoil(nets)
    said = dict(recipe=asdict(recipe), classes=['cello', 'tuba'], opened={}, seed=0, steps=1, minutes=.1, version='0') | dict(meta)
    save_nets(folder / name, {k: v for k, v in nets.items() if k not in drop}, {k: v for k, v in said.items() if k not in drop})
    save_judge(Judge(3, ('cello', 'tuba'), 'picture', width=2), folder / 'judge.safetensors')
    return recipe


def test_a_tiny_run_is_whole_and_loads_without_drawing_numbers(tmp_path):
    recipe, before = tiny_run(tmp_path), torch.get_rng_state()
    run = load_run(tmp_path)
    assert run.recipe == recipe and run.make(torch.zeros(2, 1, 128, 44)).shape == (2, 3, 64, 64) and run.jury.modality == 'picture'
    assert torch.equal(torch.get_rng_state(), before)


def newer(encoder={}, game={}, **fields):
    recipe = asdict(changed(CHEN_S2I, **SMALL))
    return recipe | dict(encoder=recipe['encoder'] | encoder, game=recipe['game'] | game) | fields


def spoil_weight(value):
    def spoil(nets): nets['G'].lay.weight.data[3, 4] = value
    return spoil


@pytest.mark.parametrize('how, words', [
    (dict(drop=['recipe']), 'recipe'), (dict(drop=['classes']), 'classes'), (dict(meta=dict(classes=[])), 'classes'), (dict(meta=dict(classes=2)), 'classes'),
    (dict(drop=['G']), "'G'"), (dict(drop=['E']), "'E'"), (dict(meta=dict(recipe=[])), 'recipe'), (dict(meta=dict(recipe=3)), 'recipe'),
    (dict(meta=dict(recipe=newer(tempo=3))), "tempo"), (dict(meta=dict(recipe=newer(game=dict(tempo=3)))), "tempo"),
    (dict(meta=dict(recipe=newer(game=dict(width=3)))), "'G'"), (dict(meta=dict(recipe=newer(game=dict(width=10**7)))), "'G'"),
    (dict(meta=dict(recipe=newer(encoder=dict(phi=5)))), "'E'"), (dict(meta=dict(recipe=newer(game=dict(width='wide')))), 'built'), (dict(meta=dict(recipe=newer(source='smell'))), "'smell'"),
    (dict(meta=dict(recipe=newer(encoder=dict(plan=['x'])))), "'x'"), (dict(meta=dict(recipe={'name': 'S2I-C'})), 'built'), (dict(meta=dict(recipe=newer() | dict(game=7))), 'built'), (dict(meta=dict(recipe=newer() | dict(encoder={}))), 'built'),
    (dict(meta=dict(classes=['a', 'b', 'c'])), "'E'"), (dict(spoil=spoil_weight(torch.nan)), 'NaN'), (dict(spoil=spoil_weight(-torch.inf)), 'NaN')])
def test_a_model_that_is_none_is_named_in_one_sentence(tmp_path, capsys, how, words):
    tiny_run(tmp_path, **how)
    assert main(['picture', 'x.wav', '--model', str(tmp_path), '--out', str(tmp_path / 'made')]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and str(tmp_path / 'model.safetensors') in err and words in err and len(err) < 400


@pytest.mark.parametrize('text', ['', '[]', 'null', '7', '{"a"', None])
def test_a_good_fingerprint_over_a_bad_text(tmp_path, text):
    tiny_run(tmp_path)
    path = tmp_path / 'model.safetensors'
    tensors, _ = read_tensors(path, 'nets')
    header = dict(format='avgen_nb nets 1', sha256=fingerprint(tensors, text or '')) | ({} if text is None else dict(meta=text))
    path.write_bytes(safetensors.torch.save(tensors, header))
    for call, what in ((load_nets, path), (load_run, tmp_path), (load_judge, path)):
        with pytest.raises(ValueError, match='model.safetensors.*JSON') as e: call(what)
        assert '\n' not in str(e.value)


def test_a_judge_in_place_of_a_model_and_a_model_in_place_of_a_judge(tmp_path):
    tiny_run(tmp_path)
    model, judge = tmp_path / 'model.safetensors', tmp_path / 'judge.safetensors'
    with pytest.raises(ValueError, match='model.safetensors.*holds no judge'): load_judge(model)
    whole = model.read_bytes()
    model.write_bytes(judge.read_bytes())
    with pytest.raises(ValueError, match='model.safetensors.*recipe'): load_run(tmp_path)
    judge.write_bytes(whole); model.write_bytes(whole)
    with pytest.raises(ValueError, match='judge.safetensors.*holds no judge'): load_run(tmp_path)


@pytest.mark.parametrize('changed, words', [(dict(width=3), 'judge.safetensors.*size'), (dict(modality='smell'), "'smell'"), (dict(channels='x'), 'built'),
                                            (dict(classes=5), 'built'), (dict(modality='sound'), 'judges sounds, but the model makes pictures'),
                                            (dict(classes=('a', 'b')), 'other classes')])
def test_a_judge_that_does_not_fit(tmp_path, changed, words):
    tiny_run(tmp_path)
    judge = Judge(3, ('cello', 'tuba'), 'picture', width=2)
    for k, v in changed.items(): setattr(judge, k, v)
    save_judge(judge, tmp_path / 'judge.safetensors')
    with pytest.raises(ValueError, match=words) as e: load_run(tmp_path)
    assert '\n' not in str(e.value) and 'judge.safetensors' in str(e.value)


def test_a_folder_of_several_runs_names_them(tmp_path, capsys):
    for way in ('sound-picture', 'picture-sound'):
        (tmp_path / way).mkdir()
        tiny_run(tmp_path / way)
    assert main(['evaluate', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and f'{tmp_path}/picture-sound, {tmp_path}/sound-picture' in err


def test_a_cmcgan_whose_directions_are_swapped(tmp_path):
    for way in ('sound-picture', 'picture-sound'):
        (tmp_path / way).mkdir()
        tiny_run(tmp_path / way)
    with pytest.raises(ValueError, match='picture-sound makes pictures'): load_cycle(tmp_path)


def test_a_model_that_does_not_say_what_it_was_trained_with(tmp_path, capsys):
    tiny_run(tmp_path, drop=['opened', 'seed', 'steps', 'minutes', 'version'])
    assert main(['evaluate', str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and str(tmp_path) in err and '--data' in err


# files that are none, and headers that promise too much

def wav(path, data, rate=SAMPLE_RATE, subtype='FLOAT'):
    "A wav of any numbers at any rate."
    import soundfile
    soundfile.write(path, np.asarray(data, np.float32), rate, subtype)
    return path


def steady(n=30_000): return .3 * np.sin(np.arange(n) * .06)


@pytest.mark.parametrize('rate', [1, 100, 3999, 768_001, 2**31 - 1])
def test_a_rate_that_no_recording_has(tmp_path, rate):
    path = wav(tmp_path / 'a.wav', steady(8000))
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, 'little')
    path.write_bytes(data)
    said = refused(read_sound, path)
    assert str(path) in said and f'{rate:,} samples a second' in said and '4,000 to 768,000' in said


@pytest.mark.parametrize('rate', [4000, 8000, 768_000])
def test_a_rare_rate_is_read(tmp_path, rate): assert len(read_sound(wav(tmp_path / 'a.wav', steady(rate // 10), rate))) == 4410


def test_hours_of_sound_are_refused_before_they_are_read(tmp_path, monkeypatch):
    import soundfile
    soundfile.write(tmp_path / 'a.flac', np.zeros(4000 * 3700, np.int16), 4000)   # some kilobytes
    monkeypatch.setattr(soundfile.SoundFile, 'read', lambda *a, **k: pytest.fail('it was read'))
    said = refused(read_sound, tmp_path / 'a.flac')
    assert 'a.flac' in said and '1.0 hours' in said and 'at most 1 hour' in said


@pytest.mark.parametrize('data, words', [
    (np.full(30_000, .5), 'only a constant'), (np.full((30_000, 2), -.9), 'only a constant'), (.2 + 1e-7 * steady(), 'only a constant'),
    (steady() * 1e38, 'far outside'), (np.full(30_000, 1e38), 'far outside'), (np.r_[steady(), np.nan], 'NaN'), (np.r_[steady(), -np.inf], 'NaN')])
def test_numbers_that_are_no_sound(tmp_path, data, words):
    said = refused(read_sound, wav(tmp_path / 'a.wav', data))
    assert 'a.wav' in said and words in said


@pytest.mark.filterwarnings('ignore:.*is clipped')
def test_an_offset_and_large_whole_numbers_are_still_sound(tmp_path):
    plain = read_sound(wav(tmp_path / 'a.wav', steady()))
    assert np.allclose(read_sound(wav(tmp_path / 'b.wav', .4 + steady())) - .4, plain, atol=1e-6)
    assert read_sound(wav(tmp_path / 'c.wav', steady() * 2**31)).abs().max() == 1
    assert read_sound(wav(tmp_path / 'd.wav', np.zeros(30_000))).abs().max() == 0, 'silence is refused where it is asked for a picture'


READERS = [(read_sound, 'a.wav', 'sound file'), (read_picture, 'a.png', 'picture')]


@pytest.mark.parametrize('read, name, what', READERS)
def test_a_path_to_what_is_no_file(tmp_path, read, name, what):
    path = tmp_path / name
    assert f'there is no such {what}' in refused(read, path)
    path.symlink_to(path.name)
    assert str(path) in (said := refused(read, path)) and 'leads back to itself' in said
    path.unlink(); path.mkdir()
    assert str(path) in (said := refused(read, path)) and 'is a folder' in said and what in said
    path.rmdir(); os.mkfifo(path)
    assert str(path) in (said := refused(read, path)) and 'a pipe, a socket or a device' in said
    assert 'a device' in refused(read, Path('/dev/null'))
    assert 'too long' in refused(read, tmp_path / ('x' * 260 + name))
    path.unlink(); (tmp_path / 'file').write_text('x')
    assert f'there is no such {what}' in refused(read, tmp_path / 'file' / name)


@pytest.mark.parametrize('mode', ['I', 'F'])
@pytest.mark.parametrize('value', [0, 200, 70_000])
def test_a_picture_of_32_bits_is_refused(tmp_path, mode, value):
    Image.fromarray(np.full((32, 32), value, dict(I=np.int32, F=np.float32)[mode])).save(tmp_path / 'a.tiff')
    said = refused(read_picture, tmp_path / 'a.tiff')
    assert 'a.tiff' in said and '32-bit' in said and '8 or 16' in said


def test_nan_in_a_tiff_and_a_16_bit_tiff(tmp_path):
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(tmp_path / 'nan.tiff')
    assert 'nan.tiff' in refused(read_picture, tmp_path / 'nan.tiff')
    Image.fromarray(np.full((32, 32), 128 * 257, np.uint16)).save(tmp_path / 'deep.tiff')
    assert (read_picture(tmp_path / 'deep.tiff') == 128).all()


@pytest.mark.parametrize('side', [12_000, 14_000])
def test_a_picture_of_too_many_pixels_is_one_sentence(tmp_path, recwarn, side):
    "Pillow warns of the first and raises for the second."
    (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + (head := b'IHDR' + struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0))
                                     + struct.pack('>I', zlib.crc32(head)) + struct.pack('>I', 0) + b'IDAT' + struct.pack('>I', zlib.crc32(b'IDAT')))
    said = refused(read_picture, tmp_path / 'a.png')
    assert 'a.png' in said and 'more than 89 million pixels' in said and not recwarn.list


def test_an_error_carries_path_and_reason_as_values(tmp_path):
    "A path that looks like a sentence, and a reader whose error is no report on a file."
    path = tmp_path / 'a.png: is fine. b'
    path.write_bytes(b'')
    from avgen_nb.folders import read_all
    assert list(read_all(read_picture, [path], report := Report())) == [] and report.bad == [(path, 'not a readable picture; give a png or jpg that opens')]
    def broken(item): raise ValueError('a bug in the reader')
    with pytest.raises(ValueError, match='a bug in the reader'): list(read_all(broken, [path], Report()))


# batches: folders, names, disks

def full(*a, **k): raise OSError(errno.ENOSPC, 'No space left on device')


@pytest.fixture
def notes(tmp_path):
    "A run, a folder of three notes, and the call that draws them."
    (tmp_path / 'run').mkdir(); (tmp_path / 'notes').mkdir()
    tiny_run(tmp_path / 'run')
    for name in ('b.wav', 'a.wav', 'c.wav'): write_sound(tmp_path / 'notes' / name, tone(300))
    (tmp_path / 'notes' / 'read me.txt').write_text('notes'); (tmp_path / 'notes' / '.b.wav').write_text(''); (tmp_path / 'notes' / 'more').mkdir()
    return tmp_path / 'notes', lambda *files: main(['picture', *map(str, files), '--model', str(tmp_path / 'run'), '--out', str(tmp_path / 'made')])


def test_a_folder_stands_for_its_files(notes, tmp_path, capsys):
    folder, draw = notes
    assert draw(folder) == 0
    out, err = capsys.readouterr()
    assert [Path(line.split('\t')[0]).name for line in out.splitlines()] == ['a.wav', 'b.wav', 'c.wav'] and err == ''
    assert sorted(p.name for p in (tmp_path / 'made').iterdir()) == ['a.png', 'b.png', 'c.png']


def test_one_bad_path_does_not_end_the_batch(notes, tmp_path, capsys):
    folder, draw = notes
    (tmp_path / 'loop.wav').symlink_to('loop.wav'); os.mkfifo(tmp_path / 'pipe.wav'); (tmp_path / 'empty').mkdir()
    names = ['x' * 300 + '.wav', tmp_path / 'loop.wav', tmp_path / 'pipe.wav', tmp_path / 'empty', '/dev/null', tmp_path / 'none.wav']
    assert draw(*names, folder / 'a.wav') == 2
    out, err = capsys.readouterr()
    assert out.startswith(str(folder / 'a.wav')) and out.count('\n') == 1 and err.count('\n') == len(names) and 'Traceback' not in err
    for name, line, words in zip(names, err.splitlines(), ('too long', 'leads back to itself', 'a pipe', 'is a folder', 'a device', 'no such sound file')):
        assert str(name) in line and words in line
    assert [p.name for p in (tmp_path / 'made').iterdir()] == ['a.png']


def test_a_name_that_is_no_text(notes, tmp_path, capsys):
    folder, draw = notes
    try: shutil.copy(folder / 'a.wav', odd := os.fsdecode(os.fsencode(folder) + b'/o\xff.wav'))
    except OSError: pytest.skip('this file system wants names that are text')
    assert draw(odd, folder / 'a.wav') == 0
    out, err = capsys.readouterr()
    assert 'o\ufffd.wav\ttuba' in out and out.count('\n') == 2 and err == '' and len(list((tmp_path / 'made').iterdir())) == 2


def test_a_name_that_is_too_long_for_its_result_is_told_and_skipped(notes, tmp_path, capsys):
    folder, draw = notes
    (tmp_path / 'x').mkdir()
    for place in (folder, tmp_path / 'x'): shutil.copy(folder / 'a.wav', place / ('y' * 251 + '.wav'))   # the second becomes …y-2.png
    assert draw(folder / ('y' * 251 + '.wav'), tmp_path / 'x' / ('y' * 251 + '.wav'), folder / 'a.wav') == 2
    out, err = capsys.readouterr()
    assert out.count('\n') == 2 and err.count('\n') == 1 and 'File name too long' in err
    assert sorted(len(p.name) for p in (tmp_path / 'made').iterdir()) == [5, 255]


def test_a_full_disk_under_out_is_one_sentence_and_leaves_nothing(notes, tmp_path, capsys, monkeypatch):
    folder, draw = notes
    monkeypatch.setattr(os, 'fsync', full)
    assert draw(folder) == 2
    out, err = capsys.readouterr()
    assert out == '' and err == f'avgen: {tmp_path / "made" / "a.png"}: No space left on device.\n' and list((tmp_path / 'made').iterdir()) == []


def test_a_full_disk_under_a_sound_or_a_model(tmp_path, monkeypatch):
    recipe = tiny_run(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(os, 'fsync', full); monkeypatch.setattr(Path, 'write_bytes', full)
    for write, name in ((lambda p: write_sound(p, tone(300)), 'a.wav'), (lambda p: save_nets(p, dict(G=Decoder(PICTURE, 74, 2)), {}), 'model.safetensors')):
        with pytest.raises(OSError) as e: write(tmp_path / name)
        assert e.value.errno == errno.ENOSPC and e.value.filename == str(tmp_path / name)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_full_disk_under_a_store_names_it(tmp_path, monkeypatch):
    from avgen_nb.store import prepare_store
    root = write_world(tmp_path / 'world')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError) as e: prepare_store(root, tmp_path / 'store', progress=False, workers=0)
    assert e.value.errno == errno.ENOSPC and e.value.filename.startswith(str(tmp_path / 'store'))
    assert not [p for p in (tmp_path / 'store').iterdir() if p.name.startswith('.')]
    monkeypatch.undo()
    assert len(load_urmp(prepare_store(root, tmp_path / 'store', progress=False, workers=0))) == 3, 'once there is room it goes on'


def test_a_full_disk_under_the_cache_is_a_warning(tmp_path, monkeypatch):
    from safetensors import SafetensorError
    from avgen_nb import cache, experiments, judges, orchestra, probes
    monkeypatch.setenv('AVGEN_CACHE', str(tmp_path))
    def broken(arrays, path): Path(path).write_bytes(b'half'); raise SafetensorError('I/O error: No space left on device (os error 28)')
    monkeypatch.setattr('safetensors.numpy.save_file', broken)
    monkeypatch.setattr(orchestra, '_gather', lambda plan, items: dict(label=np.arange(3)))
    with pytest.warns(UserWarning, match='orchestra-small.* could not be kept .*No space left'): arrays = orchestra.build_orchestra('small', progress=False)
    assert arrays['label'].tolist() == [0, 1, 2] and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, 'fsync', full)
    judge = Judge(3, ('a', 'b'), 'picture', width=2)
    with pytest.warns(UserWarning, match='judge.safetensors could not be kept .No space left'):
        assert cache.kept(tmp_path / 'judge.safetensors', judges.load_judge, lambda: judge, lambda path, made: save_judge(made, path)) is judge
    assert list(tmp_path.iterdir()) == [] and judges.kept is probes.kept is orchestra.kept is experiments.kept is cache.kept


def test_the_names_there_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('s2i-c', 'S2I-C', 'nothing'):
        assert main(['picture', 'a.wav', '--model', name]) == 2
        err = capsys.readouterr().err
        assert err.count('\n') == 1 and name in err and all(n in err for n in ('S2I-C+guide', 'I2S+guide', 'CMCGAN+guide/sound-picture'))
    write_sound('a.wav', tone(300))
    assert main(['picture', 'a.wav', '--model', 's2i-c+GUIDE']) == 0 and main(['picture', 'a.wav', '--model', 'cmcgan+guide']) == 0
