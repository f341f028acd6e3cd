"Experiments: a paper from outside the package, killed and resumed; rows of several seeds; budgets, facts as fields, and ledgers."
import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from avgen_nb import chen, experiments, hao
from avgen_nb.cgan import CHEN_S2I
from avgen_nb.cmcgan import HAO
from avgen_nb.experiments import BUDGETS, Experiment, assumptions, budgets_in, gain_row, ledger, ledger_line, longest, merged, run_all, trained_once
from avgen_nb.experiments import run_budget, seed_rows, verdicts
from avgen_nb.metrics import Row, read_rows, row_json
from avgen_nb.votes import paper_rows


@dataclass(frozen=True)
class Span:
    "All that a budget of a paper must have."
    name: str
    size: str

SPANS = {b: Span(b, 'small') for b in ('test', 'cpu')}


class Numbers:
    "Data that no other room knows."
    def __init__(self, seed): self.values, self.identity = np.random.default_rng(seed).random(60), f'numbers {seed}'


def made_up(calls, dies=None):
    "A paper of two systems: is a number above one half? One always says yes, one looks."
    def experiments(data, effort, out, opened):
        def table(name):
            if name == dies: raise KeyboardInterrupt
            calls.append(name)
            true = torch.from_numpy(data['test'].values > .5).long()
            said = dict(yes=torch.ones_like(true), looks=true)[name]
            rows = seed_rows(true, {0: said, 1: said}, torch.arange(60) // 3, {0: 1., 1: 2.}, system=name, recipe=name, data=opened['data'],
                budget=effort.name, split='test', factors=dict(every=1))
            return rows
        return [Experiment(f'table {name}', lambda name=name: table(name)) for name in ('yes', 'looks')]
    return experiments


def run(tmp_path, calls, *argv, **options):
    opens = lambda data, size: dict(test=Numbers(7))
    return run_budget('toy', 'toy2026', 'A toy.', SPANS, made_up(calls, **options), opens, ['--out', str(tmp_path), '--data', 'numbers', *argv])


def test_a_paper_is_added_without_touching_another_room(tmp_path, capsys):
    calls = []
    with pytest.raises(KeyboardInterrupt): run(tmp_path, calls, '--budget', 'test', dies='looks')
    assert calls == ['yes'] and [p.name for p in (tmp_path/'rows').iterdir()] == ['table-yes.jsonl']
    assert run(tmp_path, calls, '--budget', 'test') == 0 and calls == ['yes', 'looks'], 'what ended before the kill is not run again'
    rows = read_rows(tmp_path/'rows.jsonl')
    assert len(rows) == 6 and 'already there' in capsys.readouterr().out
    entries = [('Table 1', name, 'test', 'balanced_accuracy', figure) for name, figure in (('yes', '.50'), ('looks', '.90'), ('thinks', '.99'))]
    text = ledger(rows, entries).splitlines()
    assert '+0.000' in text[1] and '+0.100' in text[2] and 'numbers, budget test' in text[2] and 'not run yet' in text[3]
    assert ledger(rows, entries, 'html').startswith('<table>')


def test_only_and_list(tmp_path, capsys):
    calls = []
    assert run(tmp_path/'x', calls, '--list') == 0 and capsys.readouterr().out == 'table yes\ntable looks\n' and not (tmp_path/'x').exists()
    assert run(tmp_path, calls, '--only', 'looks') == 0 and calls == ['looks']
    assert {r.budget for r in read_rows(tmp_path/'rows.jsonl')} == {'cpu'}, 'the default'


def test_facts_of_a_row_are_fields(root):
    "In every stored row: no budget, no part of the data and no factor stands in a name only."
    for name in ('chen2017', 'cmcgan2018', 'avts2018'):
        rows = read_rows(root/f'docs/{name}.jsonl')
        assert {r.budget for r in rows} <= set(BUDGETS) and not [r for r in rows if 'budget' in r.data or ',' in r.data] and all(r.recipe for r in rows)
        for r in rows:
            if r.metric in ('gain', 'balanced_accuracy_gap'): assert {r.factors['of'], r.factors['over']} <= {x.system for x in rows}
            if r.metric == 'dev_accuracy': assert {'epochs', 'every', 'epoch'} == set(r.factors)
            assert all(v is None or isinstance(v, (int, float, str)) for v in r.factors.values()) and json.loads(row_json(r))['factors'] == r.factors


def test_names_decide_nothing():
    "A row whose name and data say another budget: the field counts."
    rows = [Row('x, budget gpu', data='orchestra, budget gpu', budget='test', value=.1), Row('x, budget gpu', data='y', budget='cpu', value=.2)]
    assert [r.value for r in longest(rows)] == [.2] and budgets_in(rows) == ['test', 'cpu']


def test_merged_tells_rows_apart_by_every_fact():
    row = Row('x', 'a → b', 'd', 'test', 'm', .1, budget='cpu', factors=dict(a=1, b=2), seed=0)
    others = [replace(row, **k) for k in (dict(budget='gpu'), dict(factors=dict(a=1)), dict(seed=None), dict(split='train'), dict(data='e'), dict(direction=''))]
    assert len(merged([row], others)) == 7
    assert [r.value for r in merged([row, *others], [replace(row, value=.9, factors=dict(b=2, a=1))])][0] == .9, 'the order of factors is none'


def test_a_gain_names_its_two_systems():
    true, songs = torch.arange(3).repeat_interleave(20), torch.arange(12).repeat_interleave(5)
    wrong = (true + 1) % 3
    row = gain_row(true, {0: true, 1: wrong}, {0: wrong, 1: wrong}, songs, 'a over b', 'c - d', factors=dict(of_what='x'), metric='gap')
    assert (row.value, row.metric, row.seeds, row.songs, row.factors) == (.5, 'gap', 2, 12, {'of_what': 'x', 'of': 'a over b', 'over': 'c - d'})
    told = verdicts([replace(row, metric='gain', low=.1, high=.9)])
    assert told == ['a over b beats c - d: +0.500 [+0.100, +0.900]'], 'a name with " over " in it is not cut'


def test_what_is_kept_is_trained_once(tmp_path):
    calls = []
    def train(folder): calls.append(folder); return nn.Linear(2, 2), 1.
    first = trained_once(tmp_path, dict(a=1, b=2), nn.Linear(2, 2), train)[0]
    again = trained_once(tmp_path, dict(b=2, a=1), nn.Linear(2, 2), train)[0]
    assert torch.equal(first.weight, again.weight) and len(calls) == 1 and not again.weight.requires_grad
    assert trained_once(None, dict(a=1), None, train)[1] == 1. and calls[1] is None


def test_rows_of_earlier_calls_stay(tmp_path):
    "A folder that was begun before: files that this call does not name are part of the whole."
    (tmp_path/'rows').mkdir()
    (tmp_path/'rows/table-CMCGAN.jsonl').write_text(row_json(Row('CMCGAN')) + '\n')
    rows = run_all([Experiment('table CMCGAN', lambda: pytest.fail('run again')), Experiment('b c', lambda: [Row('y')])], tmp_path, say=lambda s: None)
    assert [r.system for r in rows] == ['y', 'CMCGAN'] and (tmp_path/'rows/b-c.jsonl').exists()


def test_seeds_do_not_narrow_the_interval():
    true, songs = torch.arange(3).repeat_interleave(20), torch.arange(12).repeat_interleave(5)
    pred = torch.where(songs % 2 == 0, true, (true + 1) % 3)
    one = seed_rows(true, {0: pred}, songs, {0: 1.})[-1]
    ten = seed_rows(true, {s: pred for s in range(10)}, songs, {s: 1. for s in range(10)})[-1]
    assert one.value == ten.value and ten.high - ten.low > .9 * (one.high - one.low)
    assert ten.minutes == 10 and ten.seed is None and ten.n == one.n == 60 and (ten.seeds, one.seeds, ten.songs) == (10, 1, 12)


def test_seeds_that_disagree_widen_the_interval():
    "Every song is right with one seed and wrong with the other: songs alone would give no width at all."
    true, songs = torch.arange(3).repeat_interleave(20), torch.arange(12).repeat_interleave(5)
    rows = seed_rows(true, {0: true, 1: (true + 1) % 3}, songs, {0: 1., 1: 1.})
    assert [r.seeds for r in rows] == [1, 1, 2] and rows[-1].value == .5
    assert rows[-1].low == 0 and rows[-1].high == 1, 'a draw of seeds is twice the one or twice the other in half of the cases'


def test_a_killed_command_goes_on(tmp_path):
    calls = []
    def bad(): raise KeyboardInterrupt
    good = lambda: calls.append(1) or [Row('x', value=1.)]
    with pytest.raises(KeyboardInterrupt): run_all([Experiment('a', good), Experiment('b', bad)], tmp_path, say=lambda s: None)
    rows = run_all([Experiment('a', good), Experiment('b', lambda: [Row('y', value=2.)])], tmp_path, say=lambda s: None)
    assert calls == [1] and [r.system for r in rows] == ['x', 'y'] == [r.system for r in read_rows(tmp_path/'rows.jsonl')]


def test_ledger_shows_the_longest_budget_and_the_gap():
    row = lambda budget, value, seed=None: Row('S2I-C', split='test', metric='balanced_accuracy', value=value, low=value, high=value,
        seed=seed, data='orchestra', budget=budget, ceiling=.99, minutes=3., device='a CPU')
    entry = ('Table 5', 'S2I-C', 'test', 'balanced_accuracy', '.7556')
    line = ledger_line(entry, [row('test', .1), row('cpu', .8556), row('cpu', .8, 0), row('cpu', .9, 1)])
    assert line[3:6] == ['.7556', '0.856 [0.856, 0.856]', '+0.100'] and line[-2:] == ['0, 1', 'orchestra, budget cpu']


def test_a_line_says_what_its_interval_is():
    row = lambda value, **more: Row('S2I-C', split='test', metric='balanced_accuracy', value=value, low=.1, high=.4, data='x', budget='cpu', **more)
    entry = ('Table 5', 'S2I-C', 'test', 'balanced_accuracy', '.7556')
    seeds = [row(.2, seed=0, seeds=1, songs=78), row(.3, seed=1, seeds=1, songs=78)]
    assert ledger_line(entry, [row(.25, seeds=2), *seeds])[4] == '0.250 ≈[0.100, 0.400]'
    assert ledger_line(entry, [row(.25, seeds=2, songs=78), *seeds])[4] == '0.250 [0.100, 0.400]'
    assert ledger_line(entry, seeds[:1])[9] == 'one seed'


def test_paper_rows_are_not_ours():
    rows = paper_rows()
    assert {r.factors['source'] for r in rows} == {'the paper'}
    for r in rows: assert ledger_line(('Fig. 8, people', r.system, '', 'human_score', '1.81'), rows)[4] == 'not run yet'


def test_a_folder_of_experiments_is_of_one_data_and_one_effort(tmp_path):
    paper = lambda data, *more: [Experiment('a', lambda: [Row('x', value=float(data['train'].values.mean()))])]
    def run(number, budget='test'):
        opens = lambda **k: dict(train=Numbers(number))
        return run_budget('toy', 'toy2026', '', SPANS, paper, opens, ['--budget', budget, '--out', str(tmp_path)])
    assert run(0) == 0 and run(0) == 0, 'the same again goes on'
    for other in (dict(number=1), dict(number=0, budget='cpu')):
        with pytest.raises(ValueError, match='other data or of another effort.*--out'): run(**other)


def test_intervals_from_seeds_by_hand(root):
    sys.path.insert(0, str(root/'scripts'))
    import seed_intervals
    mean, *seeds = (Row('x', metric='balanced_accuracy', value=v, low=v - .0196, high=v + .0196, seed=s) for v, s in ((.5, None), (.4, 0), (.6, 1)))
    new, one, _ = seed_intervals.renewed([mean, *seeds])
    half = 1.96 * (.02 / 2 + .01 ** 2) ** .5
    assert (new.low, new.high) == pytest.approx((.5 - half, .5 + half)) and (new.seeds, one.seeds) == (2, 1)
    assert (one.low, one.high) == (.4 - .0196, .4 + .0196) and seed_intervals.renewed([new, one])[0] == new, 'nothing is widened twice'


@pytest.mark.parametrize('paper, recipe, more, n', [('chen2017', CHEN_S2I, chen.CHEN_ASSUMED, 13), ('cmcgan2018', HAO, hao.HAO_ASSUMED, 21)])
def test_a_ledger_lists_every_assumption_of_every_part(root, paper, recipe, more, n):
    lines = assumptions(recipe)
    assert len(lines) == n and all('assumption' in line for line in lines)
    assert {line.split(' ')[0] for line in lines} == {'encoder', 'game'}
    cells = json.loads((root/f'nbs/reproduce/{paper}.ipynb').read_text())['cells']
    shown = next(c['outputs'][0]['data']['text/markdown'] for c in cells if 'in assumptions(' in ''.join(c['source']))
    assert ''.join(shown) == '\n'.join(f'- {line}' for line in assumptions(recipe, more))
