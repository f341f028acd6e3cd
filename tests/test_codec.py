"Codecs: shapes of any size, terms by hand, training that resumes, files that are refused."
import pytest
import torch
from torch.nn import functional as F

from avgen_nb.codec import CODECS, Codec, CodecRecipe, CodecTask, PatchDiscriminator, Reconstruction, feature_maps, load_codec, notes_kept
from avgen_nb.codec import package_codec, perceptual_loss, save_codec, slope_loss, slow_cosine, train_codec
from avgen_nb.files import save_nets
from avgen_nb.loop import seeded
from avgen_nb.nets import PICTURE, SOUND, Encoder, Modality
from avgen_nb.training import fit
from test_cgan import made_up_pairs

SMALL = CodecRecipe('picture', code=4, width=4, batch=8, seen=0., critic_from=.5)


@pytest.mark.parametrize('modality', (PICTURE, SOUND, PICTURE.at(128), PICTURE.at(50, 70), Modality('third', 2, (24, 31), vary=None)))
def test_any_size_comes_back_at_its_size(modality):
    codec, x = Codec(modality, 4, 4).eval(), torch.rand(2, *modality.shape)
    assert codec.encode(x).shape == (2, *codec.shape) and codec(x).shape == x.shape


def test_the_code_has_mean_0_and_deviation_1_and_remembers_them():
    x = made_up_pairs().batch(torch.arange(48)).picture
    codec = Codec(PICTURE, 4, 4).train()
    for _ in range(800): code = codec.encode(x)
    assert code.mean((0, 2, 3)).abs().max() < 1e-4 and (code.std((0, 2, 3)) - 1).abs().max() < .1
    assert torch.allclose(codec.eval().encode(x), code, atol=.1)


def test_slope_loss_by_hand():
    a, b = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0., 1.], [0., 1.]]]])
    assert slope_loss(a, b).item() == 1          # both differences across are off by 1, both down by 0
    assert slope_loss(b, b) == 0


def test_perceptual_loss_teaches_what_was_made_and_not_the_encoder():
    E = Encoder(PICTURE, 3).eval().requires_grad_(False)
    x, made = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64, requires_grad=True)
    perceptual_loss(E, made, x).backward()
    assert made.grad.abs().sum() > 0 and all(p.grad is None for p in E.parameters())
    assert len(feature_maps(E, x, 2)) == 2


def test_the_discriminator_pulls_at_most_its_share():
    with seeded(0): task = CodecTask(SMALL, made_up_pairs())
    x = torch.rand(4, 3, 64, 64)
    made = x.clone().add_(.1).requires_grad_()
    loss = (made - x).abs().mean()
    class Still:   # a loop that changes nothing
        def update(self, *_, **__): pass
        def autocast(self): return torch.autocast('cpu', enabled=False)
    own, = torch.autograd.grad(loss, made, retain_graph=True)
    both, = torch.autograd.grad(task.criticised(loss, made, x, Still()), made)
    assert (both - own).norm().item() == pytest.approx(SMALL.critic * own.norm().item(), rel=1e-3)


def test_training_is_repeatable_and_resumes(tmp_path):
    pairs, run = made_up_pairs(), dict(average=.9, quiet=True, save_steps=3, precision='fp32')
    def task():
        with seeded(0): return CodecTask(SMALL, pairs)
    whole = fit(task(), steps=6, **run)
    class Killed(RuntimeError): pass
    cut = task()
    step, seen = cut.step, []
    def dies(batch, loop):
        seen.append(0)
        if len(seen) == 5: raise Killed
        return step(batch, loop)
    cut.step = dies
    with pytest.raises(Killed): fit(cut, steps=6, out=tmp_path, **run)
    again = fit(task(), steps=6, out=tmp_path, resume=True, **run)
    assert all(torch.equal(a, b) for a, b in zip(whole.averages['C'].state_dict().values(), again.averages['C'].state_dict().values()))


def test_a_recipe_that_sees_wants_an_eye():
    with pytest.raises(ValueError, match='give eye='): CodecTask(CODECS['picture'], made_up_pairs())


def test_a_file_that_holds_no_codec_is_refused(tmp_path):
    save_nets(tmp_path/'x.safetensors', dict(P=PatchDiscriminator(PICTURE, 4)), {})
    with pytest.raises(ValueError, match='holds no codec'): load_codec(tmp_path/'x.safetensors')


def test_a_codec_is_scored_as_a_model():
    codec = Codec(PICTURE, 4, 4).eval()
    run, x = Reconstruction(codec, ('a',)), torch.rand(3, 3, 64, 64)
    assert torch.equal(run.make(x), codec(x).clamp(-1, 1)) and run.source is run.target


def test_notes_kept_asks_only_for_those_in_tune_before():
    true = torch.tensor([60., 60, 60, 60, torch.nan])
    before = torch.tensor([60.2, 61, torch.nan, 60, 50])
    assert notes_kept(before, torch.tensor([60., 60, 60, 62, 50]), true) == .5


def test_slow_cosine_rises_and_falls():
    rates = [slow_cosine(k / 1000) for k in range(1001)]
    assert max(rates) <= 1.001 and rates.index(max(rates)) < 20 and rates[-1] < .06 and rates[0] > 0


@pytest.mark.parametrize('name, most', (('picture', .065), ('sound', .05)))
def test_the_packages_codecs_keep_what_they_never_met(name, most):
    from avgen_nb.explorer import play_pair
    codec = package_codec(name)
    x = torch.cat([getattr(play_pair(i, p, who=991), name) for i, p in (('cello', 50), ('flute', 80), ('trumpet', 70))])
    made = codec(x)
    assert (made - x).abs().mean() < most < (F.avg_pool2d(x, 9, 1, 4) - x).abs().mean()
