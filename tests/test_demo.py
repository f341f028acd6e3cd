"The gallery and the way from files to files: what is shown is what was made, and bad input is one sentence."
import re, shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_nb import demo, page
from avgen_nb.metrics import Row
from avgen_nb.nets import modality_named
from avgen_nb.page import Case, Film, Tile, Verdict
from avgen_nb.sound import SAMPLE_RATE, read_sound, write_sound

VOID = {'meta', 'img', 'br', 'line', 'circle', 'link'}


class Balanced(HTMLParser):
    "Every tag that opens closes, and ids are single."
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.tags = [], [], []
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID: self.open.append(tag)
        self.ids += [v for k, v in attrs if k == 'id']
    def handle_startendtag(self, tag, attrs): self.tags.append((tag, dict(attrs)))
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f'</{tag}> closes nothing'


def parsed(text):
    found = Balanced()
    found.feed(text)
    assert found.open == [] and len(set(found.ids)) == len(found.ids)
    return found


def tone(hertz, seconds=.5): return .4 * torch.sin(torch.arange(int(seconds * SAMPLE_RATE)) * 2 * torch.pi * hertz / SAMPLE_RATE)
def frames(n): return (np.arange(n, dtype=np.uint8)[:, None, None, None] * 4 + np.zeros((1, 64, 64, 3), np.uint8))
def tile(**k): return Tile('made', frames(3)[2], **k)
def case(label='double_bass'): return Case(label, tile(wave=tone(220)), (tile(verdict=Verdict(label, .9, True)), tile(verdict=Verdict('tuba', .6, False))), tile())
def film(n=23): return Film('A <film>', {'made': frames(n), 'true': frames(n)}, {'one': tone(330, n / 10), 'two': tone(440, n / 10)}, 'text')
def rows(): return [Row('a toy+more', 'sound → picture', 'orchestra', 'test', 'balanced_accuracy', .93, .9, .96, 3640, ceiling=.99, chance=1 / 13, paper='.4321'),
                    Row('a toy+more', 'sound → picture', 'orchestra', 'test', 'kid_judge', .0123, paper='.4321')]


def test_page_is_whole_and_fetches_nothing(tmp_path):
    path = demo.write_gallery(tmp_path/'deep'/'er', rows(), drawn=[case()], heard=[case('oboe')], films=[film()], about='Made <here> & now.')
    text = path.read_text(encoding='utf-8')
    whole = parsed(text)
    assert 'Made &lt;here&gt; &amp; now.' in text and 'A &lt;film&gt;' in text
    assert not re.search(r'(src|href)="(?!data:|#)', text) and '<!--' not in text
    assert [p.name for p in path.parent.iterdir()] == ['index.html']
    assert all(a.get('alt') for t, a in whole.tags if t == 'img')
    assert all(a.get('aria-label') for t, a in whole.tags if t in ('canvas', 'button'))
    assert {a['href'][1:] for t, a in whole.tags if t == 'a' and 'href' in a} <= set(whole.ids)


@pytest.mark.parametrize('parts', [dict(), dict(rows=rows()), dict(drawn=[case()]), dict(films=[film(1)])])
def test_a_page_of_few_parts_has_no_empty_ones(tmp_path, parts):
    text = demo.write_gallery(tmp_path, **parts).read_text(encoding='utf-8')
    assert parsed(text) and text.count('<section') == len(parts)


def test_every_figure_of_a_demo_has_words():
    from avgen_nb.runs import evaluate_run, shipped
    from avgen_nb.pairs import orchestra_pairs
    train = orchestra_pairs('small', progress=False)['train']   # two songs a class
    some = dict(test=train.subset(torch.arange(0, len(train), 4)))
    written = [vars(r) for name in demo.PAIR for r in evaluate_run(shipped(name), some)]
    names = {r['metric'] for r in written}
    assert names >= {'balanced_accuracy', 'coverage', 'near_copies', 'swd_level_0', 'swd_level_2', 'periodicity'}
    assert names <= set(page.MEASURES), names - set(page.MEASURES)
    assert all('better' in words for words in page.MEASURES.values())
    assert page.MEASURES['near_copies'] in page.table_html(written)


def test_a_papers_figure_is_explained_only_where_one_stands():
    ours = [{**vars(r), 'paper': None, 'seeds': 1, 'seed': 3, 'songs': 78} for r in rows()]
    text = demo.gallery_html(ours)
    assert '<b>Paper</b>' not in text and '<b>Paper</b>' in demo.gallery_html([vars(r) for r in rows()])
    assert 'a toy + more' in text and '78 songs' in text and 'one seed: 3' in text
    assert '3 seeds' in demo.gallery_html([{**r, 'seeds': 3} for r in ours])


def test_a_broken_mark_is_a_sentence(tmp_path):
    demo.begin_demo(tmp_path/'demo', seed=0)
    (tmp_path/'demo'/'demo.json').write_text('{"seed"')
    with pytest.raises(ValueError, match='other settings'): demo.begin_demo(tmp_path/'demo', seed=0)


def fake_run(source, target):
    shape = dict(picture=(3, 64, 64), sound=(1, 128, 44))[target]
    make = lambda x, seed=0: x.mean((1, 2, 3)).clamp(-1, 1)[:, None, None, None].expand(-1, *shape)
    return SimpleNamespace(source=modality_named(source), target=modality_named(target), make=make,
                           jury=SimpleNamespace(classes=('cello', 'tuba'), predict=lambda x: torch.tensor([[.2, .8]]).expand(len(x), 2)))


def test_one_bad_sound_does_not_stop_the_others(tmp_path):
    good, silent, text, missing = (tmp_path/n for n in ('a.wav', 'silent.wav', 'text.wav', 'none.wav'))
    write_sound(good, tone(220)); write_sound(silent, torch.zeros(22050)); text.write_text('no sound')
    results = list(demo.make_from_files([silent, good, text, missing], fake_run('sound', 'picture'), tmp_path/'out'))
    assert [bool(r.problem) for r in results] == [True, False, True, True]
    for r in results:
        if r.problem: assert Path(r.given).name in r.problem and '\n' not in r.problem
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['a.png']
    assert Image.open(tmp_path/'out'/'a.png').size == (64, 64)
    assert (results[1].judged, round(results[1].probability, 3)) == ('tuba', .8)


def test_same_names_do_not_overwrite_each_other_nor_the_inputs(tmp_path):
    inputs = [tmp_path/'a.png', tmp_path/'x'/'a.png', tmp_path/'y'/'a.jpg']
    for p in inputs:
        p.parent.mkdir(exist_ok=True)
        Image.new('RGB', (80, 70), (200, 10, 10)).save(p)
    before = inputs[0].read_bytes()
    results = list(demo.make_from_files(inputs, fake_run('picture', 'sound'), tmp_path))
    assert not any(r.problem for r in results), results
    assert sorted(p.name for p in tmp_path.glob('*.wav')) == ['a-2.wav', 'a-3.wav', 'a-4.wav']
    assert inputs[0].read_bytes() == before
    assert all(len(read_sound(r.path)) == 22050 for r in results) and all(r.path.with_suffix('.png').exists() for r in results)


def test_a_file_in_place_of_the_folder_is_a_sentence(tmp_path):
    (tmp_path/'out').write_text('x')
    with pytest.raises(ValueError, match='is a file'): list(demo.make_from_files([], fake_run('sound', 'picture'), tmp_path/'out'))


def test_a_demo_goes_on_only_as_the_same_demo(tmp_path):
    out = demo.begin_demo(tmp_path/'demo', seed=0, budget='test')
    assert demo.begin_demo(out, seed=0, budget='test') == out
    with pytest.raises(ValueError, match='other settings'): demo.begin_demo(out, seed=1, budget='test')
    (tmp_path/'mine'/'runs').mkdir(parents=True)
    with pytest.raises(ValueError, match='something else'): demo.begin_demo(tmp_path/'mine', seed=0)
    (tmp_path/'file').write_text('x')
    with pytest.raises(ValueError, match='is a file'): demo.begin_demo(tmp_path/'file', seed=0)


def test_without_a_run_the_packages_own_is_taken_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo.newest_run('picture') is None
    with pytest.warns(UserWarning, match='using the S2I-flow'): assert demo.run_for('picture').recipe.name == 'S2I-flow'
    with pytest.warns(UserWarning, match='using the I2S-flow'): assert demo.run_for('sound').recipe.name == 'I2S-flow'
    (tmp_path/'runs'/'broken').mkdir(parents=True)
    (tmp_path/'runs'/'broken'/'model.safetensors').write_bytes(b'x')
    with pytest.raises(ValueError, match='broken'): demo.run_for('picture')   # not passed over in silence
    with pytest.raises(ValueError, match='no folder'): demo.run_for('picture', 'runs/none')
    (tmp_path/'empty').mkdir()
    with pytest.raises(ValueError, match='no finished run'): demo.run_for('picture', 'empty')


def test_newest_fitting_run_is_taken(tmp_path, monkeypatch):
    import os
    from avgen_nb import runs
    made = {}
    for age, (name, source, target) in enumerate([('other', 'sound', 'move'), ('new', 'picture', 'sound'), ('mid', 'sound', 'picture'), ('old', 'sound', 'picture')]):
        folder = tmp_path/'demo'/'runs'/name
        folder.mkdir(parents=True)
        (folder/'model.safetensors').write_text('x')
        os.utime(folder/'model.safetensors', (1e9 - age, 1e9 - age))
        made[folder.resolve()] = SimpleNamespace(source=SimpleNamespace(name=source), target=SimpleNamespace(name=target), folder=name)
    monkeypatch.setattr(runs, 'load_run', lambda folder: made[Path(folder).resolve()])
    monkeypatch.chdir(tmp_path)
    assert demo.run_for('picture').folder == 'mid' and demo.run_for('sound').folder == 'new'
    with pytest.raises(ValueError, match='takes a picture'): demo.run_for('picture', 'demo/runs/new')


def test_a_cmcgan_holds_a_run_for_each_direction(tmp_path, monkeypatch):
    from avgen_nb import runs
    assert demo.run_for('picture', 's2i-c+guide').recipe.name == 'S2I-C+guide', 'a model of the package, by its name'
    for way in ('sound-picture', 'picture-sound'): (tmp_path/'CMCGAN+guide'/way).mkdir(parents=True)
    monkeypatch.setattr(runs, 'load_run', lambda folder: SimpleNamespace(target=SimpleNamespace(name=Path(folder).name.partition('-')[2]), folder=Path(folder).name))
    assert [demo.run_for(s, tmp_path/'CMCGAN+guide').folder for s in ('picture', 'sound')] == ['sound-picture', 'picture-sound']


def orchestra_of_two():
    "26 pairs: two songs of 1 window each per class would do; sound and picture are constants."
    from avgen_nb.pairs import Pairs
    n = 26
    label = torch.arange(n) % 2
    truth = dict(ms=torch.arange(n) // 2 * 100 + 500, pitch=torch.where(torch.arange(n) < 4, torch.nan, 60.))
    return Pairs(torch.zeros(n, 3, 64, 64, dtype=torch.uint8), torch.full((n, 1, 128, 44), -1.), label, label, label, ('cello', 'tuba'),
                 torch.arange(n), torch.arange(n), truth=truth)


def test_cases_and_films_show_what_was_given_made_and_true():
    pairs, hear = orchestra_of_two(), lambda index: np.zeros((len(index), 22050), np.float32)
    judge = SimpleNamespace(classes=('cello', 'tuba'), predict=lambda x: torch.tensor([[.2, .8]]).expand(len(x), 2))
    assert (pairs.truth['pitch'][demo.one_each(pairs)] == 60).all()
    for source, target in (('sound', 'picture'), ('picture', 'sound')):
        cases = demo.cases_of(fake_run(source, target), judge, pairs, hear)
        assert [c.label for c in cases] == ['cello', 'tuba'] and all(len(c.made) == 2 for c in cases)
        assert (cases[0].given.wave is None) == (source == 'picture') and (cases[0].made[0].wave is None) == (target == 'picture')
        assert [m.verdict for m in cases[0].made] == [Verdict('tuba', pytest.approx(.8), False)] * 2 and cases[1].truth.verdict.right
    wave = lambda index: torch.zeros(SAMPLE_RATE * 2)
    drawn = demo.drawn_film(fake_run('sound', 'picture'), judge, pairs, wave, 'tuba')
    heard = demo.heard_film(fake_run('picture', 'sound'), judge, pairs, wave, 'cello')
    assert [len(f) for f in drawn.screens.values()] == [13, 13] and 'tuba in 13 of 13' in drawn.said
    assert [len(w) for w in heard.tracks.values()] == [2 * SAMPLE_RATE] * 2 and 'cello in 0 of 13' in heard.said


@pytest.fixture(scope='module')
def browser():
    chromium = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    api = pytest.importorskip('playwright.sync_api')
    if not chromium: pytest.skip('no chromium on this machine')
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'])
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize('width, scheme', [(1300, 'light'), (390, 'dark')])
def test_film_follows_its_sound_in_a_browser(tmp_path, browser, width, scheme):
    path = demo.write_gallery(tmp_path, rows(), drawn=[case()], heard=[case()], films=[film(40), film()], about='x')
    tab, said = browser.new_page(viewport=dict(width=width, height=900), color_scheme=scheme), []
    tab.set_default_timeout(120_000)   # a busy machine is no reason to fail
    tab.on('console', lambda m: said.append(m.text)); tab.on('pageerror', lambda e: said.append(str(e)))
    tab.on('request', lambda r: said.append(r.url) if not r.url.startswith(('file:', 'data:')) else None)
    tab.goto(path.as_uri())
    seen = tab.evaluate('''async () => {
        const film = document.querySelector('.film'), audio = film.querySelector('audio'), seen = [];
        for (let i = 0; i < 3; i++) {
            const before = Number(film.dataset.frame);
            await audio.play();
            while (Number(film.dataset.frame) <= before) await new Promise(r => setTimeout(r, 50));   // moves while it plays
            const paused = new Promise(r => audio.addEventListener('pause', r, { once: true }));
            audio.pause();
            await paused;
            seen.push([audio.currentTime, Number(film.dataset.frame)]);
        }
        const sought = new Promise(r => audio.addEventListener('seeked', r, { once: true }));
        audio.currentTime = 2.05;
        await sought;
        seen.push([2.05, Number(film.dataset.frame)]);
        return seen;
    }''')
    assert all(frame == min(39, int(t * 10 + 1e-5)) for t, frame in seen) and seen[-1][1] == 20, seen
    pixel = tab.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(128, 128, 1, 1).data]")
    assert abs(pixel[0] - 80) < 8   # frame 20 is grey 80
    assert tab.evaluate('document.documentElement.scrollWidth') <= width
    tab.keyboard.press('Tab')
    assert tab.evaluate("document.activeElement.className") == 'skip'
    tab.locator('.play').first.focus()
    tab.keyboard.press('Enter')
    tab.wait_for_function("!document.querySelector('.play').parentElement.querySelector('audio').paused || document.querySelector('.play').parentElement.querySelector('audio').ended")
    assert said == []
    tab.close()
