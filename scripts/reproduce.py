"""Run a paper's experiments under a budget, then build its ledger from the rows.

    python scripts/reproduce.py chen2017 --budget test            # all of it in runs/chen2017/test/
    python scripts/reproduce.py chen2017 --budget cpu --publish   # also docs/chen2017.jsonl and the notebook itself
    python scripts/reproduce.py chen2017 --data Sub-URMP          # on a data set in that layout, in runs/chen2017/Sub-URMP-cpu/
    python scripts/reproduce.py cmcgan2018 --budget cpu           # another paper

What an earlier call finished in the same folder is not run again.
"""
import argparse, importlib, os, shutil, subprocess, sys, time
from pathlib import Path

from links import ROOT

PAPERS = {'chen2017': ('avgen_nb.chen',), 'cmcgan2018': ('avgen_nb.hao', 'avgen_nb.missing'),
          'l3net2017': ('avgen_nb.retrieval',), 'avts2018': ('avgen_nb.avts',)}


def build(notebook, rows, out):
    "Execute a ledger on some rows; the executed copy, and a page made from it, in `out`."
    env = os.environ | dict(AVGEN_ROWS=str(rows.resolve()), PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])))
    convert = [sys.executable, '-m', 'nbconvert', '--log-level', 'WARN', '--output-dir', str(out)]
    subprocess.run([*convert, '--to', 'notebook', '--execute', str(notebook)], env=env, check=True)
    subprocess.run([*convert, '--to', 'html', str(out/notebook.name)], env=env, check=True)


def publish(notebook, paper, out):
    "Put rows and ledger where the repository shows them; rows of other budgets and experiments stay."
    from avgen_nb.experiments import merged
    from avgen_nb.metrics import read_rows, write_rows
    docs = ROOT/f'docs/{paper}.jsonl'
    write_rows(docs, merged(read_rows(docs) if docs.exists() else [], read_rows(out/'rows.jsonl')), append=False)
    build(notebook, docs, out)
    shutil.copy(out/notebook.name, notebook)
    subprocess.run([Path(sys.executable).with_name('nbdev_clean'), '--fname', notebook], cwd=ROOT, check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    p.add_argument('paper', choices=PAPERS)
    p.add_argument('--budget', choices=('test', 'cpu', 'gpu'), default='cpu')
    p.add_argument('--data', default='orchestra', help="the built-in 'orchestra', or a folder in the layout of Sub-URMP, or its store")
    p.add_argument('--publish', action='store_true', help='also renew docs/PAPER.jsonl and the notebook itself')
    a, began = p.parse_args(), time.time()
    if a.publish and a.data != 'orchestra': p.error('--publish is for the built-in orchestra, which everybody has')
    out = Path(f'runs/{a.paper}')/(a.budget if a.data == 'orchestra' else f'{Path(a.data).name}-{a.budget}')
    for module in PAPERS[a.paper]: importlib.import_module(module).main(['--budget', a.budget, '--out', str(out), '--data', a.data])
    notebook = ROOT/f'nbs/reproduce/{a.paper}.ipynb'
    build(notebook, out/'rows.jsonl', out)
    if a.publish: publish(notebook, a.paper, out)
    print(f'{out/a.paper}.html, {(time.time() - began) / 60:.1f} minutes')


if __name__ == '__main__': sys.exit(main())
