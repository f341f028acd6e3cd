"Training that survives: kill, full disk, damage, foreign files, NaN."
import os, pickle, re, resource, signal, subprocess, sys, time
from pathlib import Path
import pytest, safetensors.torch, torch
from torch import nn
from avgen_nb import loop as loops, training
from avgen_nb.files import checkpoints, latest_checkpoint, load_nets, read_checkpoint, save_nets
from avgen_nb.loop import Budget, CloudGAN, Loop, Losses, Place, Stopped, average_into, fast_bf16, pick_precision, place_nets, seeded
from avgen_nb.training import choose, fit, seed_of


ROOT = Path(training.__file__).parents[1]
quick = dict(device='cpu', quiet=True)


class DropGAN(CloudGAN):
    "The toy with everything that has state: batch norm, dropout, spectral norm, three kinds of optimizer memory."
    def __init__(self, **kw):
        super().__init__(norm=True, **kw)
        with seeded(1): D = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 32)), nn.LeakyReLU(.2), nn.Dropout(.2), nn.Linear(32, 1))
        self.nets['D'] = D
        self.optimizers['D'] = torch.optim.SGD(D.parameters(), .05, momentum=.9)
        self.optimizers['G'] = torch.optim.AdamW(self.nets['G'].parameters(), .01, amsgrad=True)
        self.averaged = 'G', 'D'

    def describe(self): return dict(recipe='drop', classes=('a', 'b'))


class Conv(CloudGAN):
    "Convolutions, so that memory order matters."
    averaged = ('net',)

    def __init__(self):
        with seeded(0): net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 4))
        self.nets, self.optimizers = dict(net=net), dict(net=torch.optim.Adam(net.parameters(), .01))

    def draw(self, loop): return loop.randn(8, 3, 8, 8)

    def step(self, x, loop):
        with loop.autocast(): loss = (self.nets['net'](x).flatten().float() - x.mean((1, 2, 3))).square().mean()
        loop.update('net', loss)
        return dict(loss=loss)


def tensors_of(run):
    nets = {**run.nets, **{f'average {k}': v for k, v in run.averages.items()}}
    return {f'{n}/{k}': v for n, net in nets.items() for k, v in net.state_dict().items()}

def equal(a, b):
    a, b = tensors_of(a), tensors_of(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def environment(**more): return os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1') | {k: str(v) for k, v in more.items()}

def spawn(code, *words, **env):
    return subprocess.Popen([sys.executable, '-c', code, *map(str, words)], env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- seeds, budgets, what a task sees
@pytest.mark.parametrize('task', [CloudGAN, DropGAN, Conv])
def test_one_seed_one_result(task):
    a, b, c = (fit(task(), steps=12, seed=s, **quick) for s in (3, 3, 4))
    assert equal(a, b) and not equal(a, c)
    assert [{k: v for k, v in r.items() if k != 'seconds'} for r in a.history] == [{k: v for k, v in r.items() if k != 'seconds'} for r in b.history]

def test_the_callers_randomness_is_given_back():
    torch.manual_seed(5); a = torch.rand(3)
    torch.manual_seed(5); task = CloudGAN(); torch.manual_seed(5); fit(task, steps=3, **quick)
    assert torch.equal(torch.rand(3), a)

def test_looking_changes_nothing(tmp_path):
    class Looked(DropGAN):
        def sample(self, nets): return nets['G'](torch.randn(5, 2))
    a = fit(DropGAN(), steps=20, **quick)
    b = fit(Looked(), steps=20, log_every=3, sample_every=2, out=tmp_path, save_steps=5, **quick)
    assert equal(a, b) and len(b.samples) == 10 and [r['step'] for r in b.history] == [3, 6, 9, 12, 15, 18, 20]

def test_minutes_are_kept_and_drive_the_fraction():
    seen = []
    class Seen(CloudGAN):
        def draw(self, loop): seen.append(loop.fraction); return super().draw(loop)
    run = fit(Seen(), minutes=.01, **quick)
    assert .6 <= run.minutes * 60 < 60
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] < 1 and run.steps == len(seen)
    assert 1 <= len(run.history) <= 200 and run.history[-1]['step'] == run.steps

def test_steps_or_minutes_whichever_ends_first():
    assert fit(CloudGAN(), steps=7, minutes=9, **quick).steps == 7
    assert fit(CloudGAN(), steps=10**9, minutes=.003, **quick).steps < 10**6
    assert fit(CloudGAN(), steps=0, **quick).steps == 0

@pytest.mark.parametrize('bad', [dict(), dict(steps=-1), dict(minutes=-.5), dict(minutes=float('nan')), dict(steps=1, precision='fp8'),
                                 dict(steps=1, resume=True)])
def test_bad_arguments_are_one_sentence(bad):
    with pytest.raises(ValueError) as e: fit(CloudGAN(), **bad, **quick)
    assert '\n' not in str(e.value) and any(w in str(e.value) for w in ('steps', 'minutes', 'precision', 'out'))

def test_history_holds_means_over_the_steps_between():
    values = iter(range(1, 11))
    class Counted(CloudGAN):
        def step(self, real, loop): return dict(n=next(values))
    assert [r['n'] for r in fit(Counted(), steps=10, log_every=5, **quick).history] == [3, 8]

def test_an_update_leaves_other_nets_alone():
    task = CloudGAN()
    loop = Loop(task, Budget(1), Place(torch.device('cpu'))); place_nets(loop)
    before = {k: v.clone() for k, v in task.nets['D'].state_dict().items()}
    loop.update('G', task.nets['D'](task.nets['G'](torch.randn(8, 2))).mean())
    assert all(p.grad is None for p in task.nets['D'].parameters()) and all(p.grad is not None for p in task.nets['G'].parameters())
    assert all(torch.equal(v, before[k]) for k, v in task.nets['D'].state_dict().items())

def test_bf16_and_fp32_agree_roughly_and_weights_stay_float32():
    a, b = (fit(Conv(), steps=5, precision=p, **quick) for p in ('fp32', 'bf16'))
    assert b.precision == 'bf16' and all(p.dtype == torch.float32 for p in b.nets['net'].parameters())
    assert abs(a.history[-1]['loss'] - b.history[-1]['loss']) < .05 * max(1, a.history[-1]['loss']) and not equal(a, b)

def test_precision_is_chosen_by_what_the_hardware_can_do(monkeypatch):
    for tiles, vectors in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: tiles, raising=False)
        monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: vectors, raising=False)
        can = tiles or vectors
        assert fast_bf16('cpu') is can and pick_precision('auto', 'cpu') == ('bf16' if can else 'fp32')

def test_pictures_are_channels_last():
    run = fit(Conv(), steps=1, **quick)
    assert run.nets['net'][0].weight.is_contiguous(memory_format=torch.channels_last)

def test_average_follows_by_hand():
    net, slow = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad(): net.weight.fill_(3.); net.running_mean.fill_(2.); net.num_batches_tracked.fill_(7)
    average_into(slow, net, .75)
    assert slow.weight.tolist() == [1.5, 1.5] and slow.running_mean.tolist() == [.5, .5] and slow.num_batches_tracked == 7

@pytest.mark.parametrize('capability, chosen', [((8, 0), 'bf16'), ((9, 0), 'bf16'), ((7, 5), 'fp16'), ((7, 0), 'fp16'), ((6, 1), 'fp32')])
def test_a_gpu_without_bfloat16_computes_in_float16(capability, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: capability)
    assert pick_precision('auto', 'cuda') == chosen and pick_precision('fp32', 'cuda') == 'fp32'

def test_float16_trains_with_a_scaler_that_resumes(tmp_path):
    "A step whose scaled gradients overflow is left out, and the scale is halved; the scaler is in the checkpoint."
    alone = fit(Conv(), steps=12, precision='fp16', **quick)
    fit(Conv(), steps=7, precision='fp16', out=tmp_path, save_steps=5, **quick)
    for p in tmp_path.glob('*07.safetensors'): p.unlink()     # as if it had been killed
    state = read_checkpoint(checkpoints(tmp_path)[0])[1]['scaler']
    again = fit(Conv(), steps=12, precision='auto', out=tmp_path, resume=True, **quick)
    assert alone.precision == again.precision == 'fp16' and state['_growth_tracker'] == 5 and equal(alone, again)
    assert all(p.dtype == torch.float32 for p in alone.nets['net'].parameters())
    assert abs(alone.history[-1]['loss'] - fit(Conv(), steps=12, precision='fp32', **quick).history[-1]['loss']) < .02

def test_an_overflow_in_float16_leaves_the_weights_alone():
    loop = Loop(Conv(), Budget(1), Place(torch.device('cpu')), 'fp16')
    place_nets(loop)
    before = [p.clone() for p in loop.task.nets['net'].parameters()]
    loop.update('net', loop.task.nets['net'](loop.randn(2, 3, 8, 8)).float().mean() * 1e36)
    assert loop.scaler.get_scale() == 2.**15 and all(torch.equal(a, b) for a, b in zip(before, loop.task.nets['net'].parameters()))

def test_averages_do_not_train_and_are_in_eval_mode():
    run = fit(DropGAN(), steps=3, **quick)
    assert not any(p.requires_grad for a in run.averages.values() for p in a.parameters())
    assert not any(m.training for a in run.averages.values() for m in a.modules())


# ---------------------------------------------------------------- NaN
class Breaks(CloudGAN):
    def __init__(self, at, value=float('nan')): super().__init__(); self.at, self.value = at, value
    def step(self, real, loop):
        losses = super().step(real, loop)
        if loop.step == self.at: loop.update('D', self.nets['D'](real).mean() * self.value)
        return losses

@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_nan_stops_names_the_step_and_keeps_the_last_checkpoint(tmp_path, value):
    task = Breaks(23, value)
    with pytest.raises(Stopped) as e: fit(task, steps=50, out=tmp_path, save_steps=10, **quick)
    assert re.search(r"loss 'D' is (nan|inf|-inf) at step 23; the last checkpoint is .*checkpoint-00000020", str(e.value)) and '\n' not in str(e.value)
    assert all(p.isfinite().all() for p in task.nets['D'].parameters()), 'the weights were not touched by it'
    assert read_checkpoint(checkpoints(tmp_path)[0])[1]['step'] == 20

def test_nan_is_found_late_but_named_right_and_never_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loops, 'Losses', lambda every: Losses(1000))
    with pytest.raises(Stopped, match="'D' is nan at step 23; .*00000020"): fit(Breaks(23), steps=50, out=tmp_path, save_steps=10, **quick)
    assert [read_checkpoint(p)[1]['step'] for p in checkpoints(tmp_path)] == [20, 10]

def test_weights_that_broke_without_a_nan_loss_are_never_saved(tmp_path):
    class Silent(CloudGAN):
        def step(self, real, loop):
            losses = super().step(real, loop)
            if loop.step == 19: self.nets['G'].weight.data[0, 0] = float('nan')    # as an infinite gradient of a finite loss does
            return losses
    with pytest.raises(Stopped, match="'G/weight' is not finite at step 20; the last checkpoint is .*00000010"): fit(Silent(), steps=50, out=tmp_path, save_steps=10, **quick)
    assert len(checkpoints(tmp_path)) == 1

def test_a_returned_loss_that_is_nan_stops_too():
    class Returned(CloudGAN):
        def step(self, real, loop): return super().step(real, loop) | dict(extra=float('nan') if loop.step == 4 else 0.)
    with pytest.raises(Stopped, match="'extra' is nan at step 5"): fit(Returned(), steps=50, log_every=1, **quick)


# ---------------------------------------------------------------- resume
@pytest.mark.parametrize('task', [CloudGAN, DropGAN, Conv])
@pytest.mark.parametrize('cut', [1, 10, 17])
def test_resume_is_exact(task, cut, tmp_path):
    alone = fit(task(), steps=30, log_every=1, **quick)
    fit(task(), steps=cut, out=tmp_path, log_every=1, **quick)
    again = fit(task(), steps=30, out=tmp_path, resume=True, log_every=1, **quick)
    assert equal(alone, again) and again.steps == 30
    assert [(r['step'], r.get('D', r.get('loss'))) for r in alone.history] == [(r['step'], r.get('D', r.get('loss'))) for r in again.history]

def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    a = fit(DropGAN(), steps=5, out=tmp_path, **quick)
    b = fit(DropGAN(), steps=5, out=tmp_path, resume=True, **quick)
    assert equal(a, b) and b.steps == 5 and b.checkpoint == a.checkpoint

def test_resume_from_nothing_begins(tmp_path):
    assert equal(fit(CloudGAN(), steps=5, out=tmp_path / 'new', resume=True, **quick), fit(CloudGAN(), steps=5, **quick))

def test_minutes_count_over_resumes(tmp_path):
    a = fit(CloudGAN(), minutes=.005, out=tmp_path, **quick)
    b = fit(CloudGAN(), minutes=a.minutes + .003, out=tmp_path, resume=True, **quick)
    assert b.steps > a.steps and a.minutes + .003 <= b.minutes < 1 and fit(CloudGAN(), minutes=.005, out=tmp_path, resume=True, **quick).steps == b.steps

def test_another_run_is_not_overwritten(tmp_path):
    fit(CloudGAN(), steps=2, out=tmp_path, **quick)
    with pytest.raises(ValueError, match='already holds a run'): fit(CloudGAN(), steps=2, out=tmp_path, **quick)
    (tmp_path / 'file').write_text('x')
    with pytest.raises(ValueError, match='is a file'): fit(CloudGAN(), steps=2, out=tmp_path / 'file', **quick)

def test_two_are_kept_and_leftovers_go(tmp_path):
    for i in range(3): (tmp_path / f'.checkpoint-00000001.safetensors.{i}.tmp').write_bytes(b'half')
    fit(CloudGAN(), steps=50, out=tmp_path, save_steps=8, **quick)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['checkpoint-00000048.safetensors', 'checkpoint-00000050.safetensors']


def told(run): return [{k: v for k, v in r.items() if k != 'seconds'} for r in run.history]

class Sampled(DropGAN):
    "Takes samples that are tensors at even steps, numbers at odd ones; dies where it is told to."
    at, steps_seen = None, 0
    def sample(self, nets): self.steps_seen += 1; return nets['G'](torch.ones(3, 2)) if self.steps_seen % 2 else float(nets['G'](torch.ones(3, 2)).sum())
    def draw(self, loop):
        if loop.step == self.at: raise KeyboardInterrupt
        return super().draw(loop)

@pytest.mark.parametrize('log_every', [None, 1, 3, 7])
def test_history_and_samples_come_back_exactly(log_every, tmp_path):
    options = dict(steps=29, log_every=log_every, sample_every=log_every and log_every + 1, average=.9, **quick)
    alone, dies = fit(Sampled(), **options), Sampled()
    dies.at = 23
    with pytest.raises(KeyboardInterrupt): fit(dies, out=tmp_path, save_steps=11, **options)
    again = Sampled(); again.steps_seen = len(read_checkpoint(checkpoints(tmp_path)[0])[1]['samples'])
    run = fit(again, out=tmp_path, resume=True, **options)
    assert equal(alone, run) and told(alone) == told(run)
    assert [s for s, _ in alone.samples] == [s for s, _ in run.samples] and len(run.samples) > 2
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for (_, a), (_, b) in zip(alone.samples, run.samples))

@pytest.mark.parametrize('wrong, says', [(dict(seed=5), 'seed is 3, not 5'), (dict(average=.5), 'average is 0.9, not 0.5'), (dict(precision='bf16'), "precision is 'fp32', not 'bf16'")])
def test_another_run_is_refused_in_one_sentence(wrong, says, tmp_path, recwarn):
    options = dict(seed=3, average=.9, precision='fp32', out=tmp_path, **quick)
    fit(CloudGAN(), steps=4, save_steps=2, **options)
    with pytest.raises(ValueError, match=f'is of another run: its {says}; go on with') as e: fit(CloudGAN(), steps=8, resume=True, **options | wrong)
    assert '\n' not in str(e.value) and not recwarn.list, 'no word of the checkpoint before it'

def test_what_differs_is_named_deep_down_and_briefly(tmp_path):
    class Told(CloudGAN):
        def __init__(self, width, data): super().__init__(); self.told = dict(recipe=dict(width=width, plan=[1] * 99), data=data)
        def describe(self): return self.told
    fit(Told(8, 'abc'), steps=2, out=tmp_path, **quick)
    with pytest.raises(ValueError, match="another run: its recipe width is 8, not 16, its data is 'abc', not 'def'; ") as e:
        fit(Told(16, 'def'), steps=4, out=tmp_path, resume=True, **quick)
    assert len(str(e.value)) < 300

def test_a_run_may_be_made_longer(tmp_path):
    fit(CloudGAN(), steps=5, out=tmp_path, **quick)
    assert fit(CloudGAN(), steps=9, out=tmp_path, resume=True, **quick).steps == 9

def test_no_rank_of_a_seed_is_another_seed():
    seeds = [seed_of(s, r) for s in range(50) for r in range(8)]
    assert len(set(seeds)) == 400 and [seed_of(s, 0) for s in range(50)] == list(range(50)), 'one process draws what it always drew'
    assert not set(seeds[1::8]) & set(range(10_000))

def test_seeded_leaves_the_caller_alone():
    torch.manual_seed(5); a = torch.rand(3)
    torch.manual_seed(5); CloudGAN()
    with seeded(9): torch.rand(7)
    assert torch.equal(torch.rand(3), a)


# ---------------------------------------------------------------- the best of a run
def steadiness(G): return -abs(float(G(torch.ones(1, 2)).sum()) - 1.5)

def chosen(task=None, steps=30, **options): return choose(task or DropGAN(), 'G', steadiness, steps, 10, average=.5, **options, **quick)

def test_choose_keeps_the_best_net():
    run = chosen()
    assert len(run.samples) == 10 and steadiness(run.averages['G']) == max(v for _, v in run.samples) > run.samples[-1][1]

@pytest.mark.parametrize('at', [2, 12, 29])
def test_choose_goes_on_from_what_it_had_found(at, tmp_path):
    class Dies(DropGAN):
        def draw(self, loop):
            if loop.step == at: raise KeyboardInterrupt
            return super().draw(loop)
    alone = chosen()
    with pytest.raises(KeyboardInterrupt): chosen(Dies(), out=tmp_path, save_steps=2)
    again = chosen(out=tmp_path, resume=True)
    assert again.samples == alone.samples and equal(again, alone)
    once_more = chosen(out=tmp_path, resume=True)
    assert once_more.samples == alone.samples and equal(once_more, alone), 'a finished run knows its best, too'

def test_a_run_that_chose_nothing_is_another_run(tmp_path):
    fit(DropGAN(), steps=4, average=.5, out=tmp_path, **quick)
    with pytest.raises(ValueError, match=r"its memory best is None, not \['G'\]"): chosen(out=tmp_path, resume=True)


# ---------------------------------------------------------------- kill -9
VICTIMS = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from test_training import DropGAN, quick
from avgen_nb import training
def die(): os.kill(os.getpid(), signal.SIGKILL)
class HalfStep(DropGAN):
    def step(self, real, loop):
        if loop.step == 33:
            update = loop.update
            def half(name, loss): update(name, loss); die()
            loop.update = half
        return super().step(real, loop)
def inside_a_step(out): training.fit(HalfStep(), steps=60, out=out, save_steps=10, **quick)
def before_the_rename(out):
    rename = os.replace
    def replace(a, b): die() if '00000030' in str(b) else rename(a, b)
    os.replace = replace
    training.fit(DropGAN(), steps=60, out=out, save_steps=10, **quick)
def from_outside(out): training.fit(DropGAN(), minutes=9, out=out, save_steps=10, **quick)
globals()[sys.argv[3]](sys.argv[1] + '/' + sys.argv[3])
"""

@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    "Three runs, each a process of its own, each killed with -9. As many threads as here: another number adds in another order, to other bits."
    folder = tmp_path_factory.mktemp('killed')
    victims = [spawn(VICTIMS, folder, Path(__file__).parent, where, OMP_NUM_THREADS=torch.get_num_threads()) for where in ('inside_a_step', 'before_the_rename', 'from_outside')]
    while not checkpoints(folder / 'from_outside') and victims[-1].poll() is None: time.sleep(.01)
    time.sleep(.1); victims[-1].kill()
    for v in victims:
        _, err = v.communicate(timeout=240)
        assert v.returncode == -signal.SIGKILL, err
    return folder

@pytest.mark.parametrize('where, found', [('inside_a_step', 30), ('before_the_rename', 20), ('from_outside', None)])
def test_killed_goes_on_bit_for_bit(where, found, killed):
    out = killed / where
    step = latest_checkpoint(out)[2]['step']
    assert found in (step, None) and (found != 20 or len(list(out.glob('.checkpoint-00000030.safetensors.*.tmp'))) == 1)
    again = fit(DropGAN(), steps=step + 30, out=out, resume=True, save_steps=10, **quick)
    assert equal(again, fit(DropGAN(), steps=step + 30, **quick))
    assert not list(out.glob('.*')), 'no half file stays'


# ---------------------------------------------------------------- damaged and foreign files
@pytest.fixture
def run_of_two(tmp_path):
    fit(DropGAN(), steps=20, out=tmp_path, save_steps=10, **quick)
    return tmp_path

DAMAGE = dict(empty=lambda b: b'', cut=lambda b: b[:len(b) // 2], one_byte_short=lambda b: b[:-1], header_only=lambda b: b[:8],
              flipped=lambda b: b[:-9] + bytes([b[-9] ^ 4]) + b[-8:], longer=lambda b: b + b'more', zeros=lambda b: bytes(len(b)),
              text=lambda b: b'not a checkpoint\n' * 100, huge_header=lambda b: b'\xff' * 8 + b[8:],
              meta=lambda b: b.replace(b'\\"step\\": 20', b'\\"step\\": 21', 1),
              foreign=lambda b: safetensors.torch.save(dict(w=torch.ones(3)), dict(format='pt')))

@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_refused_and_the_one_before_is_used(damage, run_of_two):
    newest = checkpoints(run_of_two)[0]
    old = newest.read_bytes(); new = DAMAGE[damage](old)
    assert new != old
    newest.write_bytes(new)
    with pytest.raises(ValueError) as e: read_checkpoint(newest)
    assert str(newest) in str(e.value) and '\n' not in str(e.value) and len(str(e.value)) < 300
    with pytest.warns(UserWarning, match=newest.name): again = fit(DropGAN(), steps=30, out=run_of_two, resume=True, **quick)
    assert equal(again, fit(DropGAN(), steps=30, **quick))

def test_if_all_are_bad_it_says_so_and_leaves_them(run_of_two):
    for p in checkpoints(run_of_two): p.write_bytes(p.read_bytes()[:-5])
    with pytest.warns(UserWarning), pytest.raises(ValueError, match='no checkpoint in .* can be used'): fit(DropGAN(), steps=30, out=run_of_two, resume=True, **quick)
    assert len(checkpoints(run_of_two)) == 2

class Told(DropGAN):
    def describe(self): return dict(recipe='other', classes=['a', 'b'])

class Wider(DropGAN):
    def __init__(self): super().__init__(); self.nets['G'] = nn.Linear(2, 2); self.optimizers['G'] = torch.optim.Adam(self.nets['G'].parameters())

class Fewer(DropGAN):
    def __init__(self): super().__init__(); self.optimizers['G'] = torch.optim.Adam(list(self.nets['G'].parameters())[:2])

@pytest.mark.filterwarnings('ignore:.*trying the checkpoint before')
@pytest.mark.parametrize('task, says', [(Told, "recipe is 'drop', not 'other'"), (Wider, 'does not fit'), (Fewer, 'optimizer G')])
def test_a_checkpoint_of_another_task_is_refused(task, says, run_of_two):
    with pytest.raises(ValueError, match=says): fit(task(), steps=30, out=run_of_two, resume=True, **quick)

def test_nets_and_checkpoints_are_not_mistaken(run_of_two, tmp_path):
    save_nets(tmp_path / 'nets.safetensors', DropGAN().nets, {})
    with pytest.raises(ValueError, match='not an avgen_nb nets file'): load_nets(checkpoints(run_of_two)[0])
    with pytest.raises(ValueError, match='not an avgen_nb checkpoint file'): read_checkpoint(tmp_path / 'nets.safetensors')
    with pytest.raises(ValueError, match='does not exist'): load_nets(tmp_path / 'none.safetensors')

class Bomb:
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return os.system, (f'touch {self.path}',)

@pytest.mark.parametrize('how', ['pickle', 'torch', 'torch old'])
def test_a_pickle_is_never_opened(how, run_of_two, tmp_path):
    mark, newest = tmp_path / 'exploded', checkpoints(run_of_two)[0]
    if how == 'pickle': newest.write_bytes(pickle.dumps(Bomb(mark)))
    else: torch.save(dict(w=Bomb(mark)), newest, _use_new_zipfile_serialization=how == 'torch')
    with pytest.warns(UserWarning, match='not a whole safetensors file'): fit(DropGAN(), steps=22, out=run_of_two, resume=True, **quick)
    with pytest.raises(ValueError): load_nets(newest if newest.exists() else checkpoints(run_of_two)[0])
    assert not mark.exists()

def test_the_bomb_would_have_worked(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / 'exploded')))
    assert (tmp_path / 'exploded').exists()

def test_no_module_can_unpickle():
    for path in (ROOT / 'avgen_nb').glob('*.py'):
        assert not re.search(r'\btorch\.load\b|\bpickle\b|\bjoblib\b|\bdill\b|allow_pickle\s*=\s*True', path.read_text()), path


# ---------------------------------------------------------------- a full disk
def test_a_file_that_cannot_be_written_whole_stops_the_run_in_one_sentence(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    class Full(DropGAN):
        def draw(self, loop):
            if loop.step == 25: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
            return super().draw(loop)
    try:
        with pytest.raises(Stopped) as e: fit(Full(), steps=60, out=tmp_path, save_steps=10, **quick)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.fullmatch(r'the checkpoint of step 30 could not be written to .*; the last checkpoint is .*checkpoint-00000020.safetensors', str(e.value))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ['checkpoint-00000010.safetensors', 'checkpoint-00000020.safetensors']
    assert equal(fit(DropGAN(), steps=40, out=tmp_path, resume=True, **quick), fit(DropGAN(), steps=40, **quick))

def test_no_space_left_on_a_real_small_disk(tmp_path):
    disk = tmp_path / 'disk'; disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], capture_output=True).returncode: pytest.skip('cannot mount a tmpfs here')
    try:
        with pytest.raises(Stopped, match=r'No space left on device\); the last checkpoint is') as e: fit(DropGAN(n=8), steps=500, out=disk, save_steps=1, log_every=1, **quick)
        assert '\n' not in str(e.value) and not list(disk.glob('.*')) and latest_checkpoint(disk)[2]['step'] >= 2
    finally: subprocess.run(['umount', disk])

# ---------------------------------------------------------------- light
def test_training_imports_nothing_heavy():
    code = "import sys, avgen_nb.training; print([m for m in ('matplotlib', 'accelerate', 'librosa', 'nbdev', 'IPython', 'torchmetrics', 'tqdm') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True, text=True).stdout.strip() in ("[]", "['tqdm']")

def test_several_processes_are_told_where_the_place_is(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    for train in (lambda: fit(CloudGAN(), steps=1, **quick), lambda: choose(CloudGAN(), 'G', lambda G: 0., 1, **quick)):
        with pytest.raises(Stopped, match=r'give place=find_place\(\).*lesson 13') as e: train()
        assert '\n' not in str(e.value)
    assert fit(CloudGAN(), steps=1, place=Place('cpu'), quiet=True).steps == 1

def test_plain_text_outside_a_notebook(capfd):
    fit(CloudGAN(), steps=30, device='cpu')
    err = capfd.readouterr().err
    assert '100 %' in err and 'step=30' in err and 'D=' in err
