import pickle

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from torch.utils.data import ConcatDataset as TorchConcat
from torch.utils.data import DataLoader, Subset

from beit_mm.contracts import SampleSource, WrappedSource
from beit_mm.contracts.sample_source import (
    class_names,
    inner_datasets,
    leaf_datasets,
    walk_datasets,
)
from beit_mm.registry import DATASETS


class Leaf(BaseDataset):
    def load_data_list(self):
        return [dict(img_path='a.png')]


def leaf():
    return Leaf(metainfo=dict(classes=('a',)), serialize_data=False)


def test_walk__through_wrappers_of_all_libraries():
    first, second, third = leaf(), leaf(), leaf()
    repeated, both = RepeatDataset(first, 2), ConcatDataset([second, third])
    whole = WrappedSource(Subset(TorchConcat([repeated, both]), [0]))
    subset, joined = whole.dataset, whole.dataset.dataset
    assert list(leaf_datasets(whole)) == [first, second, third]
    in_order = [whole, subset, joined, repeated, first, both, second, third]
    assert all(a is b for a, b in zip(walk_datasets(whole), in_order, strict=True))
    assert inner_datasets(third) == [] and list(leaf_datasets(third)) == [third]


@pytest.mark.parametrize(
    'inside', [dict(dataset='cifar'), dict(dataset=7), dict(datasets='ab'), dict(datasets=3), {}]
)
def test_walk__takes_no_words_or_numbers_for_data_sets(inside):
    outer = SampleSource()
    vars(outer).update(inside)
    assert [*walk_datasets(outer)] == [*leaf_datasets(outer)] == [outer]


def test_walk__into_a_dict_of_data_sets():
    outer, parts = SampleSource(), dict(a=SampleSource(), b=SampleSource())
    outer.datasets = parts
    assert [*leaf_datasets(outer)] == [*parts.values()]


@pytest.mark.parametrize('classes', ['classes.txt', {0: 'cat'}, [1, 2], None, 5])
def test_class_names__are_a_list_of_names_or_none(classes):
    data = SampleSource()
    data.metainfo = dict(classes=classes)
    assert class_names(data) is None
    data.metainfo = dict(classes=('a', 'b'))
    assert class_names(data) == ('a', 'b')


def test_defaults__say_nothing_special(tmp_path):
    source = SampleSource()
    assert not (source.replaces_samples or source.names_errors or source.reads_epoch)
    source.record_to(str(tmp_path), 'run')
    assert not list(tmp_path.iterdir())


def test_wrapper__is_asked_for_what_the_data_set_has():
    wrapped = pickle.loads(pickle.dumps(WrappedSource(leaf())))
    assert len(wrapped) == 1 and wrapped.metainfo['classes'] == ('a',)
    assert wrapped.get_data_info(0)['img_path'] == 'a.png'
    with pytest.raises(AttributeError, match='no_such_thing'):
        _ = wrapped.no_such_thing


def test_wrapper__gives_its_own_samples_to_a_loader_of_a_subset():
    class Marked(WrappedSource):
        def __getitem__(self, index):
            return 'marked', self.dataset[index]

    loader = DataLoader(Marked(Subset([5, 6, 7], [2, 0])), batch_size=2, collate_fn=list)
    assert list(loader) == [[('marked', 7), ('marked', 5)]]


def test_wrapper__builds_a_config(tmp_path):
    (tmp_path / 'a.png').touch()
    config = dict(type='beit_mm.UnlabelledImageFolder', data_root=str(tmp_path))
    wrapped = WrappedSource(config)
    assert isinstance(wrapped.dataset, DATASETS.get('UnlabelledImageFolder'))
    assert wrapped.dataset.names_errors and len(wrapped) == 1


def test_wrapper__does_not_inherit_what_the_data_set_says_of_itself():
    class Replacing(SampleSource):
        replaces_samples = True

    wrapped = WrappedSource(Replacing())
    assert not wrapped.replaces_samples
    assert [part.replaces_samples for part in walk_datasets(wrapped)] == [False, True]
