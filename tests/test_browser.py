"""The explorer as a person meets it: a real JupyterLab, a real Chromium, keys and a pointer.

Pictures of the page go to the folder in AVGEN_SCREENSHOTS, or to a temporary one.
"""
import json, os, re, shutil, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

import numpy as np
import pytest

from avgen_nb.sound import tone, write_sound

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason='no Chromium on this machine: on Debian and Ubuntu, apt install chromium')]
SETTINGS = {'notebook-extension/tracker': {'windowingMode': 'none'}, 'apputils-extension/notification': {'fetchNews': 'false', 'checkForUpdates': False}}


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@pytest.fixture(scope='module')
def folder(root, tmp_path_factory):
    "What the person has: both lessons of the explorer, two files, and no more."
    home = tmp_path_factory.mktemp('lab')
    for lesson in ('91_explorer', '91b_beside'): shutil.copy(root/f'nbs/{lesson}.ipynb', home)
    write_sound(home/'flute.wav', tone(76, 2.))
    (home/'broken.wav').write_bytes(b'RIFF of nothing')
    return home


@pytest.fixture(scope='module')
def lab(root, folder, tmp_path_factory):
    "Address of a JupyterLab of its own."
    own, port = tmp_path_factory.mktemp('jupyter'), free_port()
    for name, values in SETTINGS.items():
        path = own/'settings/@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    env = os.environ | dict(IN_TEST='1', PYTHONPATH=str(root), JUPYTER_CONFIG_DIR=str(own/'config'), JUPYTER_DATA_DIR=str(own/'data'), JUPYTER_RUNTIME_DIR=str(own/'run'),
                            JUPYTERLAB_SETTINGS_DIR=str(own/'settings'), JUPYTERLAB_WORKSPACES_DIR=str(own/'workspaces'), IPYTHONDIR=str(own/'ipython'))
    env.pop('AVGEN_STILL', None)
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0',
               '--IdentityProvider.token=', '--ServerApp.password=', f'--ServerApp.root_dir={folder}', '--LabApp.news_url=']
    with open(own/'lab.log', 'wb') as log, subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log) as server:
        try:
            for _ in range(240):
                if server.poll() is not None: break
                try: urllib.request.urlopen(f'http://127.0.0.1:{port}/api/status').close()
                except OSError: time.sleep(.5)
                else: break
            else: pytest.fail('JupyterLab did not start')
            assert server.poll() is None, (own/'lab.log').read_text()[-2000:]
            yield f'http://127.0.0.1:{port}', own/'settings/@jupyterlab'
        finally:
            server.terminate()
            try: server.wait(20)
            except subprocess.TimeoutExpired: server.kill()


@pytest.fixture(scope='module')
def browser():
    sync = pytest.importorskip('playwright.sync_api', reason='no playwright: pip install playwright')
    quiet = ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield b
        b.close()


class Person:
    "Does what a person does, and looks."
    def __init__(self, page, address, shots, lesson):
        self.page, self.address, self.shots, self.lesson = page, address, shots, lesson

    def open(self, kernel=''):
        self.page.goto(f'{self.address}/lab/workspaces/{self.lesson}/tree/{self.lesson}.ipynb{kernel}')
        self.page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=120_000)
        self.page.wait_for_function('() => document.querySelectorAll(".jp-Notebook .jp-CodeCell").length > 30', timeout=120_000)

    def command(self, menu, item):
        self.page.get_by_role('menuitem', name=menu, exact=True).click()
        self.page.get_by_role('menuitem', name=item, exact=True).click()

    def prompts(self): return [p.strip() for p in self.page.locator('.jp-Notebook .jp-CodeCell .jp-InputArea-prompt').all_text_contents()]

    def run_all(self):
        broken = self.page.locator('.jp-Notebook [data-mime-type="application/vnd.jupyter.error"]')
        idle = self.page.locator('.jp-Notebook-ExecutionIndicator[data-status=idle]')
        idle.wait_for(timeout=120_000)
        before = self.prompts()[-1]
        self.command('Run', 'Run All Cells')
        wait(lambda: broken.count() or re.fullmatch(r'\[\d+\]:', now := self.prompts()[-1]) and now != before, 'all cells ran', 400)
        assert broken.all_text_contents() == []
        idle.wait_for(timeout=120_000)

    def panel(self, code):
        "The widget below the cell that ends with this code."
        cell = self.page.locator('.jp-CodeCell', has=self.page.locator('.jp-InputArea', has_text=re.compile(re.escape(code) + r'\s*$')))
        return cell.locator('.jp-OutputArea-output .avgen, .jp-OutputArea-output .widget-vbox').first

    def shot(self, name, what=None):
        if what is not None: what.scroll_into_view_if_needed()
        (what or self.page).screenshot(path=self.shots/f'{name}.png')

    def outputs(self): return self.page.locator('.jp-Notebook .jp-OutputArea-child').count()


@pytest.fixture(scope='module')
def shots():
    path = Path(os.environ.get('AVGEN_SCREENSHOTS') or tempfile.mkdtemp(prefix='avgen_nb-screenshots-'))
    path.mkdir(parents=True, exist_ok=True)
    print(f'\nscreenshots: {path}')
    return path


def opened(browser, lab, shots, lesson):
    "Someone who has opened a lesson and run all of it."
    page = browser.new_page(viewport=dict(width=1440, height=950), permissions=['microphone'])
    one, wrong = Person(page, lab[0], shots, lesson), []
    page.on('pageerror', lambda e: wrong.append(str(e)))
    one.wrong = wrong
    one.open()
    one.run_all()
    yield one
    page.close()


@pytest.fixture(scope='module')
def person(browser, lab, shots): yield from opened(browser, lab, shots, '91_explorer')


@pytest.fixture(scope='module')
def other(browser, lab, shots): yield from opened(browser, lab, shots, '91b_beside')


def wait(true, what, timeout=30):
    "Look again and again."
    end = time.time() + timeout
    while not (found := true()):
        assert time.time() < end, f'not so: {what}'
        time.sleep(.05)
    return found


def changed(place, before): return wait(lambda: (now := place.inner_html()) != before and now, 'something changed on the page')


def choose(person, panel, path):
    with person.page.expect_file_chooser() as files: panel.get_by_role('button', name='Choose a file').click()
    files.value.set_files(path)


NOTE = "live(note_panel(), explore('S2I-C+guide'))"
FIRST = (NOTE, 'live(pose_panel(), posed)', 'live(upload_panel(), film_tiles(melody, 4))')
SECOND = ('live(walk_panel(), strip)', 'live(trip_panel(), trip)', 'live(compare_panel(), everyone)', 'live(browse_panel(arrays), found)',
          'live(copies_panel(arrays, train, bank, scale), alike)')

def check_panels(person, panels, name):
    assert person.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    assert person.page.locator('.jp-RenderedText pre', has_text='Traceback').count() == 0
    for k, code in enumerate(panels):
        panel = person.panel(code)
        panel.wait_for(timeout=20_000)
        person.shot(f'light-{name}-{k}', panel)
        assert panel.get_by_role('alert').count() == 0
        assert 'upload' in code or panel.locator('figure').count() > 1


def test_the_lesson_runs_and_shows_every_panel(person): check_panels(person, FIRST, 'explorer')


def test_sliders_by_keyboard(person):
    panel = person.panel(NOTE)
    out, picture = panel.locator('.widget-html').last, panel.locator('figure img').nth(1)
    thumb = panel.get_by_role('slider').first
    thumb.focus()
    outputs, figures = person.outputs(), out.locator('figure').count()
    shown, before = out.inner_html(), picture.get_attribute('src')
    for _ in range(20):
        person.page.keyboard.press('ArrowRight')
        shown = changed(out, shown)
    assert 'caption' in shown and '>68<' in panel.locator('.widget-readout').first.evaluate('e => ">" + e.textContent + "<"')
    for _ in range(5): person.page.keyboard.press('ArrowLeft')
    time.sleep(2)
    assert picture.get_attribute('src') != before
    assert (person.outputs(), out.locator('figure').count(), out.locator('audio').count()) == (outputs, figures, 1)
    person.shot('keyboard', panel)


def test_lists_by_keyboard(person):
    panel = person.panel(NOTE)
    panel.get_by_label('instrument').focus()
    person.page.keyboard.type('tuba')
    panel.locator('figure', has_text='judged tuba').first.wait_for(timeout=30_000)
    person.page.wait_for_function('s => [s.ariaValueMin, s.ariaValueMax].map(Number).join() === "30,58"', arg=panel.get_by_role('slider').first.element_handle(), timeout=20_000)
    panel.get_by_label('play at once').focus()
    person.page.keyboard.press('Space')
    panel.locator('audio[autoplay]').wait_for(timeout=30_000)
    person.page.wait_for_function('a => a.currentTime > 0', arg=panel.locator('audio').element_handle(), timeout=30_000)


def test_every_sound_plays(person, other):
    for who, code in ((person, NOTE), (other, SECOND[1]), (other, SECOND[0])):
        who.page.bring_to_front()
        for audio in who.panel(code).locator('audio').all():
            assert audio.get_attribute('aria-label')
            audio.evaluate('a => a.play()')
            who.page.wait_for_function('a => a.currentTime > .1 || a.ended', arg=audio.element_handle(), timeout=30_000)
            assert .45 < audio.evaluate('a => a.duration') < 2.2


def test_a_hand_is_dragged(person):
    panel = person.panel('live(pose_panel(), posed)')
    panel.scroll_into_view_if_needed()
    readout = panel.locator('.widget-readout').first
    before, ring = readout.text_content(), panel.locator('[data-joint=left_hand]').bounding_box()
    x, y = ring['x'] + ring['width'] / 2, ring['y'] + ring['height'] / 2
    person.page.mouse.move(x, y)
    person.page.mouse.down()
    for k in range(8):
        person.page.mouse.move(x - 4 * k, y + 9 * k)
        time.sleep(.15)
    person.shot('dragging', panel)
    person.page.mouse.up()
    wait(lambda: float(readout.text_content()) > float(before) + 5, 'down the neck is up in pitch')
    wait(lambda: panel.locator('[data-joint=left_hand]').bounding_box()['y'] > ring['y'] + 20, 'the ring goes along')
    person.shot('dragged', panel)


def test_files_good_and_bad(person, folder):
    panel = person.panel('live(upload_panel(), film_tiles(melody, 4))')
    choose(person, panel, folder/'flute.wav')
    panel.locator('figure', has_text='16 frames').wait_for(timeout=30_000)
    person.shot('upload', panel)
    choose(person, panel, folder/'broken.wav')
    alert = panel.get_by_role('alert')
    alert.wait_for(timeout=20_000)
    assert alert.text_content() == 'That does not work: broken.wav: cannot be read as sound; give a whole wav, flac, ogg or mp3 file.'
    person.shot('upload-bad', panel)


def test_the_microphone(person):
    panel = person.panel('live(upload_panel(), film_tiles(melody, 4))')
    button = panel.get_by_role('button', name='Record')
    button.click()
    panel.get_by_role('button', name='Stop').wait_for(timeout=30_000)
    time.sleep(2)
    panel.get_by_role('button', name='Stop').click()
    panel.get_by_role('status').filter(has_text='s recorded').wait_for(timeout=30_000)
    panel.locator('figure', has_text='recording.wav').wait_for(timeout=30_000)
    person.shot('recorded', panel)


def test_the_second_lesson_runs_and_shows_every_panel(other): check_panels(other, SECOND, 'beside')


def test_a_film_follows_its_sound(other):
    audio = other.panel('live(walk_panel(), strip)').locator('audio').first
    screen, handle = audio.locator('xpath=preceding-sibling::div'), audio.element_handle()
    audio.evaluate('a => { a.pause(); a.currentTime = 1.55 }')
    other.page.wait_for_function('a => a.previousElementSibling.dataset.frame === "15"', arg=handle, timeout=30_000)
    assert screen.evaluate('s => s.style.backgroundPosition') == f'{-5 * 256}px {-256}px'
    audio.evaluate('a => { a.currentTime = 0; a.play() }')
    other.page.wait_for_function('a => a.currentTime > .5', arg=handle, timeout=30_000)
    at, frame = audio.evaluate('a => [a.currentTime, Number(a.previousElementSibling.dataset.frame)]')
    assert abs(frame - 10 * at) < 2


RATE = 'for i in items[:4]])'

def press_score(person, score, then):
    time.sleep(.5)   # an answer within 0.3 s does not count
    person.panel(RATE).get_by_role('button', name=re.compile(f'^{score} ')).press('Enter')
    person.panel(RATE).get_by_text(then).wait_for(timeout=30_000)


def test_three_items_are_rated(other, folder):
    other.page.bring_to_front()
    panel = other.panel(RATE)
    panel.get_by_text('1 of 26').wait_for(timeout=30_000)
    other.shot('rate', panel)
    for k, score in enumerate((3, 0, 1)): press_score(other, score, f'{k + 2} of 26')
    lines = (folder/'ratings.csv').read_text().splitlines()
    assert [l.split(',')[4] for l in lines] == ['score', '3', '0', '1']


def test_nothing_goes_wrong_on_the_page(person, other): assert person.wrong == other.wrong == []


def test_after_a_reload_the_answers_are_there_and_the_dark_theme_is_readable(person, other, lab):
    for who in (person, other):
        who.page.bring_to_front()
        who.page.keyboard.press('Control+s')
    time.sleep(2)   # saved
    (lab[1]/'apputils-extension/themes.jupyterlab-settings').write_text('{"theme": "JupyterLab Dark"}')
    for who in (person, other):
        who.page.bring_to_front()
        who.page.reload()
        who.page.wait_for_function('() => document.querySelectorAll(".jp-Notebook .jp-CodeCell").length > 30', timeout=120_000)
        assert who.page.evaluate('document.body.dataset.jpThemeLight') == 'false'
        who.run_all()
    other.panel(RATE).get_by_text('4 of 26').wait_for(timeout=30_000)
    panels = [(person, NOTE), (person, FIRST[1]), (other, SECOND[1]), (other, SECOND[2]), (other, RATE)]
    for k, (who, code) in enumerate(panels):
        panel = who.panel(code)
        who.shot(f'dark-{k}', panel)
        for words in panel.locator('figcaption').all()[:2]:
            ink, paper = (np.array(list(map(float, re.findall(r'[\d.]+', c)[:3]))) for c in words.evaluate('''e => { const ink = getComputedStyle(e).color; let p = e;
                while (p && /rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(p).backgroundColor)) p = p.parentElement;
                return [ink, p ? getComputedStyle(p).backgroundColor : 'rgb(255,255,255)']; }'''))
            assert contrast(ink, paper) > 4.5


def contrast(a, b):
    "Of two colours, as WCAG 2 has it."
    light = [((c / 255 <= .03928) * c / 255 / 12.92 + (c / 255 > .03928) * ((c / 255 + .055) / 1.055) ** 2.4) @ [.2126, .7152, .0722] for c in (a, b)]
    return (max(light) + .05) / (min(light) + .05)
