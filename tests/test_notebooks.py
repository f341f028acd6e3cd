"Hygiene of the notebooks: form, links, size, order of imports, and that avgen_nb/ is what they export."
import ast, json, os, re, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
import links

NOTEBOOKS = links.notebooks(ROOT)
LESSONS = [f for f in NOTEBOOKS if re.match(r'\d\d[a-z]?_', f.name) and f.parent.name == 'nbs']
each = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
each_lesson = pytest.mark.parametrize('path', LESSONS, ids=lambda p: p.stem)


def read(path): return json.loads(path.read_text(encoding='utf-8'))

def source(cell): return ''.join(cell['source'])

def code(path): return [source(c) for c in read(path)['cells'] if c['cell_type'] == 'code']

def prose(path): return '\n\n'.join(source(c) for c in read(path)['cells'] if c['cell_type'] == 'markdown')

def exported(path): return [re.sub(r'^\s*[%!].*$', '', s, flags=re.M) for s in code(path) if re.search(r'^#\|\s*exporti?\b', s, re.M)]


def module(path):
    "Name of the module that a lesson exports, or None."
    names = [m[1] for s in code(path) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', s, re.M))]
    return names[0] if names else None


def test_there_are_lessons(): assert len(LESSONS) >= 11


@each
def test_badge_opens_this_notebook(path):
    badges = re.findall(r'\[!\[Open In Colab\]\((\S+?)\)\]\((\S+?)\)', source(read(path)['cells'][0]))
    assert badges == [('https://colab.research.google.com/assets/colab-badge.svg', links.badge_url(path, links.settings(ROOT), ROOT))]


def test_links_follow_settings(): assert links.stale(ROOT) == []


@each
def test_first_cells(path):
    cells = read(path)['cells']
    assert re.match(r'# \S.*\n>? ?\n?> ?\S', source(cells[0])), 'the first cell is a title and one > line'
    install = [s for s in code(path) if '%pip' in s or '!pip' in s]
    assert len(install) == 1, 'one install cell'
    assert re.search(r"^if 'google\.colab' in sys\.modules:\n +%pip install ", install[0], re.M), 'the install is guarded'
    assert install[0] in code(path)[:2] and '#| hide' in install[0]
    if path in LESSONS:
        assert source(cells[1]).startswith('#| default_exp ')
        assert '**Runs on**' in ''.join(source(c) for c in cells[:5])


@each_lesson
def test_an_opening_says_how_long_what_before_and_what_for(path):
    opening = next(source(c) for c in read(path)['cells'] if '**Runs on**' in source(c))
    line, rest = opening.split('\n', 1)
    assert re.search(r'\d+ (?:second|minute)|(?:few|half a|a|under a) (?:second|minute)', line.split('**To study**')[0]), 'how long it runs'
    assert re.search(r'\*\*To study\*\*: \d+ minutes\. \*\*Read before\*\*: (?:lessons? \W?\d\d|nothing)', line), 'how long to study, and what to have read'
    order, own = [p.name.partition('_')[0] for p in LESSONS], path.name.partition('_')[0]
    assert all(n in order and n < own for n in re.findall(r'\b(\d\d[a-z]?)\b', line.split('**Read before**')[1])), 'earlier lessons'
    skills = re.match(r'\s*After this lesson you can:\n+((?:- .+\n?)+)', rest)
    assert skills and len(skills[1].strip().split('\n')) >= 2, 'what you will be able to do at the end'


@each
def test_saved_state_is_clean(path):
    nb = read(path)
    assert path.stat().st_size < 1e6
    assert 'widgets' not in nb['metadata']
    outputs = [o for c in nb['cells'] for o in c.get('outputs', [])]
    assert outputs or path not in LESSONS, 'saved outputs of a real run'
    assert not [o for o in outputs if o['output_type'] == 'error']
    assert not [c for c in nb['cells'] if c['cell_type'] == 'code' and c['execution_count'] is not None]
    text = ''.join(''.join(o.get('text', '')) for o in outputs)
    assert 'Traceback (most recent call last)' not in text
    assert not re.search(r'\bWarning: ', text), 'no warnings among the saved outputs'


@each_lesson
def test_exercises_have_solutions(path):
    assert re.search(r'^## Exercises', prose(path), re.M)
    assert (path.parent/'solutions'/f'{path.stem}_solutions.ipynb').exists()


@each
def test_notebook_needs_no_nbdev(path):
    assert not re.search(r'^\s*(import|from) nbdev\b', '\n'.join(code(path)), re.M)


@each_lesson
def test_imports_come_from_earlier_lessons(path):
    order = {module(p): p.name.partition('_')[0] for p in LESSONS}
    for tree in map(ast.parse, exported(path)):
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                    [node.module] if isinstance(node, ast.ImportFrom) and node.module != 'avgen_nb' else \
                    [f'avgen_nb.{a.name}' for a in node.names] if isinstance(node, ast.ImportFrom) else []
            for m in (n.split('.')[1] for n in names if n and n.startswith('avgen_nb.')):
                assert m in order or m.startswith('_'), f'{path.name} imports avgen_nb.{m}, which no lesson exports'
                assert order.get(m, '') < order[module(path)], f'{path.name} imports avgen_nb.{m} from a later lesson'


def test_modules_are_what_the_lessons_export(tmp_path):
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', ignore=shutil.ignore_patterns('.*'))
    for name in ('settings.ini', 'pyproject.toml'): shutil.copy(ROOT/name, tmp_path/name)
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    subprocess.run([sys.executable, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()'], cwd=tmp_path, env=env, check=True)
    made = {f.name: f.read_text(encoding='utf-8') for f in (tmp_path/'avgen_nb').glob('*.py')}
    ours = {f.name: f.read_text(encoding='utf-8') for f in (ROOT/'avgen_nb').glob('*.py') if f.name != '__main__.py'}
    assert sorted(made) == sorted(ours)
    assert not [n for n in made if made[n] != ours[n]], 'run nbdev_export'
    assert (tmp_path/'pyproject.toml').read_bytes() == (ROOT/'pyproject.toml').read_bytes()


def test_every_module_has_a_lesson():
    modules = {f.stem for f in (ROOT/'avgen_nb').glob('*.py') if not f.stem.startswith('_')}
    assert modules == {module(p) for p in LESSONS}


@each_lesson
def test_no_modality_branches_in_exports(path):
    found = re.findall(r'''if .*\b(?:modality|name) *[!=]= *['"](?:sound|picture)['"]''', '\n'.join(exported(path)))
    assert not found, 'a modality is a value, not a code path'


MODULES = sorted(f for f in (ROOT/'avgen_nb').glob('*.py') if not f.stem.startswith('_'))
SHARED = dict(main='a module\'s own command line', experiments='what a paper\'s command line runs',
              fit='`many.fit` is `training.fit` with the other processes', choose='`many.choose` is `training.choose` with the other processes')
SEEDS_ALL = ('torch.manual_seed', 'torch.random.manual_seed', 'torch.seed', 'torch.default_generator.manual_seed', 'torch.cuda.manual_seed',
             'torch.cuda.manual_seed_all', 'np.random.seed', 'random.seed')


def defined(text):
    "The public names that a module defines at its top level."
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): found = [node.name]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        else: found = []
        yield from (n for n in found if n[0] != '_')


def test_what_defines_a_name_is_found():
    text = 'import a\nfrom b import c\nD: int = 1\nE, F = 2, 3\ng.h = 4\n_i = 5\ndef j(): k = 6\nclass L:\n    def m(self): pass'
    assert list(defined(text)) == ['D', 'E', 'F', 'j', 'L']


def test_a_name_means_one_thing():
    homes = {}
    for path in MODULES:
        for name in set(defined(path.read_text(encoding='utf-8'))): homes.setdefault(name, []).append(path.stem)
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert not {n: where for n, where in twice.items() if n not in SHARED}, 'one name for one thing in the whole package'
    assert set(SHARED) == set(twice), 'names that are defined once need no leave'


def leaks(tree, inside=False):
    "Lines that start randomness of the whole process anew, outside `with fork_rng`, which gives it back."
    if isinstance(tree, ast.With): inside = inside or any('fork_rng' in ast.unparse(i.context_expr) for i in tree.items)
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) in SEEDS_ALL and not inside: yield tree.lineno
    for node in ast.iter_child_nodes(tree): yield from leaks(node, inside)


def test_a_leak_is_found():
    text = 'def f(seed):\n    torch.manual_seed(seed)\n    with torch.random.fork_rng(devices=[]):\n        torch.manual_seed(seed)\n    g = torch.Generator().manual_seed(seed)\n    np.random.seed(0)'
    assert list(leaks(ast.parse(text))) == [2, 6]


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_no_module_touches_the_randomness_of_its_caller(path):
    found = list(leaks(ast.parse(path.read_text(encoding='utf-8'))))
    assert not found, f'{path.name}, line {found[0]}: seed a torch.Generator, or stand inside torch.random.fork_rng'


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_a_ceiling_is_of_what_is_scored(path):
    "The judge's own `meta` tells the ceiling of its birth, on other songs, perhaps of other instruments."
    found = re.findall(r"""(?:jury|judge\w*|\))\.meta(?:\[|\.get\()['"]ceiling['"][^=\n]*$""", path.read_text(encoding='utf-8'), re.M)
    assert not found, f'{path.name}: {found[0]}; take ceiling_of(judge, pairs, only) of the very pairs'


@each
def test_a_recipe_has_its_name(path):
    "Names of a paper are the paper's recipes: `S2I-C-paper` and its kind are gone."
    assert not re.search(r'\b(?:S2I-[CNA]|S2I-pose|I2S|I2S-pose|CMCGAN)-paper\b', prose(path) + '\n'.join(code(path)))
