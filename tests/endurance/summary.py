"""The figures and the verdict at the end."""

import collections

from world import LIVES
from world import SESSIONS
from world import role

WRONG = ("wrong", "dead", "partial", "shown too late", "shown too early", "refused while held", "strange")
LONGEST_GAP = 5.0
LONGEST_END = 7.0


def tell(story, judge, daemon, requests, seconds):
    """Prints the figures; returns the exit code."""
    failures = [f"{kind}: {judge.counts[kind]}" for kind in WRONG if judge.counts[kind]]
    print(f"\n{seconds / 60:.1f} minutes of real time")
    print_counts(story, judge)
    failures += ends(story, daemon)
    print_times(judge)
    failures += gaps(judge)
    failures += calls(story, daemon, requests, seconds)
    failures += leaks(story, daemon)
    print("warnings and errors that the daemons logged, by how often:")
    for message, count in daemon.messages.most_common(25):
        print(f"  {count:6}  {message}")
    if any("panic" in message or "this is a bug" in message for message in daemon.messages):
        failures.append("the daemon logged a panic or a bug")
    for fault in judge.faults:
        print(f"  ! {fault}")
    for what in story.not_played:
        print(f"not played: {what}")
    print("verdict: " + ("; ".join(failures) if failures else "all held"))
    return 1 if failures else 0


def print_counts(story, judge):
    reloads = sum(count for name, count in story.counts.items() if name.startswith("reload"))
    ends = story.counts["SIGKILL"] + story.counts["SIGTERM"]
    print(f"  daemon ends        {ends} ({story.counts['SIGKILL']} by SIGKILL), reloads {reloads}, "
          f"faults of AWS {story.counts['faults']}")
    others = {name: count for name, count in story.counts.items()
              if not name.startswith(("reload", "SIG")) and name != "faults"}
    print("  and                " + ", ".join(f"{name} {count}" for name, count in sorted(others.items())))
    print(f"  answers            {judge.counts['answers']} sets of credentials, {judge.counts['refusals']} refusals: "
          f"{judge.counts['refusals during a restart']} during a restart, "
          f"{judge.counts['refusals with nothing held']} with nothing held, "
          f"{judge.counts['refusals after the clock was set forward']} after the clock was set forward, "
          f"{judge.counts['refusals while the socket was deleted']} while the socket was deleted")
    for what, count in judge.refused.most_common(16):
        print(f"    {count:6}  {what}")
    print("  of these           " + ", ".join(f"{kind} {judge.counts[kind]}" for kind in WRONG))


def ends(story, daemon):
    failures = []
    for name, took, code, was_read in daemon.stops:
        where = "" if was_read else " with a blocked stderr"
        if name == "SIGTERM" and (took > LONGEST_END or code != 0):
            failures.append(f"SIGTERM{where}: ended after {took:.1f} s with {code}")
    took = [took for name, took, _, _ in daemon.stops if name == "SIGTERM"]
    blocked = [took for name, took, _, was_read in daemon.stops if not was_read]
    if took:
        print(f"  end after SIGTERM  {max(took):.2f} s at most"
              + "".join(f", {one:.2f} s with a blocked stderr" for one in blocked))
    restarts = [end - begin for begin, end in daemon.gaps]
    if restarts:
        print(f"  from signal to listening again  {max(restarts):.2f} s at most")
    return failures


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def print_times(judge):
    print("  time to an answer    p50      p99      longest")
    for channel, times in sorted(judge.times.items()):
        print(f"    {channel:22} {percentile(times, 0.5):8.1f} {percentile(times, 0.99):8.1f} {max(times) * 1000:8.1f} ms"
              f"   of {len(times)}")


def gaps(judge):
    print("  longest time without an answer of the container endpoint while something was held, restarts included:")
    print("    " + ", ".join(f"{name} {judge.longest_gap[name]:.2f} s" for name in SESSIONS))
    return [f"{name} had no answer for {gap:.1f} s" for name, gap in judge.longest_gap.items() if gap > LONGEST_GAP]


def calls(story, daemon, requests, seconds):
    """Compares the attempts of each session with those that renewals, certificates, reloads and faults explain."""
    attempts = collections.Counter()
    names = {role(name): name for name in LIVES} | {role("turn-a"): "turn", role("turn-b"): "turn", role("hop"): "chain"}
    for region in requests.values():
        for request in region:
            name = "keys" if request["action"] == "GetSessionToken" else names.get(request["role_arn"])
            attempts[name] += 1
    hours = seconds / 3600
    faulty = sum(min(end, story.began + seconds) - begin for begin, end in story.faulty)
    changed = sum(story.counts[f"reload {kind}"] for kind in ("turn", "anchor", "duration", "reverted"))
    failures = []
    print("  calls to AWS per session-hour (bound: renewals, new certificates, reloads, clock steps and faults explain)")
    for name, life in LIVES.items():
        # A renewal comes after a quarter of the usable life. A profile may shorten the life to 15 minutes.
        life = min(life, 900)
        bound = 2 + seconds / ((life - 60) / 4) + 2 * story.counts["new certificates"] + changed
        bound += 2 * story.counts["clock steps"] + 4 * story.counts["faults"] + faulty / 5
        count = attempts[name]
        print(f"    {name:8} {count / hours:6.0f} (bound {bound / hours:.0f}), {count} calls")
        if count > bound:
            failures.append(f"{name} made {count} calls, more than {bound:.0f}")
    return failures


def leaks(story, daemon):
    """The figures of one daemon that was not ended, from its first to its last time without load."""
    begin, end = story.leak["begin"], story.leak["end"]
    peak = {name: max(sample[index] for sample in daemon.samples)
            for index, name in ((2, "MiB"), (3, "threads"), (4, "files"))}
    print("  one daemon at begin and end of its load, and the most of any:")
    failures = []
    for name, room in (("MiB", 32), ("threads", 8), ("files", 40)):
        print(f"    {name:8} {begin[name]} and {end[name]}, {peak[name]} at most")
        if end[name] > begin[name] + room:
            failures.append(f"{name} grew from {begin[name]} to {end[name]}")
    return failures
