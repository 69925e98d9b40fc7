import argparse
import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner, set_random_seed
from torch import Tensor
from torch.utils.data import default_collate

from beit_mm.contracts import UserError
from beit_mm.registry import DATASETS, MODELS

TRAIN = 'train'  # the folder of the labelled images
CHUNK = 200  # images
LABELLED = 2000  # images for the probes, where there is no list of them

Labelled = list[tuple[Path, int | Path]]  # images with a class or a mask


class ProbeImages:
    """Images of a comparison in the views of the pre-training's validation, and their labels.

    Labels are the places of class folders in the order of their names, the numbers of a list, or
    with ``--dense`` masks.

    Raises:
        UserError: The pre-training has no folders of images for training and validation.
    """

    def __init__(self, args: argparse.Namespace, pretrain: Config, seed: int, device: str):
        self.args, self.pretrain, self.seed, self.device = args, pretrain, seed, device
        self.root = args.data
        for key in ('train_dataloader', 'val_dataloader'):
            if not pretrain.get(key, {}).get('dataset', {}).get('data_root'):
                raise UserError(
                    f'--pretrain {args.pretrain}: {key}.dataset.data_root is missing; a comparison '
                    'takes a config with both dataloaders, and with folders of images in them, as '
                    'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
                )
        self.train_folder, self.val_folder = (
            given or Path(pretrain[key].dataset.data_root).name
            for given, key in (
                (args.train_folder, 'train_dataloader'),
                (args.val_folder, 'val_dataloader'),
            )
        )

    # ---- images ----

    def place(self, config: Config) -> None:
        """Set the data folders of ``config`` to those of the comparison."""
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if config.get(name):
                folder = self.train_folder if name == 'train_dataloader' else self.val_folder
                config[name].dataset.data_root = str(self.root / folder)

    def view(self) -> str:
        """Return how the pre-training's validation loads and scales images."""
        return repr([self.pretrain.val_dataloader.to_dict(), self.pretrain.data_preprocessor])

    def dataset(self, folder: str) -> BaseDataset:
        config = copy.deepcopy(self.pretrain.val_dataloader.dataset)
        config.data_root = str(self.root / folder)
        return DATASETS.build(config)

    def load(self, config: Config) -> list[dict]:
        """Return the preprocessed batches of a config's validation, always the same ones."""
        preprocess = MODELS.build(config.data_preprocessor).to(self.device)
        loader = copy.deepcopy(config.val_dataloader)
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(self.root / self.val_folder)
        set_random_seed(self.seed)
        return [preprocess(batch) for batch in Runner.build_dataloader(loader, seed=self.seed)]

    def batches(self) -> list[Tensor]:
        """Return the validation images in [0, 1], as the pre-training's tokenizer sees them."""
        batches = self.load(self.pretrain)
        if 'token_inputs' not in batches[0]:
            raise UserError(
                f'--pretrain {self.args.pretrain}: the pipeline of its val_dataloader makes no '
                'view for the tokenizer; set token_size of TwoViewResizedCrop'
            )
        return [batch['token_inputs'] for batch in batches]

    def inputs(self, folder: str, rows: Labelled):
        """Yield the encoder's views of labelled images in DIR/``folder``."""
        preprocess = MODELS.build(self.pretrain.data_preprocessor).to(self.device)
        dataset = self.dataset(folder)
        place = {Path(path): i for i, path in enumerate(paths_of(dataset))}
        set_random_seed(self.seed)
        for start in range(0, len(rows), CHUNK):
            part = [dataset[place[file]] for file, _ in rows[start : start + CHUNK]]
            yield preprocess(default_collate(part))['inputs']

    # ---- labels ----

    def label_settings(self) -> list:
        """Return what the labels depend on, besides the data."""
        dense = [f'dense {self.args.dense}'] if self.args.dense else []
        return [self.args.labelled, 'at equal distances', *dense]

    def check_labels(self) -> None:
        """Check before hours of training that the images of the probes and their labels exist.

        Raises:
            UserError: An image or a mask is missing, or validation has classes of its own.
        """
        labelled, validation = self.labelled(), self.validation()
        for rows, folder, source in (
            (labelled, TRAIN, f'--labelled {self.args.labelled}'),
            (validation, self.val_folder, f'--val-folder {self.val_folder}'),
        ):
            known = {Path(path) for path in paths_of(self.dataset(folder))}
            if absent := [file for file, _ in rows if file not in known]:
                raise UserError(
                    f'{source}: {absent[0]} and {len(absent) - 1} more are no images of the '
                    'pre-training; correct the list, or val_dataloader.dataset.extensions'
                )
            if self.args.dense and (absent := [m for _, m in rows if not m.is_file()]):
                raise UserError(
                    f'--dense {self.args.dense}: there is no mask {absent[0]}, '
                    f'nor {len(absent) - 1} more; that of DIR/val/a.tif is DIR/masks/val/a.png'
                )
        seen = {label for _, label in labelled}
        strange = {label for _, label in validation} - seen
        if strange and not self.args.dense:
            raise UserError(
                f'Validation has the classes {sorted(strange)}, which no labelled image has '
                f'(those have {sorted(seen)}); the labels are the places of the class folders '
                'in the order of their names'
            )

    def labelled(self) -> Labelled:
        """Return the lines `file label` of --labelled, else images from all over DIR/train."""
        path = self.root / self.args.labelled
        listed = path.is_file()
        if listed and not self.args.dense:
            lines = path.read_text().splitlines()
            rows = [line.rsplit(maxsplit=1) for line in lines if line.strip()]
            rows = [(self.root / TRAIN / name, int(label)) for name, label in rows]
        else:
            rows = self.folder(TRAIN)
        if not listed:
            number = min(len(rows), LABELLED)
            rows = [rows[i * len(rows) // number] for i in range(number)]
        return self.thin(rows)

    def validation(self) -> Labelled:
        return self.thin(self.folder(self.val_folder))

    def thin(self, rows: Labelled) -> Labelled:
        return rows[:: max(len(rows) // 40, 1)] if self.args.smoke else rows

    def folder(self, name: str) -> Labelled:
        """Return all images of DIR/``name`` with their labels.

        The order of the classes is that of DIR/train, unless --labelled has numbers of its own.

        Raises:
            UserError: Images lie in no class folder, or in one that DIR/train does not have.
        """
        root = self.root / name
        files = [Path(path) for path in paths_of(self.dataset(name))]
        if self.args.dense:
            masks = self.root / 'masks' / name
            return [(f, (masks / f.relative_to(root)).with_suffix('.png')) for f in files]
        listed = (self.root / self.args.labelled).is_file()
        numbered = root if listed else self.root / TRAIN
        classes = sorted(path.name for path in numbered.iterdir() if path.is_dir())
        if unlabelled := [file for file in files if file.parent == root]:
            raise UserError(
                f'{root} has no folder for each class: {unlabelled[0].name} and '
                f'{len(unlabelled) - 1} more are in none. The probes need labels: sort the images '
                'into folders, give masks with --dense N, or leave the probes out with --steps 0'
            )
        names = [file.relative_to(root).parts[0] for file in files]
        if strange := sorted(set(names) - set(classes)):
            raise UserError(f'{root} has the class folders {strange}, which are not in {numbered}')
        return [(file, classes.index(name)) for file, name in zip(files, names, strict=True)]


def paths_of(dataset: BaseDataset) -> list[str]:
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
