"""The processes of a run: the emulator, and one daemon after the other."""

import asyncio
import collections
import glob
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

ACCOUNT = "123456789012"
SESSIONS = ("hour", "quarter", "brief", "chain", "keys", "turn")
# The granted lifetime in seconds.
LIVES = {"hour": 3600, "quarter": 900, "brief": 150, "chain": 900, "keys": 900, "turn": 900, "alone": 300}


def role(name):
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def libfaketime():
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


class Emulator:
    """AWS in two Regions. `do` sends a command that the emulator's control.rs defines."""

    def __init__(self, program, folder):
        command = [program, "--control", "--second-region", "us-west-2", "--directory", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lines = iter(self.process.stdout.readline, "ready\n")
        self.values = dict(line.strip().split("=", 1) for line in lines)
        self.lock = threading.Lock()
        # The second Region grants another duration.
        self.tell("second profile 900")
        self.brief_profile = self.tell("first another 150")
        self.alone_profile = self.tell("first another 300")

    def tell(self, command):
        with self.lock:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"the emulator refuses `{command}`: {answer['error']}")
        return answer["done"]

    async def do(self, command):
        return await asyncio.to_thread(self.tell, command)


class Settings:
    """The daemon's settings file. A reload changes a part of it."""

    def __init__(self, folder, values, emulator, port):
        self.folder, self.values, self.emulator, self.port = folder, values, emulator, port
        self.path = folder / "anchord.toml"
        self.turned = "turn-a"
        self.duration = "15m"
        self.level = "info"
        self.wrong_anchor = self.with_extra = False
        self.write()

    def session(self, name, role_name, profile=None, more=""):
        values = self.values
        lines = [f"[session.{name}]", f'role_arn = "{role(role_name)}"']
        lines += [f'{key} = "{values[key]}"' for key in ("certificate", "private_key", "trust_anchor_arn", "endpoint")]
        return "\n".join(lines + [f'profile_arn = "{profile or values["profile_arn"]}"', more, ""])

    def text(self):
        values = self.values
        fallback = "\n".join(
            f'fallback_{key} = "{values["second_" + key]}"' for key in ("trust_anchor_arn", "profile_arn", "endpoint")
        )
        sts = f'sts_endpoint = "{values["endpoint"]}"\n'
        chain = f'[[session.chain.assume_role]]\nrole_arn = "{role("chained")}"\nduration = "15m"'
        quarter = self.session("quarter", "quarter", more=f'duration = "{self.duration}"')
        if self.wrong_anchor:
            quarter = quarter.replace("EXAMPLE11111", "EXAMPLE99999")
        return "\n".join([
            f'runtime_directory = "{self.folder}/run"',
            f'[log]\nformat = "json"\nlevel = "{self.level}"',
            f'[http]\nlisten = ["127.0.0.1:{self.port}"]',
            '[imds]\nsession = "quarter"',
            f'[upstream]\nca_file = "{values["ca_file"]}"',
            self.session("hour", "hour", more=fallback),
            quarter,
            self.session("brief", "brief", profile=self.emulator.brief_profile),
            self.session("chain", "hop", more=sts + chain),
            f'[session.keys]\nsource = "access-keys"\naccess_keys = "file:{values["access_keys"]}"\n'
            f'region = "{values["region"]}"\nduration = "15m"\n{sts}',
            self.session("turn", self.turned, more='duration = "15m"'),
            self.session("extra", "extra") if self.with_extra else "",
        ])

    def write(self, text=None):
        new = self.path.with_suffix(".new")
        new.write_text(self.text() if text is None else text)
        new.rename(self.path)

    def alone(self):
        """The settings of processes without a daemon."""
        path = self.folder / "alone.toml"
        head = f'runtime_directory = "{self.folder}/nowhere"\n[upstream]\nca_file = "{self.values["ca_file"]}"\n'
        path.write_text(head + self.session("alone", "alone", profile=self.emulator.alone_profile))
        return path


class Log(threading.Thread):
    """Reads one daemon's stderr, unless the test leaves it unread."""

    def __init__(self, stream, totals):
        super().__init__(daemon=True)
        self.stream, self.totals = stream, totals
        self.flows = threading.Event()
        self.flows.set()
        self.seen = collections.Counter()
        self.start()

    def run(self):
        rest = b""
        while True:
            self.flows.wait()
            try:
                read = os.read(self.stream, 1 << 16)
            except OSError:
                return
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                self.take(line)

    def take(self, line):
        try:
            event = json.loads(line)
            level, message = event["level"], event["message"]
            self.seen[event.get("event")] += 1
        except (ValueError, KeyError):
            level, message = "OTHER", line.decode(errors="replace")
        if level in ("WARN", "ERROR", "OTHER") or "bug" in message or "panic" in message:
            self.totals[f"{level} {message[:110]}"] += 1


class Daemon:
    """The daemon that runs now. `times`, `figures` and `messages` are those of all daemons of the run."""

    def __init__(self, program, settings):
        self.program, self.settings = program, settings
        self.messages = collections.Counter()
        self.offset = self.offset_before = 0
        self.offset_at = 0.0
        self.offsets = settings.folder / "clock"
        self.offsets.write_text("+0s")
        self.faketime = libfaketime()
        self.steps = []
        self.gaps = []
        self.stops = []
        self.samples = []
        self.launches = 0
        self.process = None

    def launch(self):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.settings.folder)}
        if self.faketime:
            environment |= {
                "LD_PRELOAD": self.faketime, "FAKETIME_TIMESTAMP_FILE": str(self.offsets),
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
            }
        reading, writing = os.pipe()
        command = [self.program, "run", "--config", self.settings.path]
        self.process = subprocess.Popen(command, stderr=writing, env=environment, cwd=self.settings.folder)
        os.close(writing)
        self.log = Log(reading, self.messages)
        self.launches += 1
        self.launched_at = time.time()

    async def until(self, event, count=1, limit=15):
        """Waits until the log has shown an event so many times; `False` after the limit."""
        end = time.time() + limit
        while self.log.seen[event] < count:
            if time.time() > end:
                return False
            await asyncio.sleep(0.02)
        return True

    async def end(self, number, wait_for_log=True):
        """Ends the daemon with a signal and starts the next one immediately; returns how long the end took."""
        old, log = self.process, self.log
        gap = [time.time(), float("inf")]
        self.gaps.append(gap)
        old.send_signal(number)
        while old.poll() is None and time.time() < gap[0] + 20:
            await asyncio.sleep(0.005)
        took = time.time() - gap[0]
        if old.poll() is None:
            old.kill()
            old.wait()
        self.stops.append((signal.Signals(number).name, took, old.returncode, log.flows.is_set()))
        log.flows.set()
        self.launch()
        # The socket is bound after the port, so both exist now.
        if not await self.until("listener.started", 2):
            self.messages["OTHER the daemon did not listen within 15 s"] += 1
        gap[1] = time.time()
        return took

    def in_gap(self, began, ended):
        return any(began <= gap[1] + 0.1 and ended >= gap[0] for gap in self.gaps)

    async def reload(self, wait=True):
        """Reloads the settings; returns whether the daemon accepted them, or None if `wait` is false."""
        seen = self.log.seen
        events = ("config.reloaded", "config.refused")
        before = [seen[event] for event in events]
        self.process.send_signal(signal.SIGHUP)
        end = time.time() + 15
        while wait and time.time() < end:
            if seen[events[0]] > before[0]:
                return True
            if seen[events[1]] > before[1]:
                return False
            await asyncio.sleep(0.02)
        return None

    def step(self, seconds):
        new = self.offsets.with_suffix(".new")
        new.write_text(f"{seconds:+d}s")
        new.rename(self.offsets)
        self.offset_before, self.offset, self.offset_at = self.offset, seconds, time.time()
        self.steps.append((self.offset_at, seconds))

    def offset_a_moment_ago(self):
        """The offset shortly before: libfaketime reads its file once a second, and the daemon notices a little later."""
        return self.offset if time.time() > self.offset_at + 3 else self.offset_before

    def sample(self):
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        try:
            lines = (folder / "status").read_text().splitlines()
            status = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "Threads"))}
            files = len(os.listdir(folder / "fd"))
        except PermissionError:
            files = 0
        except OSError:
            return
        if "VmRSS" in status:
            sample = (time.time(), self.launches, int(status["VmRSS"]) >> 10, int(status["Threads"]), files)
            self.samples.append(sample)
