"The package as a stranger gets it: one source of metadata, a light import, a small tree, a wheel with all it needs."
import ast, json, re, shutil, subprocess, sys, tomllib, zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
import links, readme_tables

CFG = links.settings(ROOT)
LAZY = ('matplotlib', 'librosa', 'ipywidgets', 'accelerate', 'torchmetrics', 'torchaudio', 'av', 'scipy', 'IPython', 'nbdev', 'pytest')
CONDA = {'torch': 'pytorch', 'matplotlib': 'matplotlib-base', 'soundfile': 'pysoundfile'}


def requirement(s):
    "Name in lower case and version bounds of one requirement."
    name, bounds = re.match(r'([\w.-]+)(.*)', s).groups()
    return name.lower(), bounds


def tracked():
    "Every file of the repository, as git lists it, or all but the usual build folders where there is no git."
    try: names = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True, check=True).stdout.decode().split('\0')
    except (OSError, subprocess.CalledProcessError):
        skip = re.compile(r'(^|/)(\.venv|\.git|demo|runs|build|dist|__pycache__|\.pytest_cache|\.hypothesis|[^/]*\.egg-info)(/|$)')
        names = [f for p in ROOT.rglob('*') if not skip.search(f := p.relative_to(ROOT).as_posix())]
    return [p for n in sorted(names) if n and (p := ROOT/n).is_file()]


def test_version_is_told_once():
    import avgen_nb
    assert avgen_nb.__version__ == CFG['version']
    assert f'## {CFG["version"]}' in (ROOT/'CHANGELOG.md').read_text(encoding='utf-8')


def test_pyproject_is_as_nbdev_writes_it():
    from nbdev.config import pyproj_tmpl
    text = (ROOT/'pyproject.toml').read_text(encoding='utf-8')
    wanted = pyproj_tmpl.replace('name = "FILL_IN"', f'name="{CFG["lib_name"]}"').replace('requires-python="FILL_IN"', f'requires-python=">={CFG["min_python"]}"')
    assert text == wanted
    assert 'dependencies' in tomllib.loads(text)['project']['dynamic']


def test_environment_has_the_same_requirements():
    text = (ROOT/'environment.yml').read_text(encoding='utf-8')
    entries = re.findall(r'^  - ([\w.-]+)(\S*)$', text.partition('dependencies:')[2], re.M)
    ours = {n: b for n, b in entries if n not in ('pip', 'make', 'python')}
    assert ours == {CONDA.get(n, n): b for n, b in map(requirement, CFG['requirements'].split())}
    assert dict(entries)['python'] == f'>={CFG["min_python"]}'
    assert re.findall(r'^  - (\S+)$', text.partition('channels:')[2].partition('dependencies:')[0], re.M) == ['conda-forge', 'nodefaults']
    assert f'name: {CFG["lib_name"]}\n' in text and '- -e .[dev]' in text


def test_continuous_integration():
    text = (ROOT/'.github/workflows/test.yaml').read_text(encoding='utf-8')
    assert all(f'"{v}"' in text for v in ('3.11', '3.12', '3.13')) and 'make test' in text
    assert 'make test' in (ROOT/'.ci/run').read_text() and (ROOT/'.ci/run').stat().st_mode & 0o100


def test_what_is_imported_is_required():
    required = {requirement(r)[0] for r in CFG['requirements'].split()} | {'pil', 'ipython', 'scipy'}   # Pillow; by ipywidgets; by librosa
    for file in (ROOT/'avgen_nb').glob('*.py'):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {n.split('.')[0] for n in names} - {'', 'avgen_nb'} - set(sys.stdlib_module_names):
                assert top.lower() in required, f'{file.name} imports {top}, which settings.ini does not require'


def test_import_is_light():
    modules = ['avgen_nb'] + sorted(f'avgen_nb.{f.stem}' for f in (ROOT/'avgen_nb').glob('*.py') if not f.stem.startswith('_'))
    program = f'''
import importlib, sys
for m in {modules}:
    importlib.import_module(m)
    heavy = [h for h in {LAZY} if h in sys.modules]
    assert not heavy, f'import {{m}} brings in {{heavy}}'
    assert m != 'avgen_nb' or 'torch' not in sys.modules, 'import avgen_nb brings in torch'
'''
    p = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def test_sizes():
    sizes = {f.relative_to(ROOT).as_posix(): f.stat().st_size for f in tracked()}
    assert not [f for f, s in sizes.items() if s > 10e6]
    assert sum(sizes.values()) < 70e6
    assert sum(s for f, s in sizes.items() if f.startswith('avgen_nb/bank/')) < 8.4e6


def test_nothing_names_a_machine():
    words = [r'/wor' r'k/(?:main|shared)', r'/tm' r'p/', r'/ro' r'ot/', r'/op' r't/', r'/ho' r'me/\w', r'/Use' r'rs/\w', r'C:\\\\', r'\.\./sha' r'red', r'file:/' r'//',
             r'(?:extra-)?index-' r'url', r'find-' r'links', r'artifact' r'ory', r'localh' r'ost']
    allowed = {'tests/test_package.py'}
    for f in tracked():
        name = f.relative_to(ROOT).as_posix()
        if name in allowed or f.suffix in ('.ogg', '.png', '.jpg', '.flac', '.wav'): continue
        text = f.read_bytes()
        if f.suffix == '.safetensors': text = text[8:8 + int.from_bytes(text[:8], 'little')]   # its header; the rest are weights
        found = re.search('|'.join(words), re.sub(r'[A-Za-z0-9+/=]{200,}', '', text.decode()))
        assert not found, f'{name} says "{found[0]}"'


def test_readme():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    assert readme_tables.filled(text, ROOT) == text, 'run `make readme`'
    assert text.index('make demo') < text.index('make test') < text.index('](docs/demo.png)') < text.index('colab-badge.svg') < text.index('conda env create') \
        < text.index('<!-- lessons begin -->') < text.index('<!-- results begin -->')
    for target in re.findall(r'\]\((?!https?:|#)([^)\s]+)\)', text): assert (ROOT/target).exists(), f'README.md points to {target}'


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/decisions.md'])
def test_what_is_named_is_there(name):
    "Scripts, and the recipes of `avgen train`."
    from avgen_nb.runs import trainer_of
    text = (ROOT/name).read_text(encoding='utf-8')
    for script in re.findall(r'scripts/\w+\.py', text): assert (ROOT/script).exists(), f'{name} names {script}'
    for recipe in re.findall(r'avgen(?:_nb)? train ([A-Z][\w+-]*)', text): trainer_of(recipe)


def row(metric='balanced_accuracy', value=.5, **more):
    return dict(dict(system='S2I-C+guide', direction='sound → picture', split='exam', data='orchestra', seed=0, steps=9, minutes=45., device='a CPU',
                     metric=metric, value=value, low=None, high=None, ceiling=None, chance=1 / 13, n=99, songs=None, seeds=1), **more)


def table_of(make, tmp_path, rows, name='results'):
    (tmp_path/'docs').mkdir(exist_ok=True)
    (tmp_path/f'docs/{name}.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
    return [[c.strip() for c in line.strip('|').split('|')] for line in make(tmp_path).splitlines()]


def test_headline_figures_are_of_the_exam(tmp_path):
    rows = [row(value=.9, low=.85, high=.95, songs=78, ceiling=.99), row('recall', .4), row('near_copies', .02, ceiling=0.), row(split='test', value=.97, steps=3, minutes=4.),
            row(split='recordings', data='some recordings', value=.3, low=.2, high=.4), row(split='recordings', data='some recordings', value=.6, system='judge of sounds', direction='sound → name')]
    head, _, line, *rest = table_of(readme_tables.results, tmp_path, rows)
    cells = dict(zip(head, line))
    assert cells['judged right [95 % over songs]'] == '0.900 [0.850, 0.950]' and (cells['songs'], cells['seeds'], cells['ceiling']) == ('78', 'one', '0.990')
    assert cells['recall'] == '0.400' and cells['near copies'] == '0.020 (real 0.000)' and cells['precision'] == '–'
    assert cells['real recordings [95 % over files]'] == '0.300 [0.200, 0.400]'
    assert not any('0.970' in str(r) for r in rest) and 'some recordings (99 files)' in rest[-1][0] and '0.600' in rest[-1][0]
    head, _, line = table_of(readme_tables.demo, tmp_path, rows)
    assert line[2] == '0.970' and 'paper' not in head


def test_an_interval_says_what_it_is_over(tmp_path):
    rows = [row(system='S2I-C', split='test', seed=None, paper='.7556', value=.25, low=.1, high=.4, seeds=3, songs=78), row(system='S2I-A', split='test', seed=None, paper='.1095', low=.1, high=.3, seeds=3),
            row(system='S2I-N', split='test', seed=None, paper='.1232', low=.1, high=.2, seeds=None)]
    head, _, *lines = table_of(readme_tables.chen2017, tmp_path, rows, 'chen2017')
    assert [dict(zip(head, l))['95 % interval over songs and seeds'] for l in lines] == ['0.100 to 0.400', '≈ 0.100 to 0.300', '0.100 to 0.200, songs only']
    assert [dict(zip(head, l))['seeds'] for l in lines] == ['3', '3', '']


def test_a_papers_figure_stands_beside_the_papers_recipe():
    for path in (*ROOT.glob('docs/*.jsonl'), *ROOT.glob('avgen_nb/models/**/card.json')):
        text = path.read_text(encoding='utf-8')
        rows = json.loads(text)['rows'] if path.suffix == '.json' else map(json.loads, text.splitlines())
        assert not [r['system'] for r in rows if r.get('paper') and '+guide' in r['system']], path.name


def test_links_follow_a_new_home(tmp_path):
    for name in ('README.md', 'CONTRIBUTING.md', 'settings.ini'): shutil.copy(ROOT/name, tmp_path/name)
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs')
    ini = (tmp_path/'settings.ini').read_text().replace(f'user = {CFG["user"]}\n', 'user = someone-else\n').replace(f'repo = {CFG["repo"]}\n', 'repo = av.gen\n')
    (tmp_path/'settings.ini').write_text(ini)
    changed = links.stale(tmp_path, write=True)
    assert 'README.md' in changed and all(p.relative_to(tmp_path).as_posix() in changed for p in links.notebooks(tmp_path))
    assert links.stale(tmp_path) == []
    for f in [tmp_path/'README.md', *links.notebooks(tmp_path)]: assert f'{CFG["user"]}/{CFG["repo"]}' not in f.read_text(encoding='utf-8')
    shutil.copy(ROOT/'settings.ini', tmp_path/'settings.ini')
    links.stale(tmp_path, write=True)
    for f in [tmp_path/'README.md', *links.notebooks(tmp_path)]: assert f.read_bytes() == (ROOT/f.relative_to(tmp_path)).read_bytes()


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel built from a copy of the tree, so that no build folder is left in it."
    folder = tmp_path_factory.mktemp('wheel')
    for f in tracked():
        (target := folder/'src'/f.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f, target)
    p = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--disable-pip-version-check', '-w', folder/'out', folder/'src'],
                       capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr
    return next((folder/'out').glob('*.whl'))


def test_wheel_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {n for f in tracked() if (n := f.relative_to(ROOT).as_posix()).startswith('avgen_nb/')}
    bank = {n for n in wanted if n.startswith('avgen_nb/bank/')}
    assert any(n.endswith('.ogg') for n in bank) and any(n.endswith('.json') for n in bank) and any('LICENSE' in n for n in bank)
    assert wanted == {n for n in names if n.startswith('avgen_nb/')}
    assert {n.split('/')[0] for n in names} == {'avgen_nb', f'avgen_nb-{CFG["version"]}.dist-info'}, 'only the package'
    assert wheel.stat().st_size < 45e6   # the note bank (8 MB), 17 MB of GANs and judges, 7 MB of codecs, 11 MB of flows


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as z:
        info = f'avgen_nb-{CFG["version"]}.dist-info'
        meta, entry = z.read(f'{info}/METADATA').decode(), z.read(f'{info}/entry_points.txt').decode()
    assert 'avgen = avgen_nb.cli:main' in entry
    always = [l for l in re.findall(r'^Requires-Dist: (.+)$', meta, re.M) if 'extra ==' not in l]
    assert {requirement(l)[0] for l in always} == {requirement(r)[0] for r in CFG['requirements'].split()}
    assert not re.search(r'^Requires-Dist: (nbdev|jupyterlab|pytest)(?!.*extra)', meta, re.M)
    assert f'Requires-Python: >={CFG["min_python"]}' in meta


def test_installed_elsewhere(wheel, tmp_path):
    "Unpacked outside the repository and imported from another folder, the package finds its bank and its door."
    zipfile.ZipFile(wheel).extractall(tmp_path/'site')
    program = '''
import avgen_nb, avgen_nb.cli, avgen_nb.orchestra, sys
from pathlib import Path
assert Path(avgen_nb.__file__).is_relative_to(sys.argv[1]), avgen_nb.__file__
assert avgen_nb.orchestra.note_bank()
assert not {'nbdev', 'jupyterlab', 'pytest'} & set(sys.modules)
'''
    env = dict(PYTHONPATH=str(tmp_path/'site'), PATH='')
    p = subprocess.run([sys.executable, '-P', '-c', program, str(tmp_path/'site')], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def test_make_lists_its_targets(root):
    make = shutil.which('make')
    if not make: pytest.skip('no make')
    said = subprocess.run([make, '-C', str(root), '--no-print-directory', 'help'], capture_output=True, text=True).stdout
    named = set(re.findall(r'^make ([\w-]+)', said, re.M))
    phony = set(re.search(r'^\.PHONY: (.+)$', (root/'Makefile').read_text(), re.M)[1].split())
    assert named == phony - {'help'}
