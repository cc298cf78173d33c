from paint import PaintDetector
from PIL import Image

from spatialguide.evaluation.detection import make_detector
from spatialguide.registry import Registry


def picture() -> Image.Image:
    image = Image.new("RGB", (20, 20), "white")
    image.paste("red", (2, 3, 8, 9))
    image.paste("blue", (10, 10, 20, 20))
    return image


def test_colours_are_found_where_they_are_the_largest_first() -> None:
    found, nothing = PaintDetector()([picture(), Image.new("RGB", (20, 20), "white")], ["red car", "blue boat", "cat"])
    assert [(one.label, one.box) for one in found] == [("blue boat", (10, 10, 20, 20)), ("red car", (2, 3, 8, 9))]
    assert nothing == []


def test_it_is_found_by_name_and_takes_options() -> None:
    detector = make_detector(Registry(), "paint", {"least": 0.1})
    (found,) = detector([picture()], ["red car", "blue boat"])
    assert [one.label for one in found] == ["blue boat"]
