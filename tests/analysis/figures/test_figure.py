import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from analysis.figures import FIGURES, style
from analysis.figures import figure as registry
from analysis.figures.figure import DrawnFigure
from gfl.errors import UserError


def draw(name, library, smoke):
    """A figure of the made-up library; skips one that reads more than it has."""
    try:
        return FIGURES[name].drawn(library, smoke)
    except UserError as err:
        pytest.skip(str(err))


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_records_give_the_same_bytes_and_legible_text(library, smoke, defects_of, name):
    drawn, again = (draw(name, library, smoke) for _ in range(2))
    files = drawn.files()
    assert files == again.files()
    assert defects_of(again.figure) == []  # nothing overlaps, is cut off or too small
    assert files == drawn.files()  # also of a figure that is saved a second time
    assert files["png"].startswith(b"\x89PNG")
    assert files["pdf"].startswith(b"%PDF")
    for word in (b"CreationDate", b"Producer", b"Software", matplotlib.__version__.encode()):
        assert word not in files["pdf"].split(b"stream")[0] + files["png"][:200]


def test_drawing_leaves_no_state_behind(library, smoke):
    with matplotlib.rc_context({"font.size": 31}):
        FIGURES["5a"].drawn(library, smoke).files()
        assert matplotlib.rcParams["font.size"] == 31
    assert not Gcf.figs


@pytest.mark.parametrize("nested", [False, True])
def test_a_position_that_differs_in_its_last_bit_gives_the_same_picture(nested):
    """A solver's rounding decides nothing, not even an edge in the middle of a pixel."""
    edge = 100.5 / (style.COLUMN * style.DPI)
    pictures = set()
    for left in (np.nextafter(edge, 0), edge, np.nextafter(edge, 1)):
        figure = Figure(figsize=(style.COLUMN, 2.0))
        if nested:
            part = figure.add_subfigure(figure.add_gridspec(1, 1)[0])
            part.bbox_relative.set_points(np.array([[left, 0.0], [1.0, 1.0]]))
            part.add_axes((0.0, 0.1, 0.8, 0.8))
        else:
            figure.add_axes((left, 0.1, 0.8, 0.8))
        pictures.add(DrawnFigure(figure, pd.DataFrame()).files()["png"])
    assert len(pictures) == 1


def test_every_figure_of_the_paper_has_one_name_and_a_caption():
    assert list(FIGURES)[:3] == sorted(FIGURES)[:3]
    assert all(figure.caption.endswith(".") for figure in FIGURES.values())
    with pytest.raises(ValueError, match="two figures are named '5a'"):
        registry.figure("5a", "again")(lambda library, profile: None)


def test_what_is_saved_is_named_and_numbers_are_as_they_are(tmp_path):
    page = style.canvas()
    page.subplots().plot([0, 1])
    numbers = pd.DataFrame({"x_px": [1 / 3, 2.0], "what": ["a", None]})
    paths = DrawnFigure(page, numbers).save(tmp_path / "figures", "fig0")
    assert [path.name for path in paths] == ["fig0.png", "fig0.pdf", "fig0.csv"]
    assert paths[2].read_bytes() == b"x_px,what\n0.333333,a\n2,\n"


def test_the_ids_of_the_runs_stand_under_the_figure_in_room_of_their_own(words_of):
    page = style.canvas(height=2.0)
    page.subplots()
    style.footer(page, ["atss-joint-dirac-s0-d9a8d277", "atss-none-dirac-s0-42f69cec"], "of 3")
    assert page.get_size_inches()[1] > 2.0
    (written,) = (text for text in words_of(page) if "atss" in text)
    assert "".join(written.split()) == (
        "of3runs:atss-joint-dirac-s0-d9a8d277,atss-none-dirac-s0-42f69cec"
    )


def test_methods_differ_in_grey_by_line_or_lightness():
    def lightness(colour: str) -> float:
        red, green, blue = matplotlib.colors.to_rgb(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    looks = list(style.LOOKS.values())
    for i, one in enumerate(looks):
        for other in looks[i + 1 :]:
            apart = abs(lightness(one.colour) - lightness(other.colour)) > 0.08
            assert apart or one.line != other.line or one.marker != other.marker
            assert one.colour != other.colour


def test_a_figure_that_needs_a_model_is_not_drawn_of_annotations():
    with pytest.raises(UserError, match="of annotations alone are drawn: 5c, 9"):
        FIGURES["8"].of_annotations([])
