from beit_mm.datasets.transforms import BlockwiseMask, LoadMultiBandImage, PackMIMInputs


def test_repr__shows_the_arguments_that_are_kept():
    assert repr(BlockwiseMask(14, 75, mode='exactly')) == (
        "BlockwiseMask(grid=(14, 14), num_masked=75, mode='exactly', min_block=16, max_block=75)"
    )
    loader = LoadMultiBandImage(bands=(2, 0))
    assert repr(loader).startswith("LoadMultiBandImage(channels=None, bands=[2, 0], layout='hwc'")
    assert repr(PackMIMInputs()) == 'PackMIMInputs()'
