"""Images in every form give the same answer, and what cannot be used is named."""

from pathlib import Path

import checkpoints_of_models as made
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm import load_model
from beit_mm.apis import find_images
from beit_mm.apis.images.array_image import ArrayFormat
from beit_mm.contracts import MissingFileError, UserError


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'a.pth'
    made.saved(made.pretraining(), path)
    return load_model(path)


@pytest.fixture(scope='module')
def gray(tmp_path_factory):
    path = tmp_path_factory.mktemp('gray') / 'a.pth'
    loader = dict(type='LoadImageFromFile', color_type='grayscale')
    made.saved(made.tokenizer(made.DVAE | dict(in_channels=1), loader=loader), path)
    return load_model(path)


@pytest.fixture(scope='module')
def bands(tmp_path_factory):
    path = tmp_path_factory.mktemp('bands') / 'a.pth'
    loader = dict(type='LoadMultiBandImage', channels=5)
    token = made.DVAE | dict(in_channels=5)
    made.saved(made.tokenizer(token, loader=loader, std=65535.0, bgr=False), path)
    return load_model(path)


def rgb_of(path) -> np.ndarray:
    return cv2.imread(path)[..., ::-1].copy()


def test_every_form__gives_the_same_features(model, tmp_path):
    paths = made.write_images(tmp_path / 'deep', ((40, 48), (40, 48)))
    expected = model.embed(paths).features
    arrays = np.stack([rgb_of(path) for path in paths])
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    assert np.ptp(expected, axis=0).max() > 0.01
    forms = dict(
        folder=tmp_path,
        text=str(tmp_path),
        pattern=str(tmp_path / '**' / '*.png'),
        array=arrays,
        arrays=[*arrays],
        floats=arrays.astype(np.float32),
        integers=arrays.astype(np.int64),
        tensor=tensors,
        tensors=[*tensors],
        long=tensors.long(),
        pil=[Image.open(path) for path in paths],
        rgba=[Image.open(path).convert('RGBA') for path in paths],
        mixed=[paths[0], arrays[1]],
        nested=[[paths[0]], (tensors[1],)],
        generator=(path for path in paths),
    )
    for name, form in forms.items():
        found = model.embed(form)
        np.testing.assert_array_equal(found.features, expected, err_msg=name)
    assert model.embed(arrays).files == ['image 0', 'image 1']
    assert model.embed(tmp_path).files == paths
    for batch_size, workers in ((1, 0), (3, 0), (1, 2)):
        found = model.embed(paths, batch_size=batch_size, workers=workers, progress=False)
        np.testing.assert_allclose(found.features, expected, atol=1e-5)


def test_photo_that_is_turned__is_read_as_opencv_reads_it(model, tmp_path):
    image = Image.fromarray(rgb_of(made.write_images(tmp_path, ((40, 48),))[0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.png', exif=exif)
    path = str(tmp_path / 'turned.png')
    ids = model.tokenize(path).ids
    assert (model.tokenize(Image.open(path)).ids == ids).all()
    assert (ids != model.tokenize(image).ids).any()


def test_gray_and_bands__in_memory_as_from_files(gray, bands, tmp_path):
    (path,) = made.write_images(tmp_path / 'gray', ((40, 48),), channels=1)
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    expected = gray.tokenize(path).ids
    tensor = torch.from_numpy(image)
    for form in (image, image[..., None], Image.open(path), tensor, tensor[None]):
        assert (gray.tokenize(form).ids == expected).all()
    (path,) = made.write_images(tmp_path / 'bands', ((40, 48),), channels=5, dtype=np.uint16)
    image = np.load(path)
    expected = bands.tokenize(path).ids
    for form in (
        image,
        image[None],
        image.astype(np.int32),
        torch.from_numpy(image).permute(2, 0, 1),
    ):
        assert (bands.tokenize(form).ids == expected).all()
    assert bands.in_channels == 5 and bands.value_range == (0, 65535)


def test_arrays__are_counted_by_the_window_and_filled_as_files(tmp_path):
    loader = dict(type='LoadMultiBandImage', channels=1, window=(-1000, 2000), nodata=-9999)
    token = made.DVAE | dict(in_channels=1)
    path = tmp_path / 'a.pth'
    made.saved(made.tokenizer(token, loader=loader, std=3000.0, bgr=False), path)
    model = load_model(path)
    scan = np.random.default_rng(0).integers(-1500, 2500, (32, 32, 1)).astype(np.int16)
    scan[:9] = -9999
    np.save(tmp_path / 'scan.npy', scan)
    expected = model.tokenize(str(tmp_path / 'scan.npy'))
    assert model.value_range == (0, 3000)
    for form in (scan, scan.astype(np.int32), torch.from_numpy(scan[..., 0])):
        assert (model.tokenize(form).ids == expected.ids).all()


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((8, 8), np.uint8), r'1 channels, but .* with 3; expected \(H, W, C\) with C=3'),
        (np.zeros((3, 8, 8), np.uint8), r'\(3, 8, 8\) with 8 channels'),
        (torch.zeros(8, 8, 3), r'with 8 channels.*expected \(C, H, W\)'),
        (np.zeros((8, 8, 4), np.uint8), 'with 4 channels'),
        (np.full((8, 8, 3), 60000, np.uint16), 'from 60000 to 60000, but .* 0 to 255'),
        (torch.rand(3, 8, 8), r'values from 0\.\d+ to 0\.9\d+, but the model .* 0 to 255'),
        (np.full((8, 8, 3), -100.0), 'from -100 to -100'),
        (np.full((8, 8, 3), np.nan), 'not finite'),
        (np.full((8, 8, 3), 'a'), 'expected numbers'),
        (np.zeros((0, 8, 3), np.uint8), 'empty'),
        (np.zeros(5), 'of shape .* no image'),
        (7, 'int is no image'),
        ([], 'no images'),
        (dict(a=1), 'dict is no image'),
    ],
)
def test_wrong_array__is_named_with_what_is_expected(model, image, message):
    with pytest.raises(UserError, match=message):
        model.embed(image)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((8, 8, 5), np.uint8), 'in 8 bits, but .* 0 to 65535'),
        (np.random.default_rng(0).random((8, 8, 5)), 'from 0.* 0 to 65535'),
        (np.zeros((8, 8, 3), np.uint16), 'with 3 channels.* 5'),
    ],
)
def test_wrong_bands__are_named(bands, image, message):
    with pytest.raises(UserError, match=message):
        bands.tokenize(image)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.ones((40, 40, 3), np.uint8),
        np.full((40, 40, 3), True),
        np.full((40, 40, 3), 255.0) + 0.4,  # the overshoot of a resize
    ],
)
def test_right_array__is_not_refused(model, image):
    assert len(model.embed(image)) == 1


def test_broken_files__are_named_and_the_others_answered(model, tmp_path, capfd):
    paths = made.write_images(tmp_path, ((40, 48), (40, 48), (50, 40)))
    (tmp_path / 'bad.png').write_bytes(b'no image')
    (tmp_path / '1b.png').write_bytes(b'')
    np.save(tmp_path / 'z.npy', np.zeros((4, 4)))
    (tmp_path / 'notes.txt').write_text('no image either')
    for options in (dict(), dict(batch_size=1, progress=False), dict(workers=1)):
        found = model.embed(tmp_path, **options)
        assert found.files == paths
        assert [name.split('/')[-1] for name in found.failed] == ['1b.png', 'bad.png', 'z.npy']
        np.testing.assert_allclose(found.features, model.embed(paths).features, atol=1e-5)
    assert all(name in reason for name, reason in found.failed.items())
    with pytest.raises(UserError, match='1b.png'):
        model.embed(tmp_path, errors='raise')
    with pytest.raises(UserError, match='bad.png'):
        model.embed(tmp_path / 'bad.png')
    with pytest.raises(UserError, match='2 of 2 images cannot be used.*bad.png'):
        model.embed([tmp_path / 'bad.png', tmp_path / '1b.png'])
    with pytest.raises(UserError, match='errors'):
        model.embed(paths, errors='ignore')


def test_failures_are_in_the_log(model, tmp_path, monkeypatch):
    (path,) = made.write_images(tmp_path, ((40, 48),))
    (tmp_path / 'bad.png').write_bytes(b'no image')
    said = []
    monkeypatch.setattr('beit_mm.apis.run_verb.print_log', lambda text, **_: said.append(text))
    model.embed([path, tmp_path / 'bad.png'])
    assert len(said) == 1 and '1 of 2 images were left out' in said[0] and 'bad.png' in said[0]


def test_names__that_match_nothing(model, tmp_path):
    with pytest.raises(MissingFileError, match='nowhere'):
        model.embed(tmp_path / 'nowhere')
    with pytest.raises(MissingFileError, match='No file matches'):
        model.embed(str(tmp_path / '*.png'))
    with pytest.raises(UserError, match='has no images: 0 files seen'):
        model.embed(tmp_path)
    strange = tmp_path / 'a[1].png'
    made.write_images(tmp_path, ((40, 48),))
    (tmp_path / '0.png').rename(strange)
    assert model.embed(strange).files == [str(strange)]  # a file, and no pattern
    (path,) = made.write_images(tmp_path / 'day [2]', ((40, 48),))
    for pattern in ('*.png', '**/*.png', '[0-9].png'):
        assert model.embed(f'{tmp_path}/day [2]/{pattern}').files == [str(path)]


def test_find_images__is_the_order_of_the_answers(model, tmp_path):
    made.write_images(tmp_path / 'b', ((40, 48),))
    made.write_images(tmp_path / 'a', ((40, 48),))
    (tmp_path / '.hidden.png').write_bytes(b'x')
    found, is_one = find_images(tmp_path)
    assert [name for name, _ in found] == model.embed(tmp_path).files and not is_one
    assert find_images(found[0][0])[1]


def test_iter_batches__gives_each_batch_as_it_is_there(model, tmp_path):
    paths = made.write_images(tmp_path, ((40, 48),) * 5)
    parts = model.iter_batches('embed', paths, batch_size=2, pool='cls', progress=False)
    first = next(parts)
    assert first.files == paths[:2] and first.features.shape == (2, 32)
    rest = [*parts]
    assert [len(part) for part in rest] == [2, 1]
    whole = model.embed(paths, pool='cls').features
    continued = model.embed(paths[2:], pool='cls').features  # after a stop
    np.testing.assert_allclose(np.concatenate([first.features, continued]), whole, atol=1e-5)


@pytest.mark.slow  # imports mmseg
def test_sizes_that_differ__are_answered_in_order(model, tmp_path):
    """A pipeline that keeps sizes: batches are split, and the order is kept."""
    config = made.segmentor(divisor=8)
    made.saved(config, tmp_path / 'a.pth')
    segmentor = load_model(tmp_path / 'a.pth')
    sizes = ((40, 48), (64, 50), (40, 48), (40, 40))
    paths = made.write_images(tmp_path / 'images', sizes)
    found = segmentor.segment(paths, batch_size=4)
    assert [mask.shape for mask in found.masks] == [*sizes]
    for index in (0, 1, 3):
        assert (segmentor.segment(paths[index]).masks[0] == found.masks[index]).all()


@pytest.mark.slow  # imports mmpretrain
def test_size_that_the_patch_does_not_divide__is_cropped_to_that_of_the_model(tmp_path):
    """As an image of a training without any resize: digits of 32 pixels, and then a photograph."""
    config = made.classifier()
    pipeline = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset.pipeline = [pipeline[0], pipeline[-1]]
    made.saved(config, tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images', ((32, 32), (40, 32), (50, 51)))
    shapes = [model.embed(path, pool='patches').features.shape[1:3] for path in paths]
    assert shapes == [(4, 4), (5, 4), (4, 4)]


def test_tokenizer_of_whole_images__sees_the_center_of_a_size_between(tmp_path):
    config = made.tokenizer()
    del config.train_dataloader.dataset.pipeline[2]  # the crop
    made.saved(config, tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    image = np.random.default_rng(0).integers(0, 256, (35, 40, 3), dtype=np.uint8)
    found = model.tokenize(image)
    assert found.ids.shape == (1, 4, 5)
    assert (found.ids == model.tokenize(image[1:-2]).ids).all()
    with pytest.raises(UserError, match='7 x 40 pixels .*, but a patch has 8; resize it'):
        model.tokenize(image[:7])


# ---- verbs and arguments that do not fit ----


def test_verb__that_does_not_fit_names_the_task_and_what_fits(model, gray, tmp_path):
    image = np.zeros((40, 40, 3), np.uint8)
    for verb in ('classify', 'segment'):
        with pytest.raises(UserError, match=rf'{verb}\(\) does not fit .* pretraining.*embed\(\)'):
            getattr(model, verb)(image)
    for verb in ('embed', 'attention'):
        with pytest.raises(UserError, match='task is tokenizer.*tokenize()'):
            getattr(gray, verb)(image)
    with pytest.raises(UserError, match="'draw' is no verb"):
        next(model.iter_batches('draw', image))


@pytest.mark.parametrize(
    ('verb', 'arguments', 'message'),
    [
        ('embed', dict(pool='max'), "pool='max'"),
        ('embed', dict(layer=4), 'layer=4: expected one of 4 layers'),
        ('embed', dict(layer=-5), 'layer=-5'),
        ('attention', dict(layer=9), 'layer=9'),
        ('attention', dict(query=(0, 4)), r'query=\(0, 4\), but there are \(4, 4\) patches'),
        ('attention', dict(query=(-1, 0)), 'query'),
        ('reconstruct', dict(mask=0.0), 'mask=0.0'),
        ('reconstruct', dict(mask=1.5), 'mask=1.5'),
        ('reconstruct', dict(mask=np.ones((3, 4))), r'\(3, 4\) patches, but .* \(4, 4\)'),
        ('reconstruct', dict(mask=np.ones(4)), 'has shape'),
        ('reconstruct', dict(mask=np.ones((1, 4, 4))), 'mask has 1 masks'),
        ('embed', dict(batch_size=0), 'batch_size=0'),
    ],
)
def test_arguments__that_do_not_fit(model, verb, arguments, message):
    images = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(UserError, match=message):
        getattr(model, verb)(images, **arguments)


@pytest.mark.parametrize('tokens', [np.zeros((2, 2)), np.full((2, 2), 16), -np.ones((2, 2), int)])
def test_detokenize__takes_ids_of_the_vocabulary(gray, tokens):
    with pytest.raises(UserError, match='tokens are'):
        gray.detokenize(tokens)


def test_mask__ratio_is_the_same_for_all_images(model):
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 40, 3), dtype=np.uint8)
    found = model.reconstruct(images, mask=0.25, batch_size=2)
    assert (found.mask.sum((1, 2)) == 4).all() and (found.mask == found.mask[0]).all()
    assert (model.reconstruct(images).mask.sum((1, 2)) == 6).all()
    one = np.zeros((4, 4), bool)
    one[1, 2] = True
    for form in (one, torch.from_numpy(one), one.astype(int)):
        assert (model.reconstruct(images, mask=form).mask == one).all()


def test_pil__of_16_bits_is_what_its_file_is(model, tmp_path):
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 65536, (40, 48)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), gray)
    with Image.open(tmp_path / 'a.png') as image:
        assert image.mode == 'I;16'
        found = model.embed(image).features
    np.testing.assert_array_equal(found, model.embed(tmp_path / 'a.png').features)
    with pytest.raises(UserError, match='channels|values'):
        model.embed(Image.fromarray(gray.astype(np.int32)))


@pytest.mark.parametrize('white', [65535.0, 255.0])
def test_shown__values_are_stretched_where_white_says_little(white):
    """12 bits in files of 16, and what a Normalize of mmseg's pipelines leaves."""
    arrays = ArrayFormat(1, white, is_8_bit=False, is_bgr=False, is_flat=False)
    values = np.linspace(0, 4095, 64).reshape(8, 8, 1)
    shown = arrays.to_rgb(values.astype(np.uint16))
    assert shown.min() == 0 and shown.max() == 255
    np.testing.assert_array_equal(arrays.to_rgb(((values - 2e3) / 1e3).astype(np.float32)), shown)
    dark = np.full((8, 8, 1), 9, np.uint8)
    assert (ArrayFormat(1, 255.0, True, False, False).to_rgb(dark) == 9).all()


@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'LoadMultiBandImage'])
def test_broken_files__are_told_in_words_by_each_loader(tmp_path, loader):
    made.saved(made.tokenizer(loader=dict(type=loader)), tmp_path / 'a.pth')
    (good,) = made.write_images(tmp_path / 'images', ((40, 48),))
    content = Path(good).read_bytes()
    broken = dict(empty=b'', text=b'hello', cut=content[:60], zeros=bytes(99))
    for name, some in broken.items():
        (tmp_path / 'images' / f'{name}.png').write_bytes(some)
    found = load_model(tmp_path / 'a.pth').tokenize(tmp_path / 'images')
    assert found.files == [good] and len(found.failed) == len(broken)
    for path, reason in found.failed.items():
        assert 'is not an image that' in reason and 'repair or remove it' in reason
        assert path in reason and 'Error' not in reason and 'Assertion' not in reason


def test_files_of_8_bits__are_refused_where_the_training_had_more(bands, tmp_path):
    for dtype in (np.uint8, np.uint16):
        np.save(tmp_path / f'{dtype.__name__}.npy', np.full((40, 48, 5), 99, dtype))
    found = bands.tokenize(tmp_path)
    assert [Path(path).name for path in found.files] == ['uint16.npy']
    ((_, reason),) = found.failed.items()
    assert 'values in 8 bits, but the model was trained with 0 to 65535' in reason
