"""Open every notebook as its Colab badge does, and run it: `make colab-test`.

The environment holds what Colab holds (scripts/colab-requirements.txt) and not this package. Each notebook lies alone in an
empty folder, with an empty cache, and has google.colab loaded, so that its first cell installs the package from GitHub by its own
`%pip` line. GitHub is played by a git repository made from this working tree: git is told to go there instead of to the address.
Lessons run on the test budget (IN_TEST=1).

    python scripts/colab_test.py               # all
    python scripts/colab_test.py 01_sound 20   # those whose name begins so
"""
import os, re, shutil, subprocess, sys, tempfile, time
from importlib.metadata import distributions
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from links import ROOT, notebooks, settings

COLAB = Path(sys.prefix)/'.colab'   # `pip freeze` of the environment as Colab has it, written by the Makefile
SECONDS = 900                       # one cell may take


def installed():
    "Name and version of every package of this environment."
    return {re.sub(r'[-_.]+', '-', d.name).lower(): d.version for d in distributions()}


def as_on_colab():
    "What was installed before any notebook ran; what notebooks of an earlier run added is taken out."
    if not COLAB.exists(): raise SystemExit(f'{sys.prefix} is not an environment with what Colab has: run `make colab-test`.')
    colab = {re.sub(r'[-_.]+', '-', l.partition('==')[0]).lower() for l in COLAB.read_text().split()}
    if added := sorted(installed().keys() - colab):
        subprocess.run([sys.executable, '-m', 'pip', 'uninstall', '--quiet', '--yes', *added], check=True)
    return installed()


def published(folder):
    "A git repository in `folder` with this working tree as its one commit, and the settings that send git there instead of to GitHub."
    cfg = settings()
    git = lambda *a: subprocess.run(['git', '--git-dir', str(folder), '--work-tree', str(ROOT), '-c', 'user.name=-', '-c', 'user.email=-', *a], check=True)
    git('init', '--quiet', '--initial-branch', cfg['branch'])
    git('add', '--all')
    git('commit', '--quiet', '--message', 'the working tree')
    return dict(GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0=f'url.{folder}.insteadOf', GIT_CONFIG_VALUE_0=f'https://github.com/{cfg["user"]}/{cfg["repo"]}')


def in_words(e, nb):
    "What went wrong, in which cell, in one line."
    at = next((i for i, c in enumerate(nb.cells) if c.cell_type == 'code' and any(o.output_type == 'error' for o in c.outputs)), None)
    what = f'{e.ename}: {e.evalue}' if isinstance(e, CellExecutionError) else f'{type(e).__name__}: {e}'
    where = f'cell {at} ({nb.cells[at].source.strip().splitlines()[-1]}): ' if at is not None else ''
    return where + ' '.join(what.split())[:400]


def opened(path, env):
    "Run the notebook at `path` alone in an empty folder; what went wrong, or None."
    with tempfile.TemporaryDirectory(prefix='colab-') as home:
        (content := Path(home)/'content').mkdir()
        shutil.copy(path, content)
        (startup := Path(home)/'ipython/profile_default/startup').mkdir(parents=True)
        shutil.copy(ROOT/'scripts/colab_startup.py', startup)
        env = env | dict(AVGEN_CACHE=f'{home}/cache', IPYTHONDIR=f'{home}/ipython')
        if (rows := ROOT/f'docs/{path.stem}.jsonl').exists(): env['AVGEN_ROWS'] = str(rows)   # for the file that a ledger fetches from GitHub
        nb = nbformat.read(content/path.name, 4)
        try: NotebookClient(nb, timeout=SECONDS, kernel_name='python3', resources=dict(metadata=dict(path=content))).execute(env=env)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as e: return in_words(e, nb)
    said = '\n'.join(o.get('text', '') for c in nb.cells if '%pip' in c.source for o in c.outputs)
    return next((f'%pip install: {l}' for l in said.splitlines() if l.startswith('ERROR')), None)   # pip's failure does not stop a notebook


def main(wanted):
    os.environ['PYDEVD_DISABLE_FILE_VALIDATION'] = '1'   # or each kernel begins with four lines about a debugger
    before, began, failed = as_on_colab(), time.time(), 0
    paths = [p for p in notebooks() if not wanted or p.name.startswith(tuple(wanted))]
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'MPLBACKEND')} | dict(IN_TEST='1')
    with tempfile.TemporaryDirectory(prefix='github-') as github:
        env |= published(github)
        for path in paths:
            start = time.time()
            wrong = opened(path, env)
            failed += wrong is not None
            print(f'{path.relative_to(ROOT/"nbs").as_posix():44}{time.time()-start:5.0f} s  {wrong or "ok"}', flush=True)
    after = installed()
    replaced = [f'{n} {v} by {after.get(n)}' for n, v in before.items() if after.get(n) != v]
    if replaced: print(f'The install line replaced what Colab runs on: {", ".join(replaced)}.')
    print(f'{(time.time()-began)/60:.1f} minutes, Python {sys.version.split()[0]}; added by the install line: '
          f'{", ".join(f"{n} {after[n]}" for n in sorted(after.keys() - before.keys()))}')
    print(f'{len(paths)-failed} passed, {failed} failed')
    return int(failed > 0 or bool(replaced) or not paths)


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
