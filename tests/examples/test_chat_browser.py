"""The page of the chat example, in Debian's Chromium."""

import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 30_000  # milliseconds
DESKTOP = (1280, 800)
PHONE = (390, 844)
SMALL_PHONE = (320, 568)

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=PATIENCE)


class Server:
    """A process that serves the example.

    Attributes:
        port: where it listens; kept when it is started again.
    """

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "theater", "run", "examples/chat", "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.fullmatch(r"Theater \S+ listening on (http://\S+)\n", line)
        if found is None:
            with self._process:
                self._process.kill()
            pytest.fail(f"the server does not start: it said {line!r}")
        self.port = urlsplit(found[1]).port or 0

    def stop(self) -> None:
        with self._process as process:
            process.terminate()
            assert process.wait(20) == 0


class Network:
    """A way to the server that can be cut: it passes on the bytes of TCP connections.

    Args:
        target: port of the server.

    Attributes:
        port: where clients connect to.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._up = True
        self._sockets: set[socket.socket] = set()
        self._dead: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections, and refuses new ones."""
        with self._lock:
            self._up = False
            for each in self._sockets:
                _reset(each)

    def restore(self) -> None:
        """Lets connections through again."""
        with self._lock:
            self._up = True

    def fall_silent(self) -> None:
        """Swallows what is sent on the connections there are, without closing them; new ones are well."""
        with self._lock:
            self._dead |= self._sockets

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._up:
                    _reset(client)
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source not in self._dead:
                    sink.sendall(data)
        if source not in self._dead:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            if source in self._sockets:
                self._sockets.discard(source)
                source.close()


def _reset(connection: socket.socket) -> None:
    """Ends a connection as a broken one ends."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(executable).exists():
        pytest.skip("CHROMIUM IS MISSING: the page of examples/chat is NOT TESTED (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def network(server: Server) -> Iterator[Network]:
    network = Network(server.port)
    yield network
    network.close()


class Visitor:
    """Somebody who looks at the page.

    Args:
        page: a page of the browser.

    Attributes:
        text: where messages are written.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.text = page.get_by_label("Message", exact=True)

    def open(self, port: int, room: str = "lobby") -> "Visitor":
        self.page.goto(f"http://127.0.0.1:{port}/#{room}")
        return self

    def join(self, name: str) -> "Visitor":
        self.page.get_by_label("Your name", exact=True).fill(name)
        self.page.get_by_role("button", name="Join").click()
        self.expect_online()
        return self

    def say(self, text: str) -> None:
        self.text.fill(text)
        self.page.get_by_role("button", name="Send").click()

    def find(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def expect_online(self) -> None:
        expect(self.find("#state")).to_have_text("Online")

    def expect_said(self, *texts: str) -> None:
        """Checks all the messages that are shown, in order."""
        expect(self.find("#log .bubble")).to_have_text(list(texts))

    def expect_members(self, *names: str) -> None:
        expect(self.find("#members bdi")).to_have_text(list(names))

    def expect_nothing_outside(self) -> None:
        """Checks that no part of the page is beside the screen."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        outside = self.page.evaluate(
            """() => [...document.querySelectorAll("main, main *")]
                .filter((each) => each.checkVisibility() && !each.closest(".unseen, .more > .head"))
                .filter((each) => { const box = each.getBoundingClientRect();
                                    return box.left < -0.5 || box.right > innerWidth + 0.5; })
                .map((each) => each.outerHTML.slice(0, 80))"""
        )
        assert outside == []


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Makes visitors, each with a browser profile of their own. No page may break its policy or raise."""
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "WebSocket connection to" not in message.text:
            problems.append(message.text)

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", note)

    with ExitStack() as contexts:

        def visit(size: tuple[int, int] = DESKTOP, context: BrowserContext | None = None) -> Visitor:
            if context is None:
                width, height = size
                phone = size != DESKTOP
                context = contexts.enter_context(
                    browser.new_context(
                        viewport={"width": width, "height": height},
                        has_touch=phone,
                        is_mobile=phone,
                        reduced_motion="reduce",
                    )
                )
                context.set_default_timeout(PATIENCE)
                context.on("page", watch)
            return Visitor(context.new_page())

        yield visit
    assert problems == []


def test_two_chat_in_one_room(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    ada.expect_members("Ada")
    expect(ada.find("#empty")).to_be_visible()
    ada.say("Is anybody here?")
    ada.expect_said("Is anybody here?")
    grace = visit().open(server.port).join("Grace")
    grace.expect_said("Is anybody here?")
    expect(ada.find(".notice")).to_have_text("Grace joined")
    for visitor, members in ((ada, ("Ada", "Grace")), (grace, ("Grace", "Ada"))):
        visitor.expect_members(*members)
        expect(visitor.find("#present")).to_have_text("2 people are here")
    grace.say("Yes!\nMe.")
    grace.say("And me again.")
    said = ("Is anybody here?", "Yes!\nMe.", "And me again.")
    for visitor in (ada, grace):
        visitor.expect_said(*said)
        expect(visitor.find("#pending li")).to_have_count(0)
        expect(visitor.find("#empty")).to_be_hidden()
    expect(grace.find(".message.own .bubble")).to_have_text(list(said[1:]))
    expect(ada.find(".message:not(.own) .author")).to_have_text(["Grace", "Grace"])
    expect(ada.find(".message:not(.own) > .avatar:visible")).to_have_text(["Gr"])  # one for the group
    grace.page.close()
    expect(ada.find(".notice").last).to_have_text("Grace left")
    ada.expect_members("Ada")


def test_enter_sends_and_shift_enter_does_not(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    expect(ada.text).to_be_focused()
    ada.text.press_sequentially("one")
    ada.text.press("Shift+Enter")
    ada.text.press_sequentially("two")
    ada.text.press("Enter")
    ada.expect_said("one\ntwo")
    expect(ada.text).to_have_value("")
    ada.text.press("Enter")
    ada.say("three")
    ada.expect_said("one\ntwo", "three")


def test_what_others_write_is_text(server: Server, visit: Visit) -> None:
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    name = "<b>Eve</b>"
    ada = visit().open(server.port).join("Ada")
    eve = visit().open(server.port).join(name)
    eve.say(attack)
    ada.expect_said(attack)
    ada.expect_members("Ada", name)
    expect(ada.find(".notice")).to_have_text(f"{name} joined")
    expect(ada.find(".message .author")).to_have_text(name)
    expect(ada.find("#log img, #log script, #log b, #members b")).to_have_count(0)


def test_names_can_clash_and_be_changed(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    other = visit().open(server.port).join("Ada")
    other.expect_members("Ada 2", "Ada")
    expect(other.find(".notice")).to_have_text("You are called Ada 2 here")
    other.page.get_by_role("button", name="Change your name").click()
    other.page.get_by_label("Your name", exact=True).fill("Grace")
    other.page.get_by_role("button", name="Save").click()
    expect(ada.find(".notice").last).to_have_text("Ada 2 is Grace now")
    expect(other.find("#me b")).to_have_text("Grace")
    other.expect_members("Grace", "Ada")
    ada.expect_members("Ada", "Grace")


def test_rooms_are_switched_and_shared_by_url(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    ada.say("In the lobby")
    ada.expect_said("In the lobby")
    ada.text.fill("not finished")
    ada.page.get_by_label("Go to a room").fill(" Grüne Wiese! ")
    ada.page.get_by_label("Go to a room").press("Enter")
    expect(ada.find("h1")).to_have_text("grüne-wiese")
    ada.expect_online()
    expect(ada.find("#empty")).to_be_visible()
    expect(ada.text).to_have_value("")
    ada.say("On the meadow")
    ada.expect_said("On the meadow")
    grace = visit()
    grace.page.goto(ada.page.url)
    grace.join("Grace").expect_said("On the meadow")
    ada.page.get_by_role("link", name="lobby").click()
    ada.expect_said("In the lobby")
    expect(ada.text).to_have_value("not finished")
    expect(ada.find("#rooms a")).to_have_text(["lobby", "grüne-wiese"])
    ada.page.go_back()
    ada.expect_said("On the meadow")
    ada.expect_members("Ada", "Grace")


def test_who_is_cut_off_comes_back_by_itself(server: Server, network: Network, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    grace = visit().open(network.port).join("Grace")
    ada.say("before")
    grace.expect_said("before")

    network.cut()
    expect(grace.find("#state")).to_have_text(re.compile(r"Reconnecting in \d+ s"))
    expect(grace.find("#trouble")).to_be_visible()
    expect(ada.find(".notice").last).to_have_text("Grace left")
    ada.say("meanwhile")
    ada.expect_said("before", "meanwhile")
    grace.say("from the tunnel")
    grace.say("still there")
    expect(grace.find("#pending .bubble")).to_have_text(["from the tunnel", "still there"])
    expect(grace.find("#pending .fate")).to_have_text(["Sending…", "Sending…"])
    grace.text.fill("half a sent")
    grace.expect_said("before")

    network.restore()
    grace.expect_online()
    expect(grace.find("#trouble")).to_be_hidden()
    expect(grace.find("#pending li")).to_have_count(0)
    for visitor in (ada, grace):
        visitor.expect_said("before", "meanwhile", "from the tunnel", "still there")
    grace.expect_members("Grace", "Ada")
    expect(grace.text).to_have_value("half a sent")


def test_impatient_one_need_not_wait(server: Server, network: Network, visit: Visit) -> None:
    grace = visit().open(network.port).join("Grace")
    grace.page.evaluate("Math.random = () => 0.999999; void 0")
    network.cut()
    expect(grace.find("#state")).to_have_text(re.compile("Reconnecting in [4-9] s"))  # the fourth attempt
    network.restore()
    grace.page.get_by_role("button", name="Try now").click()
    grace.expect_online()


@pytest.mark.parametrize("hint", ["online", "offline", "no answer"])
def test_silently_broken_connection_is_replaced_unnoticed(
    server: Server, network: Network, visit: Visit, hint: str
) -> None:
    ada = visit().open(server.port).join("Ada")
    grace = visit()
    grace.page.clock.install()
    grace.open(network.port).join("Grace")
    expect(ada.find(".notice")).to_have_text("Grace joined")
    network.fall_silent()
    grace.say("Does this arrive?")
    expect(grace.find("#pending .fate")).to_have_text("Sending…")
    if hint == "no answer":
        grace.page.clock.fast_forward(10_000)
    else:
        grace.page.evaluate(f"window.dispatchEvent(new Event('{hint}'))")
    ada.expect_said("Does this arrive?")
    grace.expect_said("Does this arrive?")
    grace.expect_online()
    ada.expect_members("Ada", "Grace")
    expect(ada.find(".notice")).to_have_text("Grace joined")


def test_coming_and_going_makes_one_line(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    grace = visit().open(server.port).join("Grace")
    ada.say("Hello")
    ada.expect_said("Hello")
    for _ in range(2):
        grace.page.reload()
        grace.expect_online()
        expect(ada.find(".notice")).to_have_text(["Grace joined", "Grace came back"])
    grace.page.close()
    expect(ada.find(".notice")).to_have_text(["Grace joined", "Grace left"])


def test_server_can_be_restarted(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    grace = visit().open(server.port).join("Grace")
    ada.say("before")
    grace.expect_said("before")
    server.stop()
    for visitor in (ada, grace):
        expect(visitor.find("#state")).to_have_text(re.compile("Reconnecting|Connecting"))
    ada.say("while it was down")
    server.start()
    for visitor in (ada, grace):
        visitor.expect_online()
        visitor.expect_said("before", "while it was down")
    grace.say("after")
    ada.expect_said("before", "while it was down", "after")


def test_waiting_messages_are_bounded(server: Server, network: Network, visit: Visit) -> None:
    ada = visit().open(network.port).join("Ada")
    network.cut()
    expect(ada.find("#trouble")).to_be_visible()
    for number in range(21):
        ada.say(str(number))
    expect(ada.find("#pending .bubble")).to_have_count(20)
    expect(ada.find("#hint")).to_have_text("20 messages wait to be sent already. This one stays here.")
    expect(ada.text).to_have_value("20")
    network.restore()
    ada.expect_said(*map(str, range(20)))


def test_reload_keeps_name_draft_and_whose_message_it_is(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    ada.say("mine")
    ada.expect_said("mine")
    ada.text.fill("not finished")
    ada.page.reload()
    ada.expect_online()
    ada.expect_members("Ada")
    expect(ada.find(".message.own .bubble")).to_have_text("mine")
    expect(ada.text).to_have_value("not finished")
    window = visit(context=ada.page.context).open(server.port)  # a second window knows the name, too
    window.expect_members("Ada 2", "Ada")
    expect(window.find(".message:not(.own) .bubble")).to_have_text("mine")


def test_storage_may_be_forbidden(server: Server, visit: Visit) -> None:
    ada = visit()
    ada.page.add_init_script(
        """const get = () => { throw new DOMException("no", "SecurityError"); };
           Object.defineProperty(window, "localStorage", { get });
           Object.defineProperty(window, "sessionStorage", { get });"""
    )
    ada.open(server.port).join("Ada")
    ada.say("Hello")
    ada.expect_said("Hello")
    ada.page.get_by_label("Go to a room").fill("next")
    ada.page.get_by_label("Go to a room").press("Enter")
    expect(ada.find("#rooms a")).to_have_text(["lobby", "next"])


def test_reader_is_not_moved_by_new_messages(server: Server, visit: Visit) -> None:
    ada = visit().open(server.port).join("Ada")
    grace = visit().open(server.port).join("Grace")
    for number in range(12):
        grace.say(f"{number}\n" * 6)
    expect(ada.find(".bubble")).to_have_count(12)
    expect(ada.find(".bubble").last).to_be_in_viewport()
    ada.find("#scroll").evaluate("(scroll) => scroll.scrollTo(0, 0)")
    expect(ada.find(".bubble").first).to_be_in_viewport()
    grace.say("news")
    expect(ada.find("#newer")).to_have_text("1 new message")
    expect(ada.find(".bubble").first).to_be_in_viewport()
    ada.find("#newer").click()
    expect(ada.find(".bubble").last).to_be_in_viewport()
    expect(ada.find("#newer")).to_be_hidden()


@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE], ids=["phone", "small-phone"])
def test_page_fits_a_phone(server: Server, network: Network, visit: Visit, size: tuple[int, int]) -> None:
    room = "a-room-with-a-name-that-has-forty-letters"
    barbara = visit(size).open(network.port, room)
    barbara.expect_nothing_outside()
    barbara.join("W" * 24)
    barbara.expect_nothing_outside()
    grace = visit().open(server.port, room).join("M" * 24)
    for text in ("w" * 300, "https://example.org/" + "a/" * 100, "short", "\n".join("lines")):
        barbara.say(text)
        grace.say(text)
    expect(barbara.find(".bubble")).to_have_count(8)
    barbara.expect_nothing_outside()

    menu = barbara.page.get_by_role("button", name="Rooms and people")
    expect(barbara.find("#side")).to_be_hidden()
    menu.click()
    expect(barbara.find("#side")).to_be_visible()
    expect(menu).to_have_attribute("aria-expanded", "true")
    expect(barbara.find("#side a").first).to_be_focused()
    barbara.page.keyboard.press("Escape")
    expect(barbara.find("#side")).to_be_hidden()
    expect(menu).to_be_focused()

    network.cut()
    expect(barbara.find("#state")).to_have_text(re.compile("Reconnecting"))
    barbara.expect_nothing_outside()
    menu.click()
    barbara.page.get_by_role("link", name="lobby").click()
    expect(barbara.find("h1")).to_have_text("lobby")
    expect(barbara.find("#side")).to_be_hidden()
