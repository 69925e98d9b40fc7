import base64
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np

from beit_mm.visualization import svg_grid

SVG = '{http://www.w3.org/2000/svg}'


def test_images__are_kept_bit_by_bit_and_do_not_overlap():
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)] for _ in range(2)]
    root = ElementTree.fromstring(svg_grid(rows, ['a', 'b & c', 'd'], cell=30, gap=2, breaks=[2]))
    assert [text.text for text in root.iter(SVG + 'text')] == ['a', 'b & c', 'd']
    cells = list(root.iter(SVG + 'image'))
    flat = [image for row in rows for image in row]
    for cell, image in zip(cells, flat, strict=True):
        png = base64.b64decode(cell.get('href').split(',')[1])
        read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(read, image)
    boxes = [tuple(int(cell.get(key)) for key in ('x', 'y', 'width', 'height')) for cell in cells]
    assert {box[2:] for box in boxes} == {(30, 20)}  # the aspect ratio of the images
    assert [box[0] for box in boxes[:3]] == [2, 34, 74]  # the third stands after a break
    assert boxes[3][1] - boxes[0][1] == 22
    assert max(x + w for x, _, w, _ in boxes) <= int(root.get('width'))
    assert max(y + h for _, y, _, h in boxes) <= int(root.get('height'))
