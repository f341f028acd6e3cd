"Several processes train the toy as one does with the same global batch; test_processes.py has the real tasks."
import json, os, socket, sys
from pathlib import Path

import pytest, torch
from torch import nn

from avgen_nb.loop import Chance, Place, Stopped
from avgen_nb.many import OneOfMany, find_place, fit, globalise, slice_of
from test_training import DropGAN, quick, spawn, tensors_of


class Partner(DropGAN):
    "Two processes with half the batch each; rank 1 begins with weights that must not matter."
    def __init__(self, world=1, rank=0):
        super().__init__(n=128 // world)
        self.nets['D'][2].p = 0.
        if rank:
            for p in self.nets['G'].parameters(): p.data.fill_(9.)

def partner(out, world=1, rank=0):
    "Train, go on from the checkpoint, and tell what came out."
    kw = dict(out=Path(out) / 'run', log_every=1, precision='fp32', **quick)
    fit(Partner(world, rank), steps=20, **kw)
    run = fit(Partner(world, rank), steps=40, resume=True, **kw)
    return [run.history, {k: v.double().flatten().tolist() for k, v in tensors_of(run).items()}]

PARTNER = """
import json, os, sys
sys.path.insert(0, sys.argv[2])
from test_many import *
out, rank = sys.argv[1], int(os.environ['RANK'])
told = partner(out, 2, rank)
class Drifts(Partner):
    def draw(self, loop):
        if rank and loop.step == 12: loop.generator.manual_seed(1)
        self.last = loop.generator.get_state().sum().item(), loop.step
        return super().draw(loop)
class Breaks(Partner):
    def step(self, real, loop): return super().step(real * float('nan') if rank and loop.step == 5 else real, loop)
drifts = Drifts(2, rank)
fit(drifts, steps=25, **quick)
timed = fit(Partner(2, rank), minutes=.003, **quick)
try: fit(Breaks(2, rank), steps=9, **quick); said = 'nothing'
except Stopped as e: said = str(e)
json.dump(told + [timed.steps, said, drifts.last], open(f'{out}/{rank}.json', 'w'))
"""

@pytest.fixture(scope='module')
def partners(tmp_path_factory):
    out = tmp_path_factory.mktemp('partners')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    world = dict(WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    children = [spawn(PARTNER, out, Path(__file__).parent, RANK=r, LOCAL_RANK=r, **world) for r in (0, 1)]
    for c in children:
        _, err = c.communicate(timeout=240)
        assert c.returncode == 0, err
    return [json.loads((out / f'{r}.json').read_text()) for r in (0, 1)]

def test_two_processes_train_as_one_with_the_same_global_batch(partners, tmp_path):
    (one, a), (two, b, *_) = partner(tmp_path), partners[0]
    assert len(one) == len(two) == 40
    for r, s in zip(one, two): assert abs(r['D'] - s['D']) < 1e-4 and abs(r['G'] - s['G']) < 1e-4, (r, s)
    assert one[0]['D'] != one[-1]['D'] and a.keys() == b.keys()
    for k in a: torch.testing.assert_close(torch.tensor(a[k]), torch.tensor(b[k]), atol=2e-3, rtol=2e-3, msg=k)

def test_both_processes_hold_the_same_weights(partners):
    (h0, a, *_), (h1, b, *_) = partners
    assert a == b and [{**r, 'seconds': 0} for r in h0] == [{**r, 'seconds': 0} for r in h1]

def test_processes_stop_and_draw_together(partners):
    (*_, steps0, said0, last0), (*_, steps1, said1, last1) = partners
    assert steps0 == steps1 > 0 and "'D' is nan at step 5" in said0 and said0 == said1
    assert last0 == last1, 'a generator that drifted is set right'

def test_numbers_for_all_processes_are_cut():
    here = torch.device('cpu')
    whole, halves = Chance(Place(here)), [Chance(OneOfMany(here, r, 2)) for r in (0, 1)]
    for kind in (torch.rand, torch.randn):
        assert torch.equal(torch.cat([h.numbers(kind, 3, 2) for h in halves]), whole.numbers(kind, 6, 2))

@pytest.mark.parametrize('modality', ['picture', 'sound'])
def test_augmentation_is_cut_as_it_is_drawn(modality):
    "Varying half a batch in each of two processes is varying the whole batch in one; one process draws what a bare generator draws."
    from avgen_nb.nets import MODALITIES
    m = MODALITIES[modality]
    x = torch.rand(6, *m.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = m.vary(x, torch.Generator().manual_seed(4), 1.)
    here = torch.device('cpu')
    assert torch.equal(m.vary(x, Chance(Place(here), 4), 1.), whole)
    halves = [m.vary(part, Chance(OneOfMany(here, r, 2), 4), 1.) for r, part in enumerate(x.chunk(2))]
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-5, rtol=1e-5)

def test_on_gpus_batch_norm_is_pytorchs_own():
    "It trains on CUDA only; here its weights, its statistics and what it does at rest."
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.BatchNorm1d(3))
    x, before = torch.randn(2, 1, 5, 5), net.state_dict()
    net.eval(); y = net[:2](x)
    globalise(net, 'cuda')
    assert all(isinstance(m, nn.SyncBatchNorm) for m in net[1:]) and torch.equal(net[:2](x), y)
    assert all(a is b or torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values()))
    assert all(m.process_group is None for m in net[1:]), 'over all processes'

def test_a_launcher_that_started_one_says_so(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False); monkeypatch.setenv('ACCELERATE_DYNAMO_BACKEND', 'NO')
    with pytest.warns(UserWarning, match='started one process.*torchrun --nproc_per_node'): find_place('cpu')

def test_shares_make_the_whole():
    x = torch.arange(12)
    assert torch.equal(torch.cat([slice_of(x, r, 4) for r in range(4)]), x)
    with pytest.raises(ValueError, match='does not divide'): slice_of(x, 0, 5)

def test_both_places_have_the_same_methods():
    public = lambda kind: {k for k, v in vars(kind).items() if callable(v) and not k.startswith('_')}
    assert public(Place) == public(OneOfMany)
