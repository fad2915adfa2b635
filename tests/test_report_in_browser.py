"""The report in headless Chromium: what a reader does with it. Skipped where there is none."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from components.model.decode import decode
from pipeline.compare import page as comparison_page
from pipeline.compare.differences import compare
from pipeline.evaluate.report import explorer, page
from pipeline.evaluate.report.subject import ComparedImages
from tests.pipeline.compare.made_runs import made_run
from tests.pipeline.evaluate.report.subjects import report_subject

WIDTHS = (400, 1400)
TWO_FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]));"


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    started = webdriver.Chrome(options=options, service=service)
    started.set_page_load_timeout(200)
    started.set_script_timeout(200)
    yield started
    started.quit()


@pytest.fixture(scope="module")
def subject(example_set, model_dir):
    images = example_set.read("test").images[:20].reshape(2, 10, 28, 28, 1)
    names = ["sample", "nearest training image"]
    compared = ComparedImages("Samples and images", "of cats", "Look at them.", names, images)
    return report_subject(example_set, model_dir, comparisons=[compared])


@pytest.fixture(scope="module", params=["dense", "grid"])
def opened(request, driver, subject, tmp_path_factory):
    """The browser with a page open, whose decoder is of one of both kinds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "grid":
            patch.setattr(explorer, "_MAX_WEIGHTS", 10)
        text = page.render(subject)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text)
    show(driver, 1400)
    driver.get(path.as_uri())
    wait(driver, lambda: driver.find_elements("css selector", "#explorer.live"))
    driver.execute_script("document.getElementById('explorer').scrollIntoView()")
    frames(driver)
    driver.kind = request.param
    yield driver
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def show(driver, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def wait(driver, condition) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 200).until(lambda _: condition())


def frames(driver) -> None:
    """Waits until what was asked for is drawn."""
    driver.execute_async_script(TWO_FRAMES)


def element(driver, name: str):
    return driver.find_element("id", name)


def click(driver, name: str) -> None:
    element(driver, name).click()
    frames(driver)


def picture_of(driver, name: str) -> str:
    """The picture on a canvas, as a data URI."""
    return driver.execute_script(f"return document.getElementById('{name}').toDataURL()")


def pixels(driver, name: str) -> np.ndarray:
    """The pixels of a canvas, [height, width, 4]."""
    data = base64.b64decode(picture_of(driver, name).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def num_colored(driver) -> int:
    """The number of pixels of the plot in the color of a class: all else there is gray."""
    drawn = pixels(driver, "points").astype(int)
    is_colored = np.ptp(drawn[..., :3], axis=-1) > 40
    return int((is_colored & (drawn[..., 3] > 100)).sum())


def actions(driver):
    from selenium.webdriver import ActionChains

    return ActionChains(driver, duration=0)


def point_at_an_example(driver) -> tuple[int, int]:
    """Moves the pointer over the plot until it is at a point; returns where that is."""
    canvas = element(driver, "points")
    half = int(canvas.size["width"]) // 2
    for left in range(-half + 20, half, 24):
        for top in range(-half + 60, half, 24):
            actions(driver).move_to_element_with_offset(canvas, left, top).perform()
            if element(driver, "tip").is_displayed():
                return left, top
    raise AssertionError("no point is where the pointer was")


def test_the_example_under_the_pointer_is_shown(opened, subject):
    point_at_an_example(opened)
    row = subject.examples.ids.index(element(opened, "tip-id").text)
    name = subject.class_names[subject.examples.labels[row]]
    assert element(opened, "tip-class").text == name
    shown = pixels(opened, "tip-image")
    assert (shown[..., 0] == subject.examples.images[row, ..., 0]).all()


def test_classes_are_switched_off_and_on(opened):
    before = num_colored(opened)
    assert before > 200
    place = point_at_an_example(opened)
    click(opened, "all-classes")
    assert num_colored(opened) == 0
    canvas = element(opened, "points")
    actions(opened).move_to_element_with_offset(canvas, *place).perform()
    assert not element(opened, "tip").is_displayed()
    first = opened.find_element("css selector", "#classes button[data-class]")
    assert first.get_attribute("aria-pressed") == "false"
    first.click()
    frames(opened)
    assert 0 < num_colored(opened) < before / 2
    click(opened, "all-classes")
    click(opened, "all-classes")
    assert num_colored(opened) == before


def test_the_plot_zooms_and_moves(opened):
    start = picture_of(opened, "points")
    click(opened, "zoom-in")
    zoomed = picture_of(opened, "points")
    assert zoomed != start
    canvas = element(opened, "points")
    corner = actions(opened).move_to_element_with_offset(canvas, -200, 150)
    corner.click_and_hold().move_by_offset(60, 40).release().perform()
    frames(opened)
    moved = picture_of(opened, "points")
    assert moved not in (start, zoomed)
    click(opened, "zoom-out")
    click(opened, "zoom-reset")
    assert picture_of(opened, "points") == start
    # The wheel zooms once the plot has the focus.
    opened.execute_script("document.getElementById('points').focus({preventScroll: true})")
    wheel = """document.getElementById('points').dispatchEvent(new WheelEvent('wheel',
      {deltaY: -300, clientX: 300, clientY: 300, cancelable: true, bubbles: true}))"""
    opened.execute_script(wheel)
    frames(opened)
    assert picture_of(opened, "points") != start
    click(opened, "zoom-reset")
    assert picture_of(opened, "points") == start


def expected_image(driver, subject) -> np.ndarray:
    """What the model decodes at the handle, or what lies between the images of the grid."""
    handle = element(driver, "handle")
    x, y = (float(handle.get_attribute(f"data-{axis}")) for axis in "xy")
    space = subject.space
    if driver.kind == "dense":
        z = (space.plane.center + np.array([x, y]) @ space.plane.axes).astype(np.float32)
        return 255 * decode(subject.vae, z[np.newaxis])[0, ..., 0]
    horizontal, vertical = space.steps
    images = space.images[..., 0].astype(np.float64)
    column = np.interp(x, horizontal, range(len(horizontal)))
    row = np.interp(y, vertical, range(len(vertical)))
    left, low = (min(int(place), len(horizontal) - 2) for place in (column, row))
    right, up = column - left, row - low
    below = (1 - right) * images[low, left] + right * images[low, left + 1]
    above = (1 - right) * images[low + 1, left] + right * images[low + 1, left + 1]
    return (1 - up) * below + up * above


def test_the_image_follows_the_handle(opened, subject):
    handle = element(opened, "handle")
    seen = []
    for right, down in ((0, 0), (45, -30), (-90, 70)):
        actions(opened).click_and_hold(handle).move_by_offset(right, down).release().perform()
        frames(opened)
        shown = pixels(opened, "decoded")[..., 0]
        assert shown == pytest.approx(expected_image(opened, subject), abs=2)
        seen.append((shown.tobytes(), element(opened, "position").text))
    assert len(set(seen)) == 3
    handle.send_keys("\ue014\ue014\ue013")  # Two arrows to the right, one up.
    frames(opened)
    shown = pixels(opened, "decoded")[..., 0]
    assert shown == pytest.approx(expected_image(opened, subject), abs=2)
    assert element(opened, "position").text != seen[-1][1]


def test_a_click_decodes_there(opened, subject):
    before = element(opened, "position").text
    canvas = element(opened, "points")
    actions(opened).move_to_element_with_offset(canvas, 120, 130).click().perform()
    frames(opened)
    assert element(opened, "position").text != before
    shown = pixels(opened, "decoded")[..., 0]
    assert shown == pytest.approx(expected_image(opened, subject), abs=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_every_width_and_is_not_blank(opened, width, scheme):
    show(opened, width, scheme)
    frames(opened)
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    assert opened.execute_script(widths) == [width, width]
    opened.execute_script("document.getElementById('explorer').scrollIntoView()")
    frames(opened)
    assert num_colored(opened) > 100
    data = opened.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        picture = np.asarray(image.convert("RGB"))
    assert picture.shape[1] == width
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
    # Most of a page is its background.
    assert (np.median(picture) > 128) == (scheme == "light")
    show(opened, 1400)
    frames(opened)


def test_the_data_of_the_page_are_json(opened):
    text = opened.execute_script("return document.getElementById('explorer-data').textContent")
    assert json.loads(text)["decoder"]["kind"] == opened.kind


@pytest.fixture
def tab(driver):
    """The browser with a new tab, so that the page of other tests stays."""
    before = driver.current_window_handle
    driver.switch_to.new_window("tab")
    yield driver
    driver.close()
    driver.switch_to.window(before)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [2, 5])
def test_a_comparison_fits_every_width(tab, tmp_path, width, count):
    elbo = np.linspace(-300, -200, 11)
    runs = [
        made_run(f"run_with_a_long_name_{number}", elbo + number, config={"widths": [number] * 30})
        for number in range(count)
    ]
    curves = tmp_path / "curves.png"
    Image.fromarray(np.full((500, 1500), 200, np.uint8)).save(curves)
    text = comparison_page.render(compare(runs), runs, curves=curves, curves_caption="Losses.")
    (tmp_path / "comparison.html").write_text(text)
    show(tab, width)
    tab.get((tmp_path / "comparison.html").as_uri())
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    assert tab.execute_script(widths) == [width, width]
    picture = tab.find_element("css selector", "figure img")
    assert picture.size["width"] > 0.75 * min(width, 1120)
    # On a telephone, what a row is of is above its values.
    name, first, second = tab.find_elements("css selector", "table.runs tr:nth-child(2) > td")[:3]
    assert (name.location["y"] < first.location["y"]) == (width == 400)
    assert first.location["y"] == second.location["y"]
    assert first.location["x"] < second.location["x"]
    assert [entry["message"] for entry in tab.get_log("browser")] == []
