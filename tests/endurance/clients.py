"""Clients of every channel. Each asks in a loop at a limited rate, and its answers are checked."""

import asyncio
import json
import os
import random
import time

from world import SESSIONS

PATIENCE = 12
# Requests per second, by channel; for processes, of all clients together.
RATES = {"container": 6, "imds": 6, "socket": 3, "process": 1, "process, alone": 1}


class Failed(Exception):
    """There was no HTTP response."""


async def ask(where, method, path, headers=()):
    """Sends one request on a new connection; returns status and body."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            if isinstance(where, int):
                reader, writer = await asyncio.open_connection("127.0.0.1", where)
            else:
                reader, writer = await asyncio.open_unix_connection(str(where))
            lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", ""]
            writer.write("\r\n".join(lines).encode())
            await writer.drain()
            answer = await reader.read()
    except TimeoutError:
        raise Failed("no answer in time") from None
    except OSError as error:
        raise Failed(type(error).__name__) from None
    finally:
        if writer:
            writer.close()
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        raise Failed("closed without an answer")
    return int(head.split(b" ", 2)[1]), body


class Clients:
    def __init__(self, program, daemon, judge, alone):
        self.program, self.daemon, self.judge, self.alone = program, daemon, judge, alone
        self.port = daemon.settings.port
        self.folder = daemon.settings.folder
        self.socket = self.folder / "run/anchord.sock"
        self.token, self.token_left = "", 0
        self.home = self.folder / "home"
        (self.home / "run").mkdir(parents=True, mode=0o700)

    async def container(self, session, burst=False):
        try:
            bearer = (self.folder / f"run/{session}.token").read_text().strip()
            path = f"/v1/credentials/{session}"
            return await self.get(self.port, session, "container", path, [f"Authorization: {bearer}"], burst)
        except FileNotFoundError:
            return self.judge.refusal(session, "container", "no bearer file", time.time(), burst)

    async def over_socket(self, session, burst=False):
        await self.get(self.socket, session, "socket", f"/v1/sessions/{session}/credential-process", [], burst)

    async def imds(self, session, burst=False):
        began = time.time()
        try:
            if self.token_left <= 0:
                status, body = await ask(
                    self.port, "PUT", "/latest/api/token", ["X-aws-ec2-metadata-token-ttl-seconds: 21600"]
                )
                if status != 200:
                    return self.judge.refusal(session, "imds", f"token {status}", began, burst)
                self.token, self.token_left = body.decode(), 200
            self.token_left -= 1
            header = [f"X-aws-ec2-metadata-token: {self.token}"]
            path = "/latest/meta-data/iam/security-credentials/"
            status, body = await ask(self.port, "GET", path, header)
            if status != 200 or not body.strip():
                what = "empty list" if status in (200, 404) else f"list {status}"
                return self.judge.refusal(session, "imds", what, began, burst)
            path += body.decode().split("\n")[0]
        except Failed as failed:
            return self.judge.refusal(session, "imds", str(failed), began, burst)
        return await self.get(self.port, session, "imds", path, header, burst)

    async def get(self, where, session, channel, path, headers, burst):
        began = time.time()
        try:
            status, body = await ask(where, "GET", path, headers)
        except Failed as failed:
            return self.judge.refusal(session, channel, str(failed), began, burst)
        if status != 200:
            return self.judge.refusal(session, channel, str(status), began, burst)
        return await self.judge_text(session, channel, body, began, burst)

    async def judge_text(self, session, channel, text, began, burst):
        try:
            document = json.loads(text)
        except ValueError:
            return self.judge.note("partial", f"{session} over {channel}: no JSON in {len(text)} bytes")
        return await self.judge.answer(session, channel, document, began, burst)

    async def process(self, session, burst=False):
        """Runs `credential-process`, with the daemon's clock, or without a daemon."""
        has_daemon = session != "alone"
        channel = "process" if has_daemon else "process, alone"
        more = ["--socket-path", self.socket] if has_daemon else ["--config", self.alone]
        environment = {"PATH": os.environ["PATH"], "HOME": self.home, "XDG_RUNTIME_DIR": self.home / "run"}
        began = time.time()
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self.program, "credential-process", "--session", session, *more,
            stdout=pipe, stderr=pipe, env=environment, cwd=self.home,
        )
        try:
            async with asyncio.timeout(30):
                output, errors = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return self.judge.refusal(session, channel, "did not end within 30 s", began, burst)
        if process.returncode:
            text = errors.decode(errors="replace").strip().split("\n")[0]
            return self.judge.refusal(session, channel, f"exit {process.returncode}: {text}", began, burst)
        return await self.judge_text(session, channel, output, began, burst)

    def loops(self, end):
        """The tasks that ask until `end`."""
        kinds = [(self.container, session, RATES["container"]) for session in SESSIONS]
        kinds += [(self.over_socket, session, RATES["socket"]) for session in SESSIONS]
        kinds += [(self.imds, "quarter", RATES["imds"])]
        kinds += [(self.process, session, RATES["process"] / len(SESSIONS)) for session in SESSIONS]
        kinds += [(self.process, "alone", RATES["process, alone"])]
        return [self.loop(ask_once, session, rate, end) for ask_once, session, rate in kinds]

    async def loop(self, ask_once, session, rate, end):
        # A client that waits for its answer must not delay the others.
        waiting = set()
        while time.time() < end:
            if len(waiting) < 50:
                task = asyncio.create_task(ask_once(session))
                waiting.add(task)
                task.add_done_callback(lambda task: self.done(task, waiting))
            await asyncio.sleep(random.uniform(0.5, 1.5) / rate)
        await asyncio.gather(*waiting, return_exceptions=True)

    def done(self, task, waiting):
        waiting.discard(task)
        if not task.cancelled() and task.exception():
            self.judge.note("strange", f"this script failed: {task.exception()!r}")

    async def burst(self, size, chosen):
        """Runs so many clients at the same time, on all channels but processes."""
        kinds = [(self.container, session) for session in SESSIONS] + [(self.over_socket, session) for session in SESSIONS]
        kinds += [(self.imds, "quarter")] * 3
        await asyncio.gather(*(ask_once(session, True) for ask_once, session in chosen.choices(kinds, k=size)))
