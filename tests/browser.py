"""Pages in headless Chromium: what lies outside, what is alive, what the console says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 1280)
# Windows cannot be narrower than about 500 pixels, iframes can. The page itself forbids scripts.
MEASURE = """
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach(part => { part.open = true; });
    const inside = element => element.closest(".scroll") || element.closest("svg");
    const out = [...page.body.querySelectorAll("*")].filter(element =>
      !inside(element) && element.getBoundingClientRect().right > root.clientWidth + 1);
    const boxes = [...page.querySelectorAll(".scroll")];
    const ruled = boxes.filter(box => frame.contentWindow.getComputedStyle(box).overflowX === "auto");
    return {
      client: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight,
      out: out.map(element => element.outerHTML.slice(0, 80)),
      boxes: boxes.length, ruled: ruled.length,
      live: page.querySelectorAll("script, img, a, iframe, object, form, link").length,
      text: page.body.textContent,
      paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    };
  });
  document.body.textContent = "MEASURED" + JSON.stringify(found) + "END";
});
</script>
"""


def find_chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    reason = "no chromium on PATH; install it, e.g. `apt-get install chromium`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def measure(html: str, directory: Path, *flags: str) -> list[dict[str, Any]]:
    """Lay a page out at each width and return what the browser says about it."""
    source = escape(html)
    frames = "".join(
        f'<iframe srcdoc="{source}" style="width:{width}px;height:900px;border:0"></iframe>'
        for width in WIDTHS
    )
    wrapper = directory / "wrapper.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><body>{frames}{MEASURE}</body>', encoding="utf-8"
    )
    done = run_chromium(wrapper, directory, *flags)
    found = re.search("MEASURED(.*)END", done.stdout)
    assert found is not None, f"chromium exited with {done.returncode}: {done.stderr[-2000:]}"
    return list(json.loads(unescape(found[1])))


def run_chromium(file: Path, directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [
        find_chromium(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={directory / 'profile'}",
        "--window-size=1400,1000",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        *flags,
        "--dump-dom",
        file.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def console(html: str, directory: Path) -> list[str]:
    """What the page says on the browser's console when it is opened as a file."""
    file = directory / "report.html"
    file.write_text(html, encoding="utf-8")
    done = run_chromium(file, directory)
    assert "</html>" in done.stdout, f"chromium exited with {done.returncode}: {done.stderr[-2000:]}"
    return re.findall(r"CONSOLE.*", done.stderr)
