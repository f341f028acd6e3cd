"The game of Chen et al. against hand-computed cases, and runs that are kept, opened and scored."
import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from avgen_nb import cgan, metrics, pairs as pairs_module
from avgen_nb.cgan import RECIPES, CrossModalGAN, Generator, gan_cls_d, gan_cls_g, hinge_d, hinge_g, mismatched
from avgen_nb.nets import MODALITIES, PICTURE, SOUND
from avgen_nb.pairs import Pairs
from avgen_nb.runs import Schedule, changed, evaluate_run, load_run, marks_of, numbers_of, open_data, over, recipe_from
from avgen_nb.training import fit
from avgen_nb.loop import seeded
from avgen_nb.many import fit

N, CLASSES = 48, ('flute', 'tuba', 'violin')
TINY = dict(encoder=dict(hidden=(16,), keep=(.8,), plan=('8/2', '8/2'), norm=True, steps=Schedule(3, 3, 3)),
            game=dict(width=4, batch=12, steps=Schedule(3, 3, 3)))


def made_up_pairs(seed=0, n=N, first_song=0):
    g = torch.Generator().manual_seed(seed)
    label, every = torch.arange(n) % 3, torch.arange(n)
    sounds = (torch.rand(n, 1, 128, 44, generator=g) - 1 + .4 * label[:, None, None, None]).clamp(-1, 1)
    pictures = (torch.rand(n, 3, 64, 64, generator=g) * 80 + 80 * label[:, None, None, None]).to(torch.uint8)
    return Pairs(pictures, sounds.half(), label, label, first_song + every // 8 * 3 + label, CLASSES, every, every, truth=dict(pitch=(50 + 2 * (every % 8)).float()))


@pytest.fixture
def data():
    return dict(train=made_up_pairs(0), dev=made_up_pairs(1, first_song=100), test=made_up_pairs(2, first_song=200))


def tiny(name): return changed(RECIPES[name], **TINY)


def test_d_loss_is_the_papers_by_hand():
    s_r, s_w, s_f = torch.tensor([2.]), torch.tensor([-1.]), torch.tensor([.5])
    S = lambda s: 1 / (1 + math.exp(-s))
    by_hand = -math.log(S(2)) - .5 * (math.log(1 - S(-1)) + math.log(1 - S(.5)))
    assert gan_cls_d(s_r, s_w, s_f).item() == pytest.approx(by_hand, rel=1e-5)
    assert gan_cls_g(s_f).item() == pytest.approx(-math.log(S(.5)), rel=1e-5)


def test_without_the_mismatch_the_fake_counts_whole():
    s_r, s_f = torch.tensor([2.]), torch.tensor([.5])
    by_hand = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(.5))
    assert gan_cls_d(s_r, None, s_f).item() == pytest.approx(by_hand, rel=1e-5)


def test_hinge_by_hand():
    s = torch.tensor
    assert hinge_d(s([.25]), s([-2.]), s([.5])).item() == pytest.approx(.75 + .5 * (0 + 1.5))
    assert hinge_g(s([.5, 1.5])).item() == -1


def test_mismatches_are_of_another_class_and_uniform():
    labels = torch.tensor([0] * 2 + [1] * 3 + [2] * 5)
    g = torch.Generator().manual_seed(0)
    draws = torch.stack([mismatched(labels, g) for _ in range(4000)])
    assert (labels[draws] != labels).all()
    share = torch.bincount(draws[:, 0], minlength=10)[2:] / 4000      # item 0 may meet items 2..9
    assert (share - 1 / 8).abs().max() < .025


def test_a_batch_of_one_class_has_no_mismatch():
    with pytest.raises(ValueError, match='two labels'): mismatched(torch.zeros(4, dtype=torch.long), torch.Generator())


def test_another_pose_is_some_semitones_away():
    pitch = torch.tensor([60., 61., 62., 63., 65., 0.])      # 0: a rest
    g = torch.Generator().manual_seed(0)
    draws = torch.stack([mismatched(pitch, g, 3) for _ in range(400)])
    assert ((pitch[draws] - pitch).abs() >= 3).all()
    assert set(draws[:, 0].tolist()) == {3, 4, 5} and set(draws[:, 5].tolist()) == {0, 1, 2, 3, 4}


def test_where_no_pose_is_far_enough_the_farthest_will_do():
    draws = mismatched(torch.tensor([60., 61., 62.]), torch.Generator().manual_seed(0), 3)
    assert draws[0] == 2 and draws[2] == 0 and draws[1] in (0, 2)


def test_a_pose_oriented_game_needs_one_instrument_that_exists(data, tmp_path):
    with pytest.raises(ValueError, match="one instrument.*only='flute'"): cgan.train_run('S2I-pose+guide', data, tmp_path)
    with pytest.raises(ValueError, match="no instrument 'lyre'.*tuba"): cgan.train_run('S2I-pose+guide', data, tmp_path, only='lyre')
    assert (cgan.game_pairs(RECIPES['S2I-pose+guide'], data['train'], 'tuba').labels == 1).all()


def test_an_encoder_that_aims_at_the_pitch_needs_the_pitch(data):
    with pytest.raises(ValueError, match="aim='instrument'"): cgan.EncoderTask(SOUND, tiny('S2I-pose+guide').encoder, replace(data['train'], truth={}))


def test_without_known_pitch_another_song_is_another_pose(data):
    pairs = replace(data['train'], truth={})
    batch = pairs.batch(torch.arange(len(pairs)))
    w = mismatched(cgan.pitch_in(pairs, batch), torch.Generator().manual_seed(0), 3)
    assert (pairs.songs[w] != pairs.songs).all()


def test_encoders_of_two_aims_are_not_taken_for_one_another(data, tmp_path):
    one, other = (dict(recipe=tiny(name).encoder, data=data, out=tmp_path, steps=2, resume=True, quiet=True) for name in ('S2I-C+guide', 'S2I-pose+guide'))
    cgan.train_encoder(SOUND, **one)
    with pytest.raises(ValueError, match="another run.*recipe aim is 'instrument', not 'pitch'"): cgan.train_encoder(SOUND, **other)


def test_naming_loss_by_hand():
    logits, recipe = torch.zeros(1, 3 + 128), RECIPES['S2I-pose+guide'].encoder
    assert cgan.naming_loss(logits, torch.tensor([1]), torch.tensor([60.]), recipe).item() == pytest.approx(math.log(3) + math.log(128), rel=1e-5)
    assert cgan.naming_loss(logits[:, :3], torch.tensor([1]), None, RECIPES['S2I-C+guide'].encoder).item() == pytest.approx(math.log(3), rel=1e-5)


def test_every_number_of_a_recipe_survives_json():
    for recipe in RECIPES.values():
        assert recipe_from(cgan.Recipe, json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_number_that_is_not_known_is_named_in_whichever_part_it_is():
    known = asdict(RECIPES['S2I-C'])
    for part, values in ((None, known), ('encoder', known['encoder']), ('game', known['game'])):
        told = known | ({part: values | dict(tempo=3)} if part else dict(tempo=3))
        with pytest.raises(ValueError, match='its recipe has tempo, which .* install a newer one$'): recipe_from(cgan.Recipe, told)


def test_every_number_says_where_it_comes_from_and_what_is_told_is_all_but_the_steps():
    for recipe in RECIPES.values():
        told, marked = numbers_of(recipe), {name for name, *_ in marks_of(recipe)}
        assert {f'{part} {name}' for part in ('encoder', 'game') for name in asdict(recipe)[part]} == marked
        assert marked - {f'{part} {name}' for part in ('encoder', 'game') for name in told[part]} == {'encoder steps', 'game steps'}
        longer = changed(recipe, encoder=dict(steps=Schedule(1, 2, 3)), game=dict(steps=Schedule(1, 2, 3)))
        assert numbers_of(longer) == told and longer != recipe


def test_the_papers_recipe_has_the_papers_numbers():
    paper = RECIPES['S2I-C']
    assert (paper.encoder.phi, paper.game.z, 8 * paper.game.width, paper.game.loss, paper.game.mismatch) == (64, 10, 512, 'gan-cls', True)
    assert RECIPES['S2I-N+guide'] == changed(RECIPES['S2I-C+guide'], name='S2I-N+guide', game=dict(mismatch=False))
    assert (RECIPES['I2S+guide'].source, RECIPES['I2S+guide'].target) == (RECIPES['S2I-C+guide'].target, RECIPES['S2I-C+guide'].source)


def test_an_unknown_recipe_or_budget_names_the_known():
    with pytest.raises(ValueError, match="no recipe 'S2I-X'.*S2I-C"): cgan.recipe_named('S2I-X')
    with pytest.raises(ValueError, match="no budget 'week'.*cpu"): RECIPES['I2S+guide'].encoder.steps.under('week')


@pytest.mark.parametrize('name', list(RECIPES))
def test_one_step_of_the_game_moves_g_and_d_and_not_the_encoder(name, data):
    recipe = tiny(name)
    source, target = MODALITIES[recipe.source], MODALITIES[recipe.target]
    E, guide = (cgan.encoder_for(m, recipe.encoder, CLASSES) for m in (source, target))
    game = CrossModalGAN(source, target, recipe, E, data['train'], guide if recipe.game.guide else None)
    before = {k: [p.clone() for p in n.parameters()] for k, n in dict(game.nets, E=E).items()}
    stats = [b.clone() for b in E.buffers()]
    run = fit(game, steps=1, quiet=True, average=recipe.game.average)
    moved = {k: any(not torch.equal(a, b) for a, b in zip(before[k], n.parameters())) for k, n in dict(game.nets, E=E).items()}
    assert moved == dict(G=True, D=True, E=False)
    assert all(torch.equal(a, b) for a, b in zip(stats, E.buffers()))
    assert set(run.averages) == ({'G'} if recipe.game.average else set())


def test_a_recipe_with_a_guide_needs_one(data):
    recipe = tiny('I2S+guide')
    E = cgan.encoder_for(PICTURE, recipe.encoder, CLASSES)
    with pytest.raises(ValueError, match='guide'): CrossModalGAN(PICTURE, SOUND, recipe, E, data['train'])


def test_a_code_of_one_length():
    recipe = tiny('S2I-C+guide')
    game = CrossModalGAN(SOUND, PICTURE, recipe, cgan.encoder_for(SOUND, recipe.encoder, CLASSES))
    phi = game.code(torch.randn(5, *SOUND.shape))
    assert torch.allclose(phi.norm(dim=1), torch.full((5,), 8.), atol=1e-4)


@pytest.fixture
def quick_judge(monkeypatch):
    "A judge that need not be trained."
    from avgen_nb.judges import Judge
    def judge_of(data, target, budget='cpu', quiet=True):
        with seeded(0): return Judge(MODALITIES[target].channels, CLASSES, target, width=4).eval()
    monkeypatch.setattr(cgan, 'judge_of', judge_of)


@pytest.fixture
def no_items(monkeypatch):
    "Scoring without its slowest rows."
    monkeypatch.setattr(metrics, 'item_rows', lambda *a, **k: [])


def test_d_sees_real_and_made_varied_alike(data):
    recipe = changed(tiny('S2I-C+guide'), game=dict(seen_vary=.5, guide=0.))
    game = cgan.CrossModalGAN(SOUND, PICTURE, recipe, cgan.encoder_for(SOUND, recipe.encoder, data['train'].classes), data['train'])
    seen = []
    game.nets['D'].trunk.register_forward_pre_hook(lambda net, x: seen.append(x[0].detach()))
    run = fit(game, steps=1, quiet=True)
    real = data['train'].over(lambda batch: batch.picture)
    assert len(seen) == 3 and (seen[0][:, None] - real).abs().flatten(2).mean(2).min() > 1e-4, 'no picture is seen as it is'
    plain = changed(recipe, game=dict(seen_vary=0.))
    assert cgan.CrossModalGAN(SOUND, PICTURE, plain, game.E, data['train']).seen(real, run) is real


@pytest.mark.parametrize('name', ('S2I-C+guide', 'I2S+guide'))
def test_a_run_is_kept_opened_and_scored(name, data, tmp_path, quick_judge):
    made = cgan.train_run(tiny(name), data, tmp_path / 'run', budget='test', quiet=True)
    again = load_run(tmp_path / 'run')
    x = getattr(data['test'].batch(torch.arange(7)), made.source.name)
    assert torch.allclose(made.make(x), again.make(x), atol=1e-5)
    assert made.make(x).shape == (7, *made.target.shape)
    assert not torch.equal(again.make(x, seed=1), again.make(x, seed=2))
    assert torch.allclose(again.make(x, part=2), again.make(x), atol=1e-5)
    rows = evaluate_run(tmp_path / 'run', data)
    assert {'balanced_accuracy', 'kid_judge', 'diversity_within', 'near_copies', 'swd_level_0'} <= {r.metric for r in rows}
    assert ('periodicity' in {r.metric for r in rows}) == (made.target is SOUND)
    assert rows[0].low <= rows[0].value <= rows[0].high and rows[0].chance == pytest.approx(1 / 3)
    assert rows[0].steps == 3 and rows[0].system == name


def test_a_pose_oriented_run_is_kept_opened_and_scored(data, tmp_path, quick_judge, no_items):
    made = cgan.train_run(tiny('S2I-pose+guide'), data, tmp_path / 'run', budget='test', only='tuba', quiet=True)
    again = load_run(tmp_path / 'run')
    x = data['test'].batch(torch.arange(4)).sound
    assert torch.allclose(made.make(x), again.make(x), atol=1e-5) and again.meta['only'] == 'tuba'
    assert evaluate_run(again, data)[0].n == int((data['test'].labels == 1).sum())


def test_a_run_cut_off_and_resumed_is_the_run_left_alone(data, tmp_path, quick_judge, monkeypatch):
    whole = cgan.train_run(tiny('S2I-C+guide'), data, tmp_path / 'whole', budget='test', quiet=True)
    def cut(*a, **k): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(cgan.CrossModalGAN, 'step', cut)
        with pytest.raises(KeyboardInterrupt): cgan.train_run(tiny('S2I-C+guide'), data, tmp_path / 'cut', budget='test', quiet=True)
    assert not (tmp_path / 'cut' / 'model.safetensors').exists()
    on = cgan.train_run(tiny('S2I-C+guide'), data, tmp_path / 'cut', budget='test', resume=True, quiet=True)
    for a, b in zip(whole.G.state_dict().values(), on.G.state_dict().values()): assert torch.equal(a, b)


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match='no finished run'): load_run(tmp_path)


def test_sounds_without_pictures_are_refused():
    with pytest.raises(ValueError, match='go together'): open_data(sounds='somewhere')


def test_the_generator_is_deterministic_and_frozen(data):
    recipe = tiny('S2I-C+guide')
    E = cgan.encoder_for(SOUND, recipe.encoder, CLASSES)
    game = CrossModalGAN(SOUND, PICTURE, recipe, E)
    model = Generator(recipe, CLASSES, E, game.nets['G'])
    assert not any(p.requires_grad for p in (*model.E.parameters(), *model.G.parameters()))


def a_model(data, name='S2I-C+guide', meta=None):
    "An untrained model of tiny nets, and a judge of what it makes."
    from avgen_nb.judges import Judge
    recipe = tiny(name)
    torch.manual_seed(1)
    E, target = cgan.encoder_for(MODALITIES[recipe.source], recipe.encoder, CLASSES), MODALITIES[recipe.target]
    G = cgan.Decoder(target, recipe.encoder.phi + recipe.game.z, recipe.game.width)
    meta = dict(opened={}, seed=0, steps=3, minutes=.1, version='0') if meta is None else meta
    return Generator(recipe, CLASSES, E, G, Judge(target.channels, CLASSES, recipe.target, width=4).eval(), meta)


def test_no_two_pairs_share_their_z(data):
    "Pairs with the very same sound are made into different pictures, however many are made at a time."
    model, one = a_model(data), data['test'].subset(torch.zeros(600, dtype=torch.long))
    made = over(model, one, lambda x: x.flatten(1)[:, ::64], part=256)
    assert (made[:88] - made[512:]).abs().amax(1).min() > 1e-4 and (made[:256] - made[256:512]).abs().amax(1).min() > 1e-4
    assert torch.allclose(made, over(model, one, lambda x: x.flatten(1)[:, ::64], part=100), atol=1e-5)
    whole = model.make(one.batch(torch.arange(600)).sound).flatten(1)[:, ::64]
    assert torch.allclose(made, whole, atol=1e-5), 'the z of a pair is the one that make draws for it'


def test_scoring_holds_one_part_at_a_time(data, monkeypatch):
    from avgen_nb.judges import Judge
    sizes = []
    def noted(f, of):
        def call(self, x, *more):
            sizes.append(of(x))
            return f(self, x, *more)
        return call
    monkeypatch.setattr(Pairs, 'batch', noted(Pairs.batch, len))
    monkeypatch.setattr(Judge, 'features', noted(Judge.features, len))
    monkeypatch.setattr(Generator, 'make', lambda self, x, *a, f=Generator.make, **k: noted(lambda s, x: f(s, x, *a, **k), len)(self, x))
    many = data | dict(test=data['test'].subset(torch.arange(700) % N))
    rows = evaluate_run(a_model(data), many)
    assert rows[0].n == 700 and len(sizes) >= 9 and max(sizes) <= 256


def test_ceiling_and_chance_are_of_the_items_scored(data, no_items):
    "A judge born with a ceiling of .9 that is always wrong on these pairs has a ceiling of 0 here."
    model = a_model(data)
    model.jury.meta['ceiling'] = dict(value=.9)
    always = dict(flute=0, tuba=1, violin=2)
    for name, k in always.items():
        with torch.no_grad(): model.jury.head[1].weight.zero_(), model.jury.head[1].bias.copy_(torch.eye(3)[k] * 9)     # it always says so
        row = evaluate_run(model, data)[0]
        assert row.ceiling == row.value == pytest.approx(1 / 3) == row.chance and (row.songs, row.seeds) == (18, 1)
        model.meta['only'] = 'tuba'
        row = evaluate_run(model, data)[0]
        assert row.ceiling == row.value == float(name == 'tuba') and row.majority == 1, 'always naming the one instrument scores 1'
        model.meta.pop('only')


def test_the_exam_needs_no_data_and_is_of_the_orchestra(data, monkeypatch, no_items):
    monkeypatch.setattr(pairs_module, 'exam_pairs', lambda: made_up_pairs(5, first_song=500))
    row = evaluate_run(a_model(data), split='exam')[0]
    assert (row.data, row.split, row.n, row.paper) == ('orchestra exam', 'exam', N, None)
    for opened in (dict(data='somewhere/urmp'), dict(sounds='recordings', pictures='orchestra')):
        with pytest.raises(ValueError, match='the exam is of the built-in orchestra'): evaluate_run(a_model(data, meta=dict(opened=opened)), data, split='exam')


def test_a_model_that_says_nothing_of_itself_wants_the_data(data, no_items):
    model = a_model(data, meta=dict(other=1))
    for split in ('test', 'exam'):
        with pytest.raises(ValueError, match='does not say what it was trained on'): evaluate_run(model, split=split)
    with pytest.raises(ValueError, match="no split 'valid'.*train, dev, test"): evaluate_run(model, data, 'valid')
    row = evaluate_run(model, data)[0]
    assert (row.seed, row.steps, row.minutes, row.data) == (None, None, None, '') and row.n == N


def test_the_callers_randomness_is_left_alone(data, tmp_path, quick_judge, no_items):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    cgan.train_encoder(SOUND, tiny('S2I-C+guide').encoder, data, steps=1, quiet=True)
    model = cgan.train_run(tiny('S2I-C+guide'), data, tmp_path, budget='test', quiet=True)
    evaluate_run(model, data)
    assert torch.equal(before, torch.get_rng_state())


def test_pairs_of_one_class_are_refused_before_anything_is_trained(data, tmp_path):
    one = {k: p.subset(p.labels == 1) for k, p in data.items()}
    with pytest.raises(ValueError, match="all of one, 'tuba'"): cgan.train_run(tiny('S2I-C+guide'), one, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_encoder_of_other_songs_is_not_shared(data, tmp_path, quick_judge):
    run = lambda name, data: cgan.train_run(tiny(name), data, tmp_path/name, budget='test', encoders=tmp_path/'encoders', quiet=True)
    run('S2I-C+guide', data)
    run('I2S+guide', data)      # same songs: shared
    other = data | dict(train=made_up_pairs(7))
    with pytest.raises(ValueError, match='of another run'): run('S2I-N+guide', other)
