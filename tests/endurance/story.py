"""The events of a run: the daemon ends or reloads, AWS fails, certificates change, clocks are set, stderr is blocked."""

import asyncio
import collections
import signal
import time

FAULTS = (
    "unavailable=0", "unavailable=1", "denied", "throttle=2", "throttle", "error", "slow=30", "reset", "malformed",
    "portal", "html", "truncated", "empty", "partial", "expired", "oversized", "no-date", "no-date-on-refusals",
)
READINGS = ("no-date", "no-date-on-refusals")
# The events of a part of the run, with their number.
ROUGH = {"kill": 5, "terminate": 5, "reload": 6, "fault": 4, "leaf": 1, "socket": 1, "drop": 1}
CALM = {"reload": 6, "fault": 4, "leaf": 1, "socket": 1, "drop": 1}
RELOADS = {"unchanged": 3, "broken": 2, "turn": 2, "anchor": 2, "extra": 2, "duration": 1, "level": 1}


class Story:
    def __init__(self, chance, emulator, daemon, judge, clients, began, length):
        self.chance, self.emulator, self.daemon = chance, emulator, daemon
        self.judge, self.clients, self.began, self.length = judge, clients, began, length
        self.settings = daemon.settings
        self.counts = collections.Counter()
        self.faulty = []
        self.fault_ends = None
        self.outage = False
        self.not_played = []
        self.leak = {}
        if not daemon.faketime:
            self.not_played.append("clocks that are set (no libfaketime)")

    def at(self, share):
        return self.began + self.length * share

    async def play(self):
        fixed = asyncio.gather(self.outage_at(0.2), self.shorten(0.3, 0.7), self.bursts(), self.clocks(0.56))
        await self.happen(ROUGH, self.at(0.5))
        await self.quiet(6)
        self.leak["begin"] = self.figures()
        await self.happen(CALM, self.at(0.82))
        await self.quiet(8)
        self.leak["end"] = self.figures()
        await self.unread(self.at(0.94))
        await self.happen(ROUGH, self.at(0.98))
        await fixed
        await self.end_fault()

    async def happen(self, what, end):
        while time.time() < end:
            await asyncio.sleep(self.chance.uniform(2, 5))
            chosen = self.chance.choices(list(what), what.values())[0]
            await getattr(self, chosen)()
        await self.back_to_usual()

    def say(self, text):
        print(f"{time.time() - self.began:7.1f} s  {text}", flush=True)

    # Ends

    async def kill(self):
        await self.end(signal.SIGKILL)

    async def terminate(self):
        await self.end(signal.SIGTERM)

    async def end(self, number, asks=True):
        if self.settings.wrong_anchor or self.settings.duration != "15m":
            await self.back_to_usual()
        self.judge.ended_since_turn = True
        took = await self.daemon.end(number)
        self.counts[signal.Signals(number).name] += 1
        self.say(f"{signal.Signals(number).name}: ended after {took:.2f} s")

    # Reloads

    async def reload(self):
        kind = self.chance.choices(list(RELOADS), RELOADS.values())[0]
        settings, expected = self.settings, True
        if kind == "broken":
            settings.write(self.chance.choice(["[[[", settings.text() + "[session.new]\n", settings.text() + "nonsense = 1\n"]))
            expected = False
        elif kind == "turn":
            old = settings.turned
            settings.turned = "turn-b" if old == "turn-a" else "turn-a"
            self.judge.turn(old, settings.turned)
        elif kind == "anchor":
            settings.wrong_anchor = not settings.wrong_anchor
        elif kind == "extra":
            settings.with_extra = not settings.with_extra
        elif kind == "duration":
            settings.duration = "20m" if settings.duration == "15m" else "15m"
        elif kind == "level":
            settings.level = "debug" if settings.level == "info" else "info"
        if expected:
            settings.write()
        await self.hang_up(kind, expected)
        if kind == "broken":
            await asyncio.sleep(1)
            settings.write()
            await self.hang_up("reverted", True)

    async def hang_up(self, kind, expected, wait=True):
        taken = await self.daemon.reload(wait)
        self.counts[f"reload {kind}"] += 1
        if wait and taken is not expected:
            self.judge.note("strange", f"reload {kind}: the daemon said {taken}")

    async def back_to_usual(self):
        settings = self.settings
        if settings.wrong_anchor or settings.duration != "15m":
            settings.wrong_anchor, settings.duration = False, "15m"
            settings.write()
            await self.hang_up("reverted", True)

    # AWS

    async def fault(self):
        if self.outage:
            return
        await self.end_fault()
        name = self.chance.choice(FAULTS)
        both = self.chance.random() < 0.5
        seconds = self.chance.uniform(4, 25)
        await self.begin_fault(name, ("first", "second") if both else ("first",), seconds)

    async def begin_fault(self, name, regions, seconds):
        kind = "reading" if name in READINGS else "fault"
        for region in regions:
            await self.emulator.do(f"{region} {kind} {name}")
        self.counts["faults"] += 1
        self.say(f"AWS: {name} in {' and '.join(regions)} for {seconds:.0f} s")
        self.faulty.append([time.time(), float("inf")])
        self.fault_ends = asyncio.create_task(self.end_fault_after(seconds))

    async def end_fault_after(self, seconds):
        await asyncio.sleep(seconds)
        await self.make_faultless()

    async def end_fault(self):
        if self.fault_ends:
            self.fault_ends.cancel()
        await self.make_faultless()

    async def make_faultless(self):
        for region in ("first", "second"):
            await self.emulator.do(f"{region} fault none")
            await self.emulator.do(f"{region} reading none")
        if self.faulty and self.faulty[-1][1] == float("inf"):
            self.faulty[-1][1] = time.time()

    async def outage_at(self, share):
        """An outage that is longer than the shortest session's life."""
        await self.till(self.at(share))
        seconds = min(200, self.length * 0.15)
        await self.end_fault()
        self.outage = True
        await self.begin_fault("unavailable=1", ("first", "second"), seconds)
        await asyncio.sleep(seconds + 0.5)
        self.outage = False

    async def shorten(self, begin, end):
        await self.till(self.at(begin))
        await self.emulator.do("first profile 900")
        self.say("AWS: the profile of one hour is shortened to 15 minutes")
        await self.till(self.at(end))
        await self.emulator.do("first profile 3600")
        self.counts["profile changes"] += 2

    async def leaf(self):
        await self.emulator.do("leaf")
        self.counts["new certificates"] += 1
        self.say("a new certificate and key")

    async def drop(self):
        for region in ("first", "second"):
            await self.emulator.do(f"{region} drop")
        self.counts["dropped connections"] += 1

    # This host

    async def socket(self):
        self.judge.socket_gone_at = time.time()
        (self.settings.folder / "run/anchord.sock").unlink(missing_ok=True)
        self.counts["deleted sockets"] += 1
        self.say("the socket is deleted")
        # Any other reload would bind the address immediately, which would test less.
        await asyncio.sleep(6)

    async def clocks(self, share):
        if not self.daemon.faketime:
            return
        steps = ((-7200, False), (0, False), (240, False), (7200, False), (0, False), (-7200, True), (0, True))
        for number, (seconds, with_outage) in enumerate(steps):
            await self.till(self.at(share + number * 0.035))
            if with_outage and seconds:
                await self.end_fault()
                self.outage = True
                await self.begin_fault("unavailable=0", ("first", "second"), self.length * 0.045)
            self.daemon.step(seconds)
            self.counts["clock steps"] += 1
            self.say(f"the clock is set to {seconds:+d} s{', while AWS is away' if with_outage and seconds else ''}")
        await asyncio.sleep(self.length * 0.01)
        self.outage = False

    async def bursts(self):
        for share in (0.05, 0.15, 0.26, 0.36, 0.46, 0.58, 0.68, 0.78, 0.88, 0.95):
            await self.till(self.at(share))
            began = time.time()
            await self.clients.burst(1000, self.chance)
            self.counts["bursts"] += 1
            self.say(f"1,000 clients at once: {time.time() - began:.2f} s")

    async def unread(self, end):
        """Does not read the daemon's stderr. The daemon must continue, and end when asked to."""
        self.settings.level = "trace"
        self.settings.write()
        await self.hang_up("level", True)
        self.daemon.log.flows.clear()
        self.say("stderr is not read any more")
        while time.time() < end:
            await asyncio.sleep(self.chance.uniform(3, 6))
            await self.fault()
            await self.hang_up("while stderr is blocked", None, wait=False)
        self.counts["seconds of blocked stderr"] += round(self.length * 0.1)
        self.settings.level = "info"
        self.settings.write()
        await self.end(signal.SIGTERM)

    async def quiet(self, seconds):
        await self.end_fault()
        await asyncio.sleep(seconds)

    def figures(self):
        recent = self.daemon.samples[-3:]
        return {name: min(sample[index] for sample in recent) for index, name in ((2, "MiB"), (3, "threads"), (4, "files"))}

    async def till(self, moment):
        await asyncio.sleep(max(0, moment - time.time()))
