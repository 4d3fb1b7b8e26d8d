"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import attrs
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.support.requirements import required

__all__ = ["DEVICES", "Device", "chromium", "complaints"]

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Other tests may be using all cores.
expect.set_options(timeout=30_000)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser for as long as the block lasts."""
    program = required("chromium")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield launched
        await launched.close()


def complaints(page: Page) -> list[str]:
    """Return a list to which errors on *page* will be added."""
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("requestfailed", lambda request: heard.append(f"{request.method} {request.url}: {request.failure}"))
    return heard


@attrs.frozen
class Device:
    """A device on which pages are viewed."""

    name: str
    width: int
    height: int
    is_phone: bool
    color_scheme: Literal["light", "dark"]

    @contextlib.asynccontextmanager
    async def context(self, browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
        """Yield a new context of *browser* for this device, with other *options* of Playwright's."""
        context = await browser.new_context(
            viewport={"width": self.width, "height": self.height},
            is_mobile=self.is_phone,
            has_touch=self.is_phone,
            color_scheme=self.color_scheme,
            **options,
        )
        yield context
        await context.close()

    async def press(self, target: Locator) -> None:
        """Click, or tap where there is no mouse."""
        await (target.tap() if self.is_phone else target.click())


DEVICES = [
    Device("desktop-light", 1280, 900, is_phone=False, color_scheme="light"),
    Device("desktop-dark", 1280, 900, is_phone=False, color_scheme="dark"),
    Device("phone-light", 390, 844, is_phone=True, color_scheme="light"),
    Device("phone-dark", 390, 844, is_phone=True, color_scheme="dark"),
]
