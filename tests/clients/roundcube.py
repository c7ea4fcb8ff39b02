"""Roundcube as Debian packages it, in a headless Chromium: somebody logs in, lists, reads, searches, moves, makes a
folder with a UTF-8 name, writes a letter and finds new mail, by pressing what a person presses.

Roundcube's own web server is PHP's; its configuration, database, caches and logs are in a directory of this run.
Roundcube keeps its cache of messages by CONDSTORE and QRESYNC, so the same folder is opened again after changes.
"""

import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from common import *

USER = "alice"
FOLDER = "Entwürfe 日本"
SUBMISSION = int(os.environ["RINGPOST_SUBMISSION"])
ROOT = "/var/lib/roundcube/public_html"
# More than one page of fifty.
LETTERS = 60


def letter(number):
    fields = f"From: Sender {number} <s{number}@example.net>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe_{number}?=\r\n"
    return f"{fields}Message-ID: <{number}@client.example.net>\r\n\r\nBody of letter {number}.\r\n".encode()


def settings(home):
    tls = "['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]]"
    return f"""<?php
$config['db_dsnw'] = 'sqlite:///{home}/db.sqlite?mode=0600';
$config['imap_host'] = '{HOST}:{IMAP}';
$config['smtp_host'] = 'tls://{HOST}:{SUBMISSION}';
$config['smtp_conn_options'] = {tls};
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
$config['des_key'] = 'rcmail-of-one-run-only-!';
$config['imap_cache'] = 'db';
$config['messages_cache'] = 'db';
$config['log_dir'] = '{home}/logs/';
$config['temp_dir'] = '{home}/temp/';
$config['imap_debug'] = true;
$config['smtp_debug'] = true;
$config['language'] = 'en_US';
$config['refresh_interval'] = 60;
$config['plugins'] = [];
$config['skin'] = 'elastic';
"""


class Site:
    """Roundcube behind PHP's own web server."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        configuration = self.home / "config"
        for name in ("logs", "temp", "config"):
            (self.home / name).mkdir()
        for name in ("defaults.inc.php", "mimetypes.php"):
            shutil.copy(f"/etc/roundcube/{name}", configuration)
        (configuration / "config.inc.php").write_text(settings(home))
        self.port = int(os.environ["RINGPOST_WEB"])
        options = ["-d", "variables_order=EGPCS", "-d", "session.save_path=" + str(self.home / "temp")]
        self.output = open(self.home / "logs" / "php", "w+")
        self.process = subprocess.Popen(
            ["php", *options, "-S", f"{HOST}:{self.port}", "-t", ROOT],
            env={**os.environ, "ROUNDCUBE_CONFIG_DIR": str(configuration), "PHP_CLI_SERVER_WORKERS": "4"},
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(self.url(), timeout=PATIENCE).read()
                return
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, self.logs()
                time.sleep(0.1)

    def url(self):
        return f"http://{HOST}:{self.port}/"

    def logs(self):
        files = sorted((self.home / "logs").iterdir())
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def errors(self):
        """What Roundcube complains of, but for the password that was wrong on purpose."""
        file = self.home / "logs" / "errors.log"
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        return [line for line in lines if "Login failed" not in line]

    def close(self):
        # The workers are of its process group, which is its own.
        os.killpg(self.process.pid, 15)
        self.process.wait(PATIENCE)


class Browser:
    def __init__(self, home):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1400,900",
            "--lang=en-US",
            f"--user-data-dir={home}/browser",
        ):
            options.add_argument(argument)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(PATIENCE)

    def until(self, condition, what):
        waiting = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05)
        return waiting.until(lambda _: self.attempt(condition), what)

    def attempt(self, condition):
        try:
            return condition()
        except Exception as error:  # the page is being rebuilt; the wait is bounded
            self.last = error
            return None

    def find(self, selector):
        return self.until(lambda: self.visible(selector), f"nothing shown is {selector}")

    def visible(self, selector):
        shown = [each for each in self.driver.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]
        return shown[0] if shown else None

    def press(self, selector):
        def click():
            self.visible(selector).click()
            return True

        self.until(click, f"{selector} cannot be pressed")

    def write(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text)
        return field

    def idle(self):
        """Until Roundcube waits for nothing."""
        busy = "return !window.rcmail || rcmail.busy || jQuery.active > 0"
        self.until(lambda: not self.driver.execute_script(busy), "Roundcube stays busy")

    def subjects(self):
        rows = self.driver.find_elements(By.CSS_SELECTOR, "#messagelist tbody tr td.subject span.subject a")
        return [row.text.strip() for row in rows]

    def shows(self, wanted):
        self.until(lambda: self.subjects() == wanted, f"the list is not {wanted}, but {self.subjects()}")
        self.idle()

    def folder(self, name):
        self.press(f"#mailboxlist a[rel='{name}']")
        self.until(lambda: self.driver.execute_script("return rcmail.env.mailbox") == name, f"{name} does not open")
        self.idle()

    def select(self, subject):
        def click():
            for row in self.driver.find_elements(By.CSS_SELECTOR, "#messagelist tbody tr"):
                if subject in row.text:
                    row.find_element(By.CSS_SELECTOR, "td.subject").click()
                    return True
            return False

        self.until(click, f"no letter is {subject}")

    def frame(self, name, look):
        """What `look` gives inside a frame."""

        def inside():
            self.driver.switch_to.default_content()
            self.driver.switch_to.frame(self.driver.find_element(By.CSS_SELECTOR, name))
            return look()

        try:
            return self.until(inside, f"{name} does not show it")
        finally:
            self.driver.switch_to.default_content()


def log_in(browser, site):
    browser.driver.get(site.url())
    browser.write("#rcmloginuser", address(USER))
    browser.write("#rcmloginpwd", PASSWORD + "!")
    browser.press("#rcmloginsubmit")
    browser.until(lambda: "Login failed" in browser.driver.page_source, "a wrong password is not refused")
    browser.write("#rcmloginuser", address(USER))
    browser.write("#rcmloginpwd", PASSWORD)
    browser.press("#rcmloginsubmit")
    browser.find("#messagelist")
    browser.idle()


def look_and_read(browser):
    # Newest first, a page of fifty.
    browser.shows([f"Grüße {number}" for number in range(LETTERS, LETTERS - 50, -1)])
    browser.select(f"Grüße {LETTERS}")
    text = browser.frame("#messagecontframe", lambda: browser.visible("#messagebody").text)
    assert f"Body of letter {LETTERS}." in text, text
    sender = browser.frame("#messagecontframe", lambda: browser.visible("#message-header").text)
    assert f"Sender {LETTERS}" in sender, sender
    browser.press(".pagenav a.nextpage")
    browser.shows([f"Grüße {number}" for number in range(LETTERS - 50, 0, -1)])
    browser.press(".pagenav a.prevpage")
    browser.until(lambda: len(browser.subjects()) == 50, "the first page does not come back")
    browser.idle()


def search(browser):
    browser.write("#mailsearchform", "letter 7.")
    browser.press("a.button.options")
    for scope, wanted in (("subject", False), ("sender", False), ("body", True)):
        switch = f"#searchmenu input[name='s_mods[]'][value='{scope}']"
        browser.driver.execute_script("jQuery(arguments[0]).prop('checked', arguments[1]).change()", switch, wanted)
    browser.press("#searchmenu button")
    browser.shows(["Grüße 7"])
    browser.press("a.button.reset")
    browser.until(lambda: len(browser.subjects()) == 50, "the search does not end")
    browser.idle()


def make_folder(browser):
    """By the settings page, as a person would; it comes back to the mail."""
    browser.press("a.settings")
    browser.press("li.folders a")
    browser.press("a.create:not(.disabled)")
    browser.frame("#preferences-frame", lambda: browser.visible("input[name='_name']").send_keys(FOLDER) or True)
    browser.frame("#preferences-frame", lambda: browser.visible("button.submit").click() or True)
    browser.until(lambda: FOLDER in browser.driver.find_element(By.CSS_SELECTOR, "#subscription-table").text, "no folder")
    browser.idle()
    browser.press("a.mail")
    browser.find("#messagelist tbody tr")
    browser.idle()


def move(browser, subject, name):
    """Selects a letter and takes "Move to…" from the menu."""
    browser.select(subject)
    browser.idle()
    browser.press("#messagemenulink")
    browser.press("#message-menu a.move.active")
    browser.until(lambda: click_text(browser, "#folder-selector a", name), f"{name} is not offered")
    browser.until(lambda: subject not in browser.subjects(), f"{subject} stays in the list")
    browser.idle()


def click_text(browser, selector, text):
    for each in browser.driver.find_elements(By.CSS_SELECTOR, selector):
        if each.text.strip() == text and each.is_displayed():
            each.click()
            return True
    return False


def compose(browser):
    browser.press("a.compose")
    browser.find("#composebody")
    browser.idle()
    browser.until(lambda: browser.visible(".recipient-input input").send_keys(address("bob") + ",") or True, "no field")
    browser.write("#compose-subject", "Für Bob")
    browser.find("#composebody").send_keys("Ein Brief.")
    browser.press("button.send")
    browser.find("#messagelist")
    browser.idle()


def job(browser, site):
    client = imap(USER, "INBOX")
    log_in(browser, site)
    look_and_read(browser)
    assert ok(client.uid("SEARCH", "SEEN"))[0] == str(LETTERS).encode()
    search(browser)
    make_folder(browser)
    move(browser, f"Grüße {LETTERS - 1}", FOLDER)
    ok(client.noop())
    assert ok(client.uid("SEARCH", "UID", str(LETTERS - 1)))[0] == b""
    browser.select(f"Grüße {LETTERS - 2}")
    browser.press(".toolbar a.delete:not(.disabled)")
    browser.until(lambda: f"Grüße {LETTERS - 2}" not in browser.subjects(), "it is not deleted")
    browser.idle()
    assert counts(client, "Trash", "MESSAGES") == {"MESSAGES": 1}

    compose(browser)
    assert fetch_all("bob")[-1].count(b"Ein Brief.") == 1
    assert counts(client, "Sent", "MESSAGES", "UNSEEN") == {"MESSAGES": 1, "UNSEEN": 0}
    browser.folder("Sent")
    browser.shows(["Für Bob"])

    # Changed behind its back: the cache is brought up to date by MODSEQ.
    ok(client.noop())
    ok(client.uid("STORE", "1:5", "+FLAGS", "(\\Deleted)"))
    ok(client.expunge())
    ok(client.uid("STORE", str(LETTERS), "+FLAGS", "(\\Flagged)"))
    send(USER, letter(LETTERS + 1))
    browser.folder("INBOX")
    gone = {LETTERS - 1, LETTERS - 2}
    browser.shows([f"Grüße {number}" for number in range(LETTERS + 1, LETTERS + 1 - 52, -1) if number not in gone])
    flagged = browser.driver.find_elements(By.CSS_SELECTOR, "#messagelist tbody tr.flagged")
    assert len(flagged) == 1 and f"Grüße {LETTERS}" in flagged[0].text
    client.logout()


def main(home):
    for number in range(1, LETTERS + 1):
        send(USER, letter(number))
    site = Site(home)
    try:
        browser = Browser(home)
        try:
            job(browser, site)
        except BaseException:
            browser.driver.switch_to.default_content()
            browser.driver.save_screenshot(os.environ.get("ROUNDCUBE_SCREENSHOT", f"{home}/screen.png"))
            print(site.logs())
            raise
        finally:
            browser.driver.quit()
        assert not site.errors(), site.errors()
        # Every answer it was given was a good one.
        dialogue = (site.home / "logs" / "imap.log").read_text(errors="replace")
        bad = re.findall(r"S: A\d+ (?:NO|BAD) .*", dialogue)
        assert all("AUTHENTICATIONFAILED" in line for line in bad), bad
    finally:
        site.close()


def give_up(*_):
    raise TimeoutError("the whole job takes too long")


# Before whoever runs this would kill it, and leave the browser and PHP behind.
signal.signal(signal.SIGALRM, give_up)
signal.alarm(8 * PATIENCE)
with tempfile.TemporaryDirectory(prefix="ringpost-roundcube-") as directory:
    main(directory)
