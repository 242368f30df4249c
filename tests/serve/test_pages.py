"""The pages in a real browser: what a person does with them, by mouse and by keyboard.

With `BLIPQ_TEST_SCREENSHOTS=docs/images` the pictures of the docs are made on the way.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from sqlalchemy import func, insert, select

from blipq.models import training
from blipq.models.schema import caption, file, job
from blipq.models.training import Epoch, Figure, Step

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PAGES = ("/", "/jobs", "/failures", "/runs", "/compare", "/workers", "/upload")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")


@pytest.fixture(scope="module")
def browser_context(house: Any) -> Iterator[BrowserContext]:
    """One browser for all tests; each has pages of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(base_url=house.url, viewport={"width": 1280, "height": 900})
        context.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield context
        browser.close()


@pytest.fixture
def page(browser_context: BrowserContext) -> Iterator[Page]:
    """A tab. Whatever it writes to its console as an error fails the test."""
    tab = browser_context.new_page()
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: None if asked.url.startswith(_base(tab)) else errors.append(f"asks {asked.url}"))
    yield tab
    tab.close()
    assert errors == []


def _base(tab: Page) -> str:
    return str(tab.context._impl_obj._options["baseURL"])  # where every request must go


@pytest.fixture(scope="module")
def captioned(house: Any) -> Any:
    """The server with twelve captioned scenes, by two recipes, one broken file, and a finished training run."""
    (house.photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    for beams in (1, 3):
        made = house.client.post("/v1/jobs", json={"paths": [str(house.photos)], "num_beams": beams, "mode": "replace"})
        house.wait_for(made.json()["job"])
    (house.photos / "broken.jpg").unlink()
    return house


def shot(page: Page, name: str) -> None:
    """A picture for the docs, where they are wanted."""
    if folder := os.environ.get("BLIPQ_TEST_SCREENSHOTS"):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_photos_are_uploaded_and_a_job_is_watched_to_its_end(house: Any, page: Page, scene: Any) -> None:
    page.goto("/")
    page.get_by_role("link", name="Upload", exact=True).click()
    files = [{"name": f"mine-{n}.png", "mimeType": "image/png", "buffer": scene(500 + n)[0]} for n in range(4)]
    page.set_input_files("#images", files)
    expect(page.locator("#picked")).to_have_text("4 chosen: mine-0.png, mine-1.png, mine-2.png, …")
    shot(page, "upload")
    page.get_by_role("button", name="Caption them").click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    expect(page.locator(".state").first).to_have_text("done")  # no reload: the page follows by itself
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator(".card img").first).to_have_attribute("alt", re.compile(r"\w+ \w+"))


def test_search_finds_and_clears(captioned: Any, page: Page) -> None:
    page.goto("/")
    word = text_of_first(page).split()[-1]
    page.keyboard.press("/")
    page.keyboard.type(word)
    expect(page).to_have_url(re.compile(rf"q={word}(&|$)"))
    captions = page.locator(".card .caption")
    expect(captions.filter(has_not_text=word)).to_have_count(0)  # the address changes before the cards do
    assert captions.count()
    page.fill("#q", "no such words at all")
    expect(page.locator(".empty")).to_contain_text("No photo fits")
    page.go_back()
    expect(captions.filter(has_text=word).first).to_be_visible()
    page.goto("/?only=failed")
    expect(page.locator(".card").filter(has_text="broken.jpg")).to_have_count(1)


def text_of_first(page: Page) -> str:
    return page.locator(".card .caption").first.inner_text().lower()


def test_a_caption_is_edited_and_undone_with_the_keyboard_alone(captioned: Any, page: Page) -> None:
    page.goto("/")
    shot(page, "gallery")
    # Given the second photo, reached by arrows
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    card = page.locator(".card").nth(1)
    expect(card.locator(".edit")).to_be_focused()
    before = card.locator(".caption").text_content()
    assert before
    # When Enter opens the field, words are typed over, and Enter saves
    page.keyboard.press("Enter")
    expect(card.locator("textarea")).to_be_focused()
    page.keyboard.type("two dots and a dash <b>bold</b>")
    page.keyboard.press("Enter")
    # Then the person's words stand there, as text, and the focus is back
    expect(card.locator(".caption")).to_have_text("two dots and a dash <b>bold</b>")
    expect(card.locator(".badge.human")).to_have_text("edited")
    expect(card.locator(".edit")).to_be_focused()
    expect(page.locator("#said")).to_have_text("Caption saved")  # it fades after four seconds
    # And no job writes over them
    made = captioned.client.post("/v1/jobs", json={"paths": [str(captioned.photos)], "mode": "replace"})
    captioned.wait_for(made.json()["job"])
    page.reload()
    expect(card.locator(".caption")).to_have_text("two dots and a dash <b>bold</b>")
    # When Esc leaves the field, nothing changed
    card.locator(".edit").click()
    expect(card.locator("textarea")).to_be_focused()
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    expect(card.locator(".caption")).to_have_text("two dots and a dash <b>bold</b>")
    # When the edit is undone, the model's words are back
    card.get_by_role("button", name="Undo").click()
    expect(card.locator(".caption")).to_have_text(before)
    expect(card.locator(".badge.human")).to_have_count(0)


def test_arrows_move_through_the_grid_and_through_single_photos(captioned: Any, page: Page) -> None:
    page.goto("/")
    columns = page.evaluate(
        "() => { const t = [...document.querySelectorAll('.card')].map(c => c.getBoundingClientRect().top);"
        " return t.filter(x => x === t[0]).length }"
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".card .edit").nth(columns)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".card .edit").first).to_be_focused()
    page.locator(".card .picture").first.click()
    page.wait_for_url(re.compile(r"/photos/\d+$"))
    page.wait_for_load_state()
    first = page.url
    shot(page, "photo")
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(first)
    page.wait_for_load_state()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(first)
    page.wait_for_load_state()
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"/$"))


def test_failures_have_reasons_and_a_retry(captioned: Any, page: Page, scene: Any) -> None:
    page.goto("/failures")
    expect(page.locator("td").filter(has_text="broken JPEG").first).to_be_visible()
    shot(page, "failures")
    # Given that somebody mended the file
    (captioned.photos / "broken.jpg").write_bytes(scene(700)[0])
    # When the job is tried again, it ends without a failure
    page.get_by_role("button", name=re.compile("Retry job")).first.click()
    expect(page.locator(".state").first).to_have_text("done")
    expect(page.locator(".line.big")).not_to_contain_text("failed")
    (captioned.photos / "broken.jpg").unlink()


def test_two_models_stand_side_by_side(captioned: Any, page: Page) -> None:
    page.goto("/compare")
    expect(page.locator(".pairs li").first).to_be_visible()
    expect(page.locator("#found .numbers")).to_contain_text("photos captioned by both")
    everything = page.locator(".pairs li").count()
    page.get_by_label("only where they differ").check()
    expect(page).to_have_url(re.compile("changed=true"))
    assert page.locator(".pairs li").count() <= everything


def test_queues_are_paused_and_go_on(captioned: Any, page: Page) -> None:
    page.goto("/workers")
    page.get_by_role("button", name="Pause caption").click()
    expect(page.locator(".state.cancelled")).to_have_text("paused")
    assert "paused" in captioned.command("status").stdout
    page.get_by_role("button", name="Resume caption").click()
    expect(page.locator(".state.cancelled")).to_have_count(0)


def test_a_job_is_cancelled(captioned: Any, page: Page) -> None:
    captioned.command("pause", "caption")
    try:
        made = captioned.client.post("/v1/jobs", json={"paths": [str(captioned.photos)], "mode": "replace"}).json()
        page.goto(f"/jobs/{made['job']}")
        expect(page.locator(".problem")).to_contain_text("The queue is paused")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".state").first).to_have_text("cancelled")
    finally:
        captioned.command("resume", "caption")


def test_a_training_run_shows_its_curves_while_it_goes_on(captioned: Any, page: Page) -> None:
    # Given a run with 300 steps and two epochs, which no worker takes up
    captioned.command("pause", "train")
    with captioned.ledger.write() as connection:
        made = training.enqueue(connection, base="demo", weights=None, data="scenes", plan={"epochs": 3}, priority=0)
        connection.execute(job.update().where(job.c.id == made.job_id).values(state="running"))
        training.begin(connection, made.id, plan={"epochs": 3}, pictures=100, steps=450)
        training.add_steps(connection, made.id, [_step(n) for n in range(1, 301)])
        for number in (1, 2):
            metrics = {"bleu_4": 0.2 + 0.1 * number, "cider_d": 0.6 + 0.2 * number}
            loss = 2.0 / number
            training.add_epoch(connection, made.id, Epoch(number, 150 * number, loss, loss + 0.3, metrics, 12.0))
        training.add_evaluation(
            connection, made.id, data="scenes", model=f"run:{made.id}", figures={"cider_d": Figure(1.0)}, pictures=10
        )
    try:
        page.goto("/runs")
        page.get_by_role("link", name=f"Run {made.id}").click()
        charts = page.get_by_role("img")
        expect(charts.first).to_have_attribute("aria-label", re.compile("Loss by step: training at last"))
        expect(charts.first.locator("polyline")).to_have_count(3)  # the noise behind, its mean, validation
        shot(page, "training")
        expect(page.get_by_role("region", name="Scores on held-out photos")).to_contain_text("CIDEr-D1.000")
        # When more steps come in, the page shows them by itself
        with captioned.ledger.write() as connection:
            training.add_steps(connection, made.id, [_step(n) for n in range(301, 311)])
        expect(page.locator(".numbers").first).to_contain_text("step 310 of 450")
        # And its job leads back to it
        page.get_by_role("link", name=f"job {made.job_id}").click()
        expect(page.get_by_role("link", name=f"Run {made.id}: its curves")).to_be_visible()
    finally:
        with captioned.ledger.write() as connection:
            connection.execute(job.update().where(job.c.id == made.job_id).values(state="cancelled"))
        captioned.command("resume", "train")


def _step(number: int) -> Step:
    loss = 4.0 / (1 + number / 40) + Random(number).gauss(0, 0.12)
    return Step(number, number / 150, loss + 1.0, max(0.1, loss), 5e-5 * min(1, number / 30), 1.0)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_of_accessibility(captioned: Any, page: Page, path: str, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    faults(page)


def test_a_single_photo_and_an_edited_card_have_none_either(captioned: Any, page: Page) -> None:
    page.goto("/")
    page.locator(".card .edit").first.click()
    expect(page.locator("textarea")).to_be_focused()
    faults(page)
    page.goto("/")
    page.locator(".card .picture").first.click()
    page.wait_for_url(re.compile(r"/photos/\d+"))
    page.wait_for_load_state()
    faults(page)


def faults(page: Page) -> None:
    page.evaluate(AXE_FILE_PATH.read_text())
    found = page.evaluate("() => axe.run().then(r => r.violations)")
    serious = [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("path", PAGES)
def test_every_page_fits_a_phone(captioned: Any, page: Page, path: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(path)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    if path == "/":
        shot(page, "phone")


def test_more_photos_come_while_scrolling(captioned: Any, page: Page) -> None:
    # Given more photos than a page has: 100 copies of one, by name
    with captioned.ledger.write() as connection:
        known = connection.scalar(select(file.c.image_id).where(file.c.image_id.is_not(None)).limit(1))
        top = connection.scalar(select(func.max(file.c.id)))
        rows = [{"path": f"/copies/{n}.png", "size": 1, "mtime_ns": 0, "image_id": known} for n in range(100)]
        connection.execute(insert(file), rows)
    try:
        page.goto("/")
        expect(page.locator(".card")).to_have_count(48)
        page.locator(".more").scroll_into_view_if_needed()
        expect(page.locator(".card")).to_have_count(96)
    finally:
        with captioned.ledger.write() as connection:
            connection.execute(file.delete().where(file.c.id > top, file.c.path.like("/copies/%")))


def test_pages_work_without_scripts(captioned: Any) -> None:
    # Given a browser that runs none, a person edits by plain forms
    with captioned.ledger.read() as connection:
        number = connection.scalar(
            select(func.min(file.c.id))
            .join(caption, caption.c.image_id == file.c.image_id)
            .where(file.c.path.like("/%"))
        )
    sent = captioned.client.post(f"/photos/{number}/words", data={"text": "by hand"})
    assert (sent.status_code, sent.headers["location"]) == (303, f"/photos/{number}")
    assert "by hand" in captioned.client.get(f"/photos/{number}").text
    captioned.client.post(f"/photos/{number}/undo")
    assert "<dd>" not in captioned.client.get("/?q=by+hand").text
    missing = captioned.client.get("/photos/99999999", headers={"accept": "text/html"})
    assert missing.status_code == 404
    assert "there is no such photo" in missing.text
    assert "there is nothing at /nowhere" in captioned.client.get("/nowhere", headers={"accept": "text/html"}).text
