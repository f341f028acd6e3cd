"What `make colab-test` stands on: the versions, the stand-in for google.colab, and a notebook opened alone. Needs no environment of its own."
import os, re, shutil, subprocess, sys
from pathlib import Path

import nbformat, pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
import colab_test, links

LINES = [l for l in (ROOT/'scripts/colab-requirements.txt').read_text().splitlines() if l and not l.startswith('#')]
COLAB = {(r := Requirement(l)).name: r.specifier for l in LINES}
CFG = links.settings(ROOT)


def test_versions():
    assert LINES == sorted(LINES) and len(COLAB) == len(LINES)
    assert all(len(s) <= 1 and all(v.operator == '==' for v in s) for s in COLAB.values()), 'a version is told exactly or not at all'
    for tool in ('nbdev', 'jupyterlab', 'torchmetrics', CFG['lib_name']): assert tool not in COLAB, f'Colab has no {tool}'


def test_colab_has_what_we_allow():
    for r in map(Requirement, CFG['requirements'].split()):
        for pin in COLAB.get(r.name, []): assert r.specifier.contains(pin.version), f'settings.ini wants {r}, Colab has {pin.version}'


def asked_for():
    "Every import of a part of google.colab, in lessons and modules."
    texts = [c.source for p in links.notebooks(ROOT) for c in nbformat.read(p, 4).cells if c.cell_type == 'code']
    return sorted({m[0].strip() for t in texts for m in re.finditer(r'^ *(?:from google\.colab[\w.]* import .+|import google\.colab.*)$', t, re.M)})


def test_stand_in_has_what_lessons_ask_for():
    program = 'import runpy, sys; runpy.run_path(sys.argv[1]); assert "google.colab" in sys.modules; import google.colab\n' + '\n'.join(asked_for())
    p = subprocess.run([sys.executable, '-c', program, str(ROOT/'scripts/colab_startup.py')], capture_output=True, text=True)
    assert p.returncode == 0, 'scripts/colab_startup.py lacks what a lesson imports:\n' + p.stderr


@pytest.fixture
def notebook(tmp_path):
    "Writes a notebook of the given cells."
    def write(*cells):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path := tmp_path/'lesson.ipynb')
        return path
    return write


def test_notebook_is_alone_on_colab(notebook):
    cells = "import os, sys\nassert os.listdir() == ['lesson.ipynb']", "assert 'google.colab' in sys.modules", \
            "shell = type(get_ipython())\nassert (shell.__module__, shell.__name__) == ('google.colab._shell', 'Shell')", \
            "assert os.environ['IN_TEST'] == '1' and not os.path.exists(os.environ['AVGEN_CACHE'])"
    assert colab_test.opened(notebook(*cells), dict(os.environ, IN_TEST='1')) is None


def test_what_fails_is_told(notebook):
    assert colab_test.opened(notebook('1', 'x = 1\n1/0'), dict(os.environ)) == 'cell 1 (1/0): ZeroDivisionError: division by zero'
    assert 'ERROR: no such' in colab_test.opened(notebook("print('ERROR: no such package')  # %pip"), dict(os.environ))


@pytest.mark.parametrize('path', sorted((ROOT/'nbs/reproduce').glob('*.ipynb')), ids=lambda p: p.stem)
def test_ledger_fetches_its_rows(path):
    "Rows are in the repository and not in the package: without this line a ledger opened on Colab is empty."
    line = f'-o docs/{path.stem}.jsonl https://github.com/{CFG["user"]}/{CFG["repo"]}/raw/HEAD/docs/{path.stem}.jsonl'
    assert any(line in c.source for c in nbformat.read(path, 4).cells if "'google.colab' in sys.modules" in c.source)


@pytest.mark.skipif(not shutil.which('git'), reason='no git')
def test_github_is_this_tree(tmp_path):
    "git, sent to the address of the lessons' install line, comes to a copy of this tree with its changes."
    env = colab_test.published(tmp_path/'github')
    source = nbformat.read(links.notebooks(ROOT)[0], 4).cells
    address = next(m[1] for c in source if (m := re.search(r'git\+(https://\S+)', c.source)))
    subprocess.run(['git', 'clone', '--quiet', '--depth', '1', address, str(tmp_path/'clone')], env=os.environ | env, check=True, timeout=60)
    for name in ('setup.py', 'settings.ini', 'avgen_nb/sound.py'): assert (tmp_path/'clone'/name).read_bytes() == (ROOT/name).read_bytes()
    assert not (tmp_path/'clone/.venv').exists()
