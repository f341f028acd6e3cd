"Flow: the walk on fields whose end is known, the exact velocity, and runs that are kept, opened and scored."
import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from avgen_nb.codec import Codec, package_codec
from avgen_nb.flow import FLOWS, CodeReader, Flow, FlowNet, FlowTask, ReaderTask, euler, flow_nets, flow_of, guided, heun, item_codes, line_loss, on_the_line
from avgen_nb.flow import own_pose, reader_for, straighten, train_flow
from avgen_nb.files import nets_identity
from avgen_nb.loop import seeded
from avgen_nb.moment import MOMENT, encoder_of_moments, moment_size
from avgen_nb.nets import PICTURE, SOUND
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.runs import Schedule, changed, evaluate_run, family_of, load_run, over, shipped, steady, trainer_of
from avgen_nb.training import describe, fit
from test_cgan import made_up_pairs

TINY = dict(width=32, depth=2, batch=8, steps=Schedule(3, 3, 3), encoder=dict(plan=('8/2', '8/2'), hidden=(16,), steps=Schedule(2, 2, 2)))


def tiny(name): return changed(FLOWS[name], **TINY)

@pytest.fixture
def data(): return dict(train=made_up_pairs(0), dev=made_up_pairs(1, first_song=100), test=made_up_pairs(2, first_song=200))


def small_flow(name='S2I-flow'):
    r = tiny(name)
    with seeded(0):
        codec = Codec(dict(picture=PICTURE, sound=SOUND)[r.target], 4, 4).eval()
        E = encoder_of_moments(dict(picture=PICTURE, sound=SOUND)[r.source], r.encoder, 'abc')
        return Flow(r, 'abc', E, FlowNet(codec.shape, moment_size('abc'), r.width, r.depth), codec)


def test_a_line_begins_at_noise_and_ends_at_data():
    z, x = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    assert torch.equal(on_the_line(z, x, torch.zeros(4))[0], z) and torch.equal(on_the_line(z, x, torch.ones(4))[0], x)
    (a, way), (b, _) = on_the_line(z, x, torch.full((4,), .25)), on_the_line(z, x, torch.full((4,), .75))
    assert torch.allclose(a + way / 2, b, atol=1e-6)


@pytest.mark.parametrize('walk', (euler, heun))
def test_on_a_constant_field_one_step_is_enough(walk):
    z = torch.randn(5, 2)
    assert torch.allclose(walk(lambda x, t: torch.ones_like(x) * 3, z, 1), z + 3) and torch.allclose(walk(lambda x, t: torch.ones_like(x) * 3, z, 7), z + 3, atol=1e-5)


def test_heun_is_of_second_order():
    off = lambda walk, n: abs(walk(lambda x, t: x * math.cos(3 * t), torch.ones(1), n).item() - math.exp(math.sin(3) / 3))
    assert off(heun, 8) < off(euler, 8) / 4 and off(heun, 8) > 2.5 * off(heun, 16)


def test_the_exact_velocity_of_one_cloud_carries_noise_to_it():
    mean, s = torch.tensor([2., -1.]), .2
    v = lambda x, t: mean + (t * s * s - (1 - t)) / ((1 - t) ** 2 + (t * s) ** 2) * (x - t * mean)
    made = euler(v, torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)), 200)
    assert (made.mean(0) - mean).abs().max() < .02 and (made.std(0) - s).abs().max() < .02


def test_guidance_by_hand():
    f = guided(lambda x, t: 2 * x, lambda x, t: x, 3.)
    assert f(torch.ones(1), 0) == 4 and guided(lambda x, t: 2 * x, None, 1)(torch.ones(1), 0) == 2


def test_both_questions_in_one_pass_are_the_two_questions():
    run = small_flow()
    torch.nn.init.normal_(run.F.last.weight); torch.nn.init.normal_(run.F.none)
    told, x = torch.randn(3, moment_size('abc')), torch.randn(3, *run.codec.shape)
    at = lambda p: run.F(x, torch.full((3,), .3), p)
    with torch.no_grad():
        assert torch.allclose(run.velocity(told, 2.)(x, .3), at(run.F.none.expand(3, -1)) * -1 + 2 * at(told), atol=1e-4)
        assert torch.allclose(run.velocity(told, 1)(x, .3), at(told), atol=1e-5)


@pytest.mark.parametrize('name', FLOWS)
def test_what_is_told_is_what_the_encoder_says(name):
    run = small_flow(name)
    told = run.code(torch.zeros(2, *run.source.shape)) / 4
    assert told.shape == (2, moment_size('abc')) and torch.allclose(told[:, :3].sum(1), torch.ones(2)) and torch.allclose(told[:, 3:131].sum(1), torch.ones(2))


@pytest.mark.parametrize('name', FLOWS)
def test_one_class_for_both_directions(name):
    run = small_flow(name)
    given = torch.zeros(3, *run.source.shape)
    made = run.make(given, seed=1)
    assert made.shape == (3, *run.target.shape) and made.abs().max() <= 1
    assert torch.equal(made, run.make(given, seed=1)) and not torch.equal(made, run.make(given, seed=2))
    assert torch.allclose(run.make(given, z=run.noise(3, 1), part=2), made, atol=1e-4)
    assert steady(run, given, 0).shape == made.shape


def test_codes_belong_to_their_pairs(data):
    codec, pairs = Codec(PICTURE, 4, 4).eval(), data['dev']
    codes = item_codes(codec, pairs, part=7)
    own = codec.encode(pairs.batch(torch.tensor([9])).picture)
    off = (codes[pairs.picture_of[9]][None].float() - own).abs().mean()
    assert off < (codes[pairs.picture_of[8]][None].float() - own).abs().mean() / 3


def test_the_condition_is_left_out_now_and_then_and_a_code_is_learnt(data):
    r = changed(tiny('S2I-flow'), drop=1.)
    with seeded(0): task = FlowTask(r, data['train'], encoder_of_moments(SOUND, r.encoder, data['train'].classes), Codec(PICTURE, 4, 4).eval())
    run = fit(task, steps=12, quiet=True)
    assert run.nets['F'].none.abs().max() > 0
    assert describe(task)['recipe']['drop'] == 1 and 'steps' not in describe(task)['recipe']


def test_an_exact_velocity_has_no_loss_and_ends_at_the_data():
    z, x, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([.1, .5, .9])
    loss, end = line_loss(lambda place, t, told: x - z, z, x, t, None, SimpleNamespace(autocast=nullcontext))
    assert loss == 0 and torch.allclose(end, x, atol=1e-5)


def test_the_pose_at_the_end_of_a_line_is_part_of_the_loss():
    world = orchestra_pairs('small', progress=False)['train']
    pose = own_pose(world)
    for k in world.labels.unique(): assert pose[world.labels == k].mean(0).abs().max() < 1e-3 and pose[world.labels == k].std(0).max() <= 1
    recipe = changed(tiny('S2I-flow'), pose=3.)
    with seeded(0): task = FlowTask(recipe, world, encoder_of_moments(SOUND, recipe.encoder, world.classes), Codec(PICTURE, 4, 4).eval())
    assert reader_for(FlowTask(changed(recipe, pose=0.), world, task.E, task.codec), steps=2, quiet=True) is None
    shown = .1 * torch.randn(len(world), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    shown.flatten(1)[:, :24] = 3 * pose      # codes in which the pose can be read
    reading = fit(ReaderTask(world, shown, torch.arange(len(world))), steps=40, quiet=True, log_every=1, precision='fp32')
    mean = lambda part: sum(h['loss'] for h in part) / len(part)
    assert mean(reading.history[-5:]) < mean(reading.history[:5])
    task.reader = reader_for(task, steps=3, quiet=True)
    assert isinstance(task.reader, CodeReader) and not any(p.requires_grad for p in task.reader.parameters())
    assert fit(task, steps=3, quiet=True, log_every=1).history[-1]['pose'] > 0


def test_straightened_walks_end_where_they_did(data):
    run = small_flow()
    torch.nn.init.normal_(run.F.last.weight, std=.3)
    straight = straighten(run, data['train'], steps=60, count=64, quiet=True)
    told, z = run.code(data['test'].batch(torch.arange(16)).sound), run.noise(16, 3)
    end = run.walk(told, z)
    off = lambda a: (a - end).square().mean().item()
    assert off(straight.walk(told, z, steps=1)) < off(run.walk(told, z, steps=1))
    assert straight.recipe.guide == 1 and straight.recipe.walk == 2 and straight.meta['straightened']['steps'] == 60


def test_a_codec_of_the_wrong_side_is_refused(data):
    with pytest.raises(ValueError, match='give their codec'):
        FlowTask(tiny('S2I-flow'), data['train'], encoder_of_moments(SOUND, MOMENT, 'abc'), Codec(SOUND, 4, 4))


def test_a_run_is_kept_opened_and_scored(data, tmp_path):
    run = train_flow(tiny('S2I-flow'), data, tmp_path, budget='test', opened=dict(data='elsewhere'), quiet=True)   # other data: a codec of its own
    again = load_run(tmp_path)
    given = data['test'].batch(torch.arange(4)).sound
    assert (again.make(given) - run.make(given)).abs().mean() < .01 and again.meta['codec']['packaged'] is False
    assert again.recipe.told == 'moment' and again.F.none.shape == (moment_size(again.classes),)
    rows = evaluate_run(again, data)
    assert rows[0].metric == 'balanced_accuracy' and rows[0].system == 'S2I-flow' and rows[0].direction == 'sound → picture'


def test_data_without_notes_are_told_the_code(data, tmp_path):
    for pairs in data.values(): pairs.truth.clear()
    train_flow(tiny('S2I-flow'), data, tmp_path, budget='test', opened=dict(data='elsewhere'), quiet=True)
    run = load_run(tmp_path)
    assert run.recipe.told == 'code' and run.code(torch.zeros(1, *SOUND.shape)).shape == (1, run.recipe.encoder.phi)


def test_the_family_is_found_by_its_name():
    assert family_of(dict(family='flow')).nets is flow_nets and trainer_of('I2S-flow')[1] is train_flow


def test_another_codec_than_the_packages_is_noticed():
    run = small_flow()
    meta = dict(recipe=run.meta['recipe'], classes=list('abc'), codec=dict(size=[64, 64], code=16, width=32, packaged=True, identity='other'))
    with pytest.raises(ValueError, match='another codec'): flow_of(run.nets, meta)
    codec = package_codec('picture')
    assert flow_of(run.nets, meta | dict(codec=meta['codec'] | dict(identity=nets_identity(codec)))).codec.shape == codec.shape


@pytest.mark.parametrize('name', FLOWS)
def test_shipped_flows_answer(name):
    run = shipped(name)
    made = run.make(torch.zeros(1, *run.source.shape))
    assert made.shape == (1, *run.target.shape) and made.isfinite().all()


def test_whatever_a_net_holds_is_in_its_file():
    "Nets of files are built empty: a buffer that is not kept would be whatever lay in memory."
    for run in (small_flow(), small_flow('I2S-flow')):
        for net in (run.E, run.F, run.codec): assert set(dict(net.named_buffers())) <= set(net.state_dict())


def test_the_velocity_depends_on_time_after_loading():
    run = shipped('S2I-flow')
    told, x = run.code(torch.zeros(1, *SOUND.shape)), run.noise(1, 0)
    with torch.no_grad(): early, late = (run.velocity(told, 1)(x, t) for t in (.1, .9))
    assert (early - late).abs().mean() > .05 * early.abs().mean()
