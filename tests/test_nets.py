"Nets: shapes, one trunk pass, and that both modalities go through the same classes."
import pytest
import torch

from avgen_nb.nets import (CHEN_PICTURE, CHEN_SOUND, DEEP, PICTURE, SOUND, Decoder, Discriminator, Encoder, Modality,
                           conv_plan, hide, recolour, shake, vary_pictures)

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
