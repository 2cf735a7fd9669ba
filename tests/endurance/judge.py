"""Checks each answer against the credentials that the emulator issued, and its clock."""

import collections
import datetime
import time

from world import LIVES
from world import SESSIONS
from world import role

# With less life than this, the daemon counts credentials as expired and may refuse.
RESERVE = 60


class Judge:
    def __init__(self, emulator, daemon):
        self.emulator, self.daemon = emulator, daemon
        self.sets = {}
        self.fetched = {"first": 0, "second": 0}
        self.roles = {name: {role(name)} for name in SESSIONS + ("alone",)}
        self.roles["chain"], self.roles["keys"], self.roles["turn"] = {role("chained")}, {""}, {role("turn-a")}
        self.turned_at = 0.0
        self.ended_since_turn = False
        self.counts = collections.Counter()
        self.faults = []
        self.noted_at = collections.defaultdict(float)
        self.refused = collections.Counter()
        self.times = collections.defaultdict(list)
        self.good_at = {}
        self.longest_gap = collections.defaultdict(float)
        self.socket_gone_at = 0.0

    async def fetch(self):
        """Gets the credentials that were issued since the last call."""
        for region, count in self.fetched.items():
            issued = await self.emulator.do(f"{region} issued {count}")
            self.fetched[region] = max(self.fetched[region], count + len(issued))
            for one in issued:
                self.sets.setdefault(one["access_key_id"], one | {"seen_at": time.time(), "offset": self.daemon.offset})

    def turn(self, old, new):
        """The session `turn` gets another role. Credentials of the old one stay valid until there are new ones."""
        self.roles["turn"] = {role(old), role(new)}
        self.turned_to, self.turned_at, self.ended_since_turn = role(new), time.time(), False

    def settle_turn(self):
        if len(self.roles["turn"]) == 2:
            after = [one["seen_at"] for one in self.sets.values()
                     if one["role_arn"] == self.turned_to and one["sent"] and one["seen_at"] > self.turned_at]
            if after and time.time() > min(after) + 2:
                self.roles["turn"] = {self.turned_to}

    def held(self, session, at):
        """Credentials that the session must have and can still hand out."""
        wanted = self.roles[session]
        if session == "turn" and len(wanted) == 2 and self.ended_since_turn:
            # A daemon does not pass on credentials of earlier settings that it inherited.
            return None
        for one in self.sets.values():
            if one["role_arn"] in wanted and one["sent"] and one["seen_at"] < at - 1 and \
                    self.usable_until(one) - 2 > at:
                return one
        return None

    def note(self, kind, text, whose=""):
        """Counts a fault, and prints it unless it was just printed."""
        self.counts[kind] += 1
        if time.time() > self.noted_at[kind, whose] + 20 and len(self.faults) < 100:
            self.noted_at[kind, whose] = time.time()
            self.faults.append(f"{time.strftime('%H:%M:%S')} {kind}: {text}")
            print(f"  ! {self.faults[-1]}", flush=True)

    async def answer(self, session, channel, document, began, burst=False):
        """Checks an answer with credentials."""
        ended = time.time()
        self.counts["answers"] += 1
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken" if channel in PROCESSES else "Token", "Expiration")
        values = [document.get(name) if isinstance(document, dict) else None for name in names]
        if not all(isinstance(value, str) and value for value in values):
            return self.note("partial", f"{session} over {channel}: {sorted(document)}")
        key, secret, token, shown = values
        if key not in self.sets:
            await self.fetch()
        found = self.sets.get(key)
        if not found or (secret, token) != (found["secret_access_key"], found["session_token"]):
            return self.note("wrong", f"{session} over {channel}: {key} was not issued like that")
        self.settle_turn()
        if found["role_arn"] not in self.roles[session]:
            return self.note("wrong", f"{session} over {channel}: {key} is of {found['role_arn'] or 'a user'}")
        if found["expires_at"] <= began:
            return self.note("dead", f"{session} over {channel}: {key} ended {began - found['expires_at']:.0f} s before")
        self.judge_shown(session, channel, shown, found, began)
        self.times[f"{channel}, in bursts" if burst else channel].append(ended - began)
        if channel == "container" and not burst:
            self.close_gap(session, began)
        return None

    def judge_shown(self, session, channel, shown, found, began):
        """Checks that a client with the daemon's clock does not take expired credentials to be valid."""
        offset, own_clock = self.daemon.offset, channel == "process, alone"
        if time.time() - self.daemon.offset_at < 5 and not own_clock:
            return
        end = datetime.datetime.fromisoformat(shown).timestamp()
        late = end - (found["expires_at"] + (0 if own_clock else offset))
        if late > 2.5:
            self.note("shown too late", f"{session} over {channel}: {late:.0f} s, with the clock {offset:+d} s")
        elif late < -2.5 and offset == 0 and time.time() - self.daemon.offset_at > 90:
            self.note("shown too early", f"{session} over {channel}: {-late:.0f} s")

    def close_gap(self, session, began):
        last = self.good_at.get(session)
        if last is not None and self.held_through(session, last, began):
            self.longest_gap[session] = max(self.longest_gap[session], began - last)
        self.good_at[session] = began

    def held_through(self, session, last, began):
        """Whether the session had credentials during the whole time."""
        one = self.held(session, last)
        is_steady = last - 5 > self.daemon.offset_at or self.daemon.offset_at > began
        return one is not None and self.usable_until(one) > began and is_steady

    def usable_until(self, one):
        """The end of credentials by wall time. It is earlier if the clock was set forward, even if only to correct it, because
        the machine may have been paused for that time. AWS's next `Date` shows which."""
        if one["role_arn"] in self.roles["alone"]:
            return one["expires_at"] - RESERVE
        offset = max(self.daemon.offset, self.daemon.offset_a_moment_ago())
        since = [step for at, step in self.daemon.steps if at > one["seen_at"]]
        return one["expires_at"] - RESERVE - max(0, offset - min(0, one["offset"], *since))

    def refusal(self, session, channel, what, began, burst=False):
        """Checks a refusal or a missing answer."""
        ended = time.time()
        self.counts["refusals"] += 1
        self.refused[f"{channel}: {what[:90]}"] += 1
        if channel != "process, alone" and self.daemon.in_gap(began, ended):
            self.counts["refusals during a restart"] += 1
            return
        if channel in ("socket", "process") and self.socket_gone_at <= ended and began < self.socket_gone_at + 7:
            self.counts["refusals while the socket was deleted"] += 1
            return
        if what not in HONEST and not what.startswith("exit 1"):
            self.note("strange", f"{session} over {channel}: {what}")
        elif self.held(session, began):
            life = self.held(session, began)["expires_at"] - began
            crowd = ", in a burst" if burst else ""
            self.note("refused while held", f"{session} over {channel}{crowd}: {what}; {life:.0f} s of life were left", session)
        elif self.daemon.steps and any(
            one["role_arn"] in self.roles[session] and one["expires_at"] - RESERVE > began for one in self.sets.values()
        ):
            self.counts["refusals after the clock was set forward"] += 1
        else:
            self.counts["refusals with nothing held"] += 1


PROCESSES = ("socket", "process", "process, alone")
HONEST = ("503", "list 503", "empty list")
assert set(LIVES) == set(SESSIONS) | {"alone"}
