from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.load_segmentation_mask import describe_wrong_ids, is_bare_image
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckSegmentation(Transform):
    """Stop at a mask that does not fit its image or the classes; stands directly after loading.

    Reads gt_seg_map and ori_shape (the size of the image as it was loaded); changes nothing.
    Without this, such a mask trains silently: RandomResize and RandomCrop make any two sizes
    equal, and the metric drops ids that it does not know. An image without a data set passes, as in
    LoadSegmentationMask.

    Args:
        num_classes: Ids must be below it, or ``ignore_index``. None takes that of the data set
            (``num_classes`` of a sample), where it says one.
        ignore_index: The id of pixels that do not count.

    Raises:
        UserError: The mask is not (H, W), has another size than the image, or ids out of range.
            The message names the file.
    """

    def __init__(self, num_classes: int | None = None, ignore_index: int = 255):
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        if 'gt_seg_map' not in results:
            if is_bare_image(results):
                return results
            raise UserError(
                'CheckSegmentation found no gt_seg_map; place it directly after '
                'mmseg.LoadAnnotations or beit_mm.LoadSegmentationMask'
            )
        mask = results['gt_seg_map']
        path = results.get('seg_map_path', 'gt_seg_map')
        if mask.ndim != 2:
            raise UserError(
                f'{path} has shape {mask.shape}; a mask is (H, W) with one class id for each '
                'pixel, not a picture in colors'
            )
        if wrong := describe_size_difference(mask.shape, results.get('ori_shape', mask.shape)):
            raise UserError(f'{path}: {wrong} ({results.get("img_path", "image")})')
        classes = self.num_classes or results.get('num_classes')
        if classes and (wrong := describe_wrong_ids(mask, classes, self.ignore_index)):
            raise UserError(f'{path}: {wrong}')
        return results


def describe_size_difference(mask: tuple[int, int], image: tuple[int, int]) -> str | None:
    """Return in words how the size (H, W) of a mask differs from its image's, or None."""
    mask, image = tuple(mask[:2]), tuple(image[:2])
    if mask == image:
        return None
    sizes = f'the mask is {mask[1]} x {mask[0]} pixels (width x height), the image '
    sizes += f'{image[1]} x {image[0]}'
    if mask == image[::-1]:
        return sizes + '; it is transposed, or the image is turned by its EXIF orientation'
    return sizes + '; make the mask of this image in its full size'
