"""One S2I training step, width 64, batch 64, beside a plain float32 loop of the same nets.

The plain loop is what one writes first: it runs the discriminator on the real pair, on the wrong pair and on the fake pair,
and lets autograd work out every gradient. The package's step sends each real picture through the discriminator's trunk once,
works out only the gradients it uses, keeps pictures channels-last, and takes the precision that this machine is fast at."""
import copy
import statistics

import torch

from benchmarks.data import made_up_pairs
from benchmarks.measure import Row, seconds, show_time, side_by_side

STEPS = 3   # in one turn


def game(pairs, width=64, batch=64, kind=None):
    "The paper's S2I, untrained, on the best device there is."
    from avgen_nb.cgan import CHEN_S2I, CrossModalGAN, encoder_for
    from avgen_nb.nets import PICTURE, SOUND
    from avgen_nb.loop import pick_device
    from avgen_nb.runs import changed
    torch.manual_seed(0)
    recipe, device = changed(CHEN_S2I, game=dict(width=width, batch=batch)), pick_device()
    encoder = encoder_for(SOUND, recipe.encoder, pairs.classes)
    task = (kind or CrossModalGAN)(SOUND, PICTURE, recipe, encoder.to(device), pairs.to(device))
    for net in task.nets.values(): net.to(device)
    return task


def train(task, steps=STEPS):
    "The package's own loop, data included."
    from avgen_nb.many import fit
    return fit(task, steps=steps, quiet=True, log_every=1000, sample_every=1000)


class PlainLoop:
    "The same nets from the same weights, float32, three passes of D, no care taken."
    def __init__(self, task):
        self.E, self.G, self.D = (copy.deepcopy(n).to(memory_format=torch.contiguous_format) for n in (task.E, task.nets['G'], task.nets['D']))
        self.recipe, self.pairs, self.generator = task.recipe.game, task.pairs, torch.Generator().manual_seed(0)
        self.opt_g = torch.optim.Adam(self.G.parameters(), self.recipe.rates[0], self.recipe.betas)
        self.opt_d = torch.optim.Adam(self.D.parameters(), self.recipe.rates[1], self.recipe.betas)

    def draw(self):
        "A batch with the codes of its own sounds and of wrong ones."
        index = self.pairs.draw(self.recipe.batch, self.generator)
        other = self.pairs.draw_wrong(index, self.generator)
        real = self.pairs.pictures[self.pairs.picture_of[index]].float() / 127.5 - 1
        with torch.no_grad(): phi, wrong = (self.E.code(self.pairs.sounds[self.pairs.sound_of[i]].float()) for i in (index, other))
        return real, phi, wrong, torch.randn(len(real), self.recipe.z, generator=self.generator).to(real.device)

    def step(self, batch):
        "One step of D, one of G."
        real, phi, wrong, z = batch
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        fake = self.G(torch.cat([phi, z], 1))
        s_r, s_w, s_f = self.D(real, phi), self.D(real, wrong), self.D(fake.detach(), phi)
        one, nought = torch.ones_like(s_r), torch.zeros_like(s_r)
        loss_d = bce(s_r, one) + (bce(s_w, nought) + bce(s_f, nought)) / 2
        self.opt_d.zero_grad(); loss_d.backward(); self.opt_d.step()
        loss_g = bce(self.D(fake, phi), one)
        self.opt_g.zero_grad(); loss_g.backward(); self.opt_g.step()
        return dict(D=loss_d.item(), G=loss_g.item())

    def train(self, steps=STEPS):
        for _ in range(steps): self.step(self.draw())


def losses_differ(pairs):
    "Largest relative difference of the two steps' first losses, from the same weights, pictures, codes and noise."
    from avgen_nb.cgan import CrossModalGAN, mismatched

    class Watched(CrossModalGAN):
        def step(self, batch, loop):
            state, (real, phi, label) = loop.generator.get_state(), batch
            wrong, z = phi[mismatched(label, loop.generator)], loop.randn(len(phi), self.recipe.game.z)
            self.seen = real.contiguous(), phi.float(), wrong.float(), z
            loop.generator.set_state(state)
            self.losses = super().step(batch, loop)
            return self.losses

    task = game(pairs, kind=Watched)
    plain = PlainLoop(task)
    train(task, 1)
    theirs = plain.step(task.seen)
    return max(abs(float(task.losses[k]) / theirs[k] - 1) for k in theirs)


def s2i_step(rounds):
    pairs = made_up_pairs(1300)
    differ = losses_differ(pairs)
    task = game(pairs)
    plain, precision = PlainLoop(task), train(task, 1).precision
    a, b, ratio = side_by_side(lambda: train(task), plain.train, 2 * rounds)
    return Row('s2i-step', f'S2I training step, width 64, batch 64, {precision} (losses differ by {100*differ:.2g} %)', show_time(a / STEPS),
               f'plain float32 loop, D three times: {show_time(b / STEPS)}', f'{ratio:.2f}×', 'at least 1.8×', ratio, ratio >= 1.8)


def data_share(rounds):
    task = game(made_up_pairs(14_000))
    pairs, n, g = task.pairs, task.recipe.game.batch, torch.Generator().manual_seed(0)
    fetch = lambda: pairs.batch(pairs.draw(n, g), g)
    train(task, 1), fetch()
    times = [(seconds(fetch), seconds(lambda: train(task)) / STEPS) for _ in range(2 * rounds)]
    part, whole = map(statistics.median, zip(*times))
    share = statistics.median(d / s for d, s in times)
    return Row('data-share', 'drawing and fetching a batch, as a share of the S2I step', show_time(part),
               f'whole step: {show_time(whole)}', f'{100*share:.1f} %', 'under 5 %', share, share < .05)
