"Nets: shapes, one trunk pass, and that both modalities go through the same classes."
import time

import pytest
import torch

from avgen_nb.nets import (CHEN_PICTURE, CHEN_SOUND, DEEP, PICTURE, SOUND, Decoder, Discriminator, Encoder, Modality,
                           conv_plan, hide, recolour, shake, vary_pictures, vary_sounds)
from avgen_nb.pairs import orchestra_pairs
from avgen_nb.sound import lms, lms_to_wave, pitches_of, tone
from torch.nn import functional as F

BOTH = pytest.mark.parametrize('modality', (PICTURE, SOUND), ids=lambda m: m.name)


@BOTH
def test_a_ladder_ends_at_the_full_size_and_never_more_than_doubles(modality):
    sizes = modality.ladder()
    assert sizes[-1] == modality.size and len(sizes) == 5
    for (a, b), (c, d) in zip(sizes, sizes[1:]): assert a < c <= 2 * a and b < d <= 2 * b


@pytest.mark.parametrize('size', [(64, 64), (128, 44), (128, 128), (100, 37)])
def test_the_decoder_makes_any_size(size):
    made = Decoder(Modality('picture', 3, size, vary_pictures), width=4)(torch.randn(2, 74))
    assert made.shape == (2, 3, *size) and made.abs().max() <= 1


@BOTH
def test_paper_width_gives_512_channels_at_the_joint(modality):
    D = Discriminator(modality)
    h = D.trunk(torch.zeros(1, *modality.shape))
    assert h.shape[1] == 512 and D.join[0].in_channels == 512 + 64
    assert Decoder(modality).ups[0].conv.in_channels == 512


@BOTH
@pytest.mark.parametrize('spectral', (False, True))
def test_trunk_then_head_is_the_discriminator(modality, spectral):
    D = Discriminator(modality, width=8, spectral=spectral).eval()
    x, phi = torch.randn(3, *modality.shape), torch.randn(3, 64)
    assert torch.equal(D.head(D.trunk(x), phi), D(x, phi)) and D(x, phi).shape == (3,)


def test_the_score_depends_on_picture_and_code_together():
    torch.manual_seed(0)
    D = Discriminator(PICTURE, width=8).eval()
    x, phi = torch.randn(2, *PICTURE.shape), torch.randn(2, 64)
    s = torch.stack([D(x[i:i+1], phi[j:j+1])[0] for i in range(2) for j in range(2)]).view(2, 2)
    assert (s[0, 0] - s[0, 1] - s[1, 0] + s[1, 1]).abs() > 1e-5        # an interaction, not a sum of two terms


def test_spectral_norm_bounds_every_layer_of_the_discriminator():
    D = Discriminator(PICTURE, width=8, spectral=True)
    for _ in range(60): D(torch.randn(4, *PICTURE.shape), torch.randn(4, 64))
    norms = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in D.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(norms) == 6 and max(norms[:-1]) < 1.05


@BOTH
@pytest.mark.parametrize('plan', (CHEN_SOUND, CHEN_PICTURE, DEEP), ids=('chen sound', 'chen picture', 'deep'))
def test_encoders_give_64_numbers(modality, plan):
    E = Encoder(modality, 5, plan, hidden=(16, 8), keep=(.7, .8)).eval()
    x = torch.randn(2, *modality.shape)
    assert E.code(x).shape == (2, 64) and E(x).shape == (2, 5)


def test_a_plan_strides_pools_and_widens():
    assert conv_plan((4, 'M', '8/2', 6), 3, norm=False)(torch.zeros(1, 3, 16, 16)).shape == (1, 6, 4, 4)


def test_variations_keep_shape_range_and_device_and_follow_the_generator():
    x = torch.rand(6, *PICTURE.shape) * 2 - 1
    a, b, c = (vary_pictures(x, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == x.shape and a.abs().max() <= 1
    none = torch.zeros(6, 10)
    assert torch.allclose(shake(x, none[:, :4]), x, atol=1e-5)
    assert torch.allclose(recolour(x, none), x) and torch.equal(hide(x, none[:, :3]), x)


def test_a_hidden_square_is_grey_and_no_larger_than_said():
    x = torch.ones(1, 3, 64, 64)
    y = hide(x, torch.tensor([[0., 0., 1.]]))
    assert 300 < (y[0, 0] == 0).sum() <= 400 and (y[0, 0, 0] == 1).all()


# ---- how sounds vary
def many(n=64): return lms(torch.stack([tone(45 + i % 40) * (.1 + i % 7 / 10) for i in range(n)]))


def test_augmentation_is_deterministic_bounded_and_off_at_zero():
    x, g = many(), lambda: torch.Generator().manual_seed(3)
    y = vary_sounds(x, g())
    assert torch.equal(vary_sounds(x, g(), 0.), x) and torch.equal(y, vary_sounds(x, g()))
    assert y.shape == x.shape and y.dtype == x.dtype and y.abs().max() <= 1 and torch.isfinite(y).all()
    assert vary_sounds(x.half(), g()).dtype == torch.float16
    assert len({round(float(v.mean()), 5) for v in y}) == len(y), 'every clip has its own place'


def test_augmentation_grows_with_its_strength():
    x = many()
    far = [float((vary_sounds(x, torch.Generator().manual_seed(1), s) - x).abs().mean()) for s in (.05, .3, 1.)]
    assert far[0] < far[1] < far[2] and far[0] < .1


def test_augmentation_never_changes_the_input_or_other_randomness():
    x, state = many(4), torch.get_rng_state()
    before = x.clone()
    vary_sounds(x, torch.Generator().manual_seed(0), 2.)
    assert torch.equal(x, before) and torch.equal(torch.get_rng_state(), state)


def test_augmented_notes_stay_near_their_pitch():
    keys = torch.arange(60., 90, 2)
    x = vary_sounds(lms(torch.stack([tone(m) * .5 for m in keys])), torch.Generator().manual_seed(0))
    off = (pitches_of(lms_to_wave(x)) - keys).abs()
    assert (off < 1.3).float().mean() > .8, off


def test_augmentation_is_fast():
    x, g, spent = many(), torch.Generator().manual_seed(0), []
    for _ in range(8):
        start = time.process_time(); vary_sounds(x, g); spent.append(time.process_time() - start)
    assert min(spent) < .05, f'{1000 * min(spent):.0f} ms of processor time for 64 clips'


# ---- sizes
def test_a_size_is_a_value_and_64_is_what_it_was():
    assert PICTURE.at(64) == PICTURE and PICTURE.at(128).shape == (3, 128, 128) and SOUND.at(128, 87).shape == (1, 128, 87)
    assert PICTURE.at(128).vary is PICTURE.vary and SOUND.at(128, 87).hear is SOUND.hear
    assert [PICTURE.at(s).rungs for s in (16, 32, 64, 96, 128, 256)] == [2, 3, 4, 5, 5, 6] and SOUND.rungs == 4
    assert [PICTURE.at(s).widths() for s in (32, 64, 128)] == [[4, 2, 1], [8, 4, 2, 1], [8, 8, 4, 2, 1]]
    assert [tuple(m.weight.shape) for m in Decoder(PICTURE, width=2).ups.modules() if hasattr(m, 'weight') and m.weight.dim() == 4] == \
        [(16, 8, 4, 4), (8, 4, 4, 4), (4, 2, 4, 4), (2, 3, 4, 4)]


@pytest.mark.parametrize('size', [(32, 32), (64, 64), (96, 96), (128, 128), (128, 87)])
def test_every_net_reads_and_makes_every_size(size):
    m, code = PICTURE.at(*size), torch.randn(2, 74)
    x, D = Decoder(m, width=2)(code), Discriminator(m, width=2, spectral=True)
    assert x.shape == (2, *m.shape) and D(x, torch.randn(2, 64)).shape == (2,) and min(D.trunk(x).shape[-2:]) in (2, 3, 4)
    assert Encoder(m, 13)(x).shape == (2, 13) and Encoder(m, 13, CHEN_PICTURE, norm=False)(x).shape == (2, 13)


def test_the_encoder_is_no_larger_at_128():
    count = lambda m: sum(p.numel() for p in Encoder(m, 13).parameters())
    assert count(PICTURE.at(128)) == count(PICTURE)


def test_variation_is_the_same_at_every_size():
    from avgen_nb.players import Moment, draw_look, draw_player
    x = {s: torch.tensor(draw_player('cello', Moment(50.), draw_look('cello', 1), s)).permute(2, 0, 1)[None] / 127.5 - 1 for s in (64, 128)}
    a, b = (vary_pictures(v.repeat(8, 1, 1, 1), torch.Generator().manual_seed(4)) for v in x.values())
    assert (F.avg_pool2d(b, 2) - a).abs().mean() < .08 < (F.avg_pool2d(b, 2) - a.flip(0)).abs().mean()
    hidden = [(hide(torch.ones(1, 3, s, s), torch.tensor([[0., 0., 1.]])) == 0).float().mean() for s in (64, 128)]
    assert abs(hidden[0] - hidden[1]) < .01


@pytest.mark.parametrize('pixels', [64, 128])
def test_encoder_generator_and_discriminator_learn_at_every_size(pixels):
    "Ten steps each on real pictures of one batch: the losses fall."
    pairs = orchestra_pairs('small', progress=False, pixels=pixels)['train']
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        m, batch = PICTURE.at(pixels), pairs.batch(torch.arange(0, len(pairs), 26))
        assert batch.picture.shape[1:] == m.shape
        E, G, D = Encoder(m, 13), Decoder(m, 64, width=4), Discriminator(m, width=4)
        def learn(nets, loss, steps=10):
            optimizer, losses = torch.optim.Adam([p for n in nets for p in n.parameters()], 2e-3), []
            for _ in range(steps): optimizer.zero_grad(); value = loss(); value.backward(); optimizer.step(); losses.append(value.item())
            return losses
        named = learn([E], lambda: F.cross_entropy(E(batch.picture), batch.label))
        phi = E.eval().code(batch.picture).detach()
        shown = learn([G], lambda: (G(phi) - batch.picture).abs().mean())
        told = learn([D], lambda: F.softplus(-D(batch.picture, phi)).mean() + F.softplus(D(G(phi).detach(), phi)).mean())
    for losses in (named, shown, told): assert sum(losses[-3:]) < .9 * sum(losses[:3]), (losses, pixels)


@pytest.mark.parametrize('modality', (PICTURE, SOUND))
def test_a_decoder_may_double_its_maps_by_repeating(modality):
    G = Decoder(modality, width=4, resize=True)
    assert not [m for m in G.modules() if isinstance(m, torch.nn.ConvTranspose2d)] and G(torch.randn(2, 74)).shape == (2, *modality.shape)
