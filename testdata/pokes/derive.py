#!/usr/bin/env python3
"""Derive golden.jsonl, every poke the recorded events may cause, and
unread.jsonl, what of it is unread when all recorded receipts are in.

The derivation knows the Matrix specification (client-server API v1.19, "Push
Notifications"; push gateway API) and the recordings one directory up, nothing
of the program under test. It is slow and plain on purpose: each function can
be checked against one paragraph of README.md, which explains the choices.

    python3 derive.py            write both files, print the counts
    python3 -m doctest derive.py check the examples beside the functions
"""

import json
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What each notifying rule's actions set. Rules that notify nobody are absent.
TWEAKS = {
    ".m.rule.invite_for_me": {"sound": "default"},
    ".m.rule.is_user_mention": {"sound": "default", "highlight": True},
    ".m.rule.is_room_mention": {"highlight": True},
    ".m.rule.tombstone": {"highlight": True},
    ".m.rule.call": {"sound": "ring"},
    ".m.rule.encrypted_room_one_to_one": {"sound": "default"},
    ".m.rule.room_one_to_one": {"sound": "default"},
    ".m.rule.message": {},
    ".m.rule.encrypted": {},
}

# The order in which the predefined rules are asked; master is off by default.
RULES = [
    ".m.rule.suppress_notices",
    ".m.rule.invite_for_me",
    ".m.rule.member_event",
    ".m.rule.is_user_mention",
    ".m.rule.is_room_mention",
    ".m.rule.tombstone",
    ".m.rule.reaction",
    ".m.rule.room.server_acl",
    ".m.rule.suppress_edits",
    ".m.rule.call",
    ".m.rule.encrypted_room_one_to_one",
    ".m.rule.room_one_to_one",
    ".m.rule.message",
    ".m.rule.encrypted",
]


class Room:
    """A room's current state, one event at a time."""

    def __init__(self):
        self.state = {}  # (type, state key) -> event

    def apply(self, event):
        if "state_key" in event:
            self.state[event["type"], event["state_key"]] = event

    def content(self, kind, state_key=""):
        event = self.state.get((kind, state_key))
        return event["content"] if event else {}

    def members(self, *memberships):
        """The user ids with one of these memberships, in byte order."""
        return sorted(
            key
            for (kind, key), event in self.state.items()
            if kind == "m.room.member" and event["content"].get("membership") in memberships
        )

    def display_name(self, user):
        """The member's non-empty display name, or None."""
        return text(self.content("m.room.member", user).get("displayname"))


def text(value):
    """The value if it is a non-empty string, or None."""
    return value if isinstance(value, str) and value else None


def dig(value, *keys):
    """Walk nested objects; None where a step is absent or not an object."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def may_notify_room(room, user):
    """The condition sender_notification_permission with the key "room".

    No recorded event asks this of a room version 12 creator, so here is one:

    >>> room = Room()
    >>> room.state["m.room.create", ""] = {
    ...     "sender": "@a:x", "content": {"room_version": "12", "additional_creators": ["@b:x"]}}
    >>> room.state["m.room.power_levels", ""] = {"content": {"users": {"@c:x": 49, "@d:x": 50}}}
    >>> [user for user in ["@a:x", "@b:x", "@c:x", "@d:x"] if may_notify_room(room, user)]
    ['@a:x', '@b:x', '@d:x']
    """
    create = room.state["m.room.create", ""]
    creators = [create["sender"]]
    if create["content"].get("room_version") == "12":
        creators += create["content"].get("additional_creators", [])
        if user in creators:
            return True  # a creator's power level is infinite
    levels = room.state.get(("m.room.power_levels", ""))
    if levels is None:
        return user in creators  # creator 100, others 0, needed 50
    levels = levels["content"]
    needed = levels.get("notifications", {}).get("room", 50)
    return levels.get("users", {}).get(user, levels.get("users_default", 0)) >= needed


def matches(rule, event, room, user):
    """Whether all conditions of one predefined rule hold."""
    kind, content = event["type"], event["content"]
    two_members = len(room.members("join")) == 2
    user_ids = dig(content, "m.mentions", "user_ids")
    return {
        ".m.rule.suppress_notices": dig(content, "msgtype") == "m.notice",
        ".m.rule.invite_for_me": kind == "m.room.member"
        and dig(content, "membership") == "invite"
        and event.get("state_key") == user,
        ".m.rule.member_event": kind == "m.room.member",
        ".m.rule.is_user_mention": isinstance(user_ids, list) and user in user_ids,
        ".m.rule.is_room_mention": dig(content, "m.mentions", "room") is True
        and may_notify_room(room, event["sender"]),
        ".m.rule.tombstone": kind == "m.room.tombstone" and event.get("state_key") == "",
        ".m.rule.reaction": kind == "m.reaction",
        ".m.rule.room.server_acl": kind == "m.room.server_acl" and event.get("state_key") == "",
        ".m.rule.suppress_edits": dig(content, "m.relates_to", "rel_type") == "m.replace",
        ".m.rule.call": kind == "m.call.invite",
        ".m.rule.encrypted_room_one_to_one": two_members and kind == "m.room.encrypted",
        ".m.rule.room_one_to_one": two_members and kind == "m.room.message",
        ".m.rule.message": kind == "m.room.message",
        ".m.rule.encrypted": kind == "m.room.encrypted",
    }[rule]


def first_rule(event, room, user):
    """The rule that decides for this user, or None if none matches."""
    return next((rule for rule in RULES if matches(rule, event, room, user)), None)


def candidates(event, room):
    """Whom the rules are asked for: joined or just invited, never the sender."""
    users = set(room.members("join"))
    if event["type"] == "m.room.member" and event["content"].get("membership") == "invite":
        users.add(event["state_key"])
    return sorted(users - {event["sender"]})


def join_names(names, total):
    """Names for a room of `total` people, of whom at most five are named.

    >>> join_names(["A"], 1), join_names(["A", "B"], 2), join_names(["A", "B", "C"], 3)
    ('A', 'A and B', 'A, B and C')
    >>> join_names(["A", "B", "C", "D", "E"], 6)
    'A, B, C, D, E and 1 other'
    >>> join_names(["A", "B", "C", "D", "E"], 8)
    'A, B, C, D, E and 3 others'
    """
    rest = total - len(names)
    if rest == 1:
        names = names + ["1 other"]
    elif rest > 1:
        names = names + [f"{rest} others"]
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


def room_name(room, user):
    """The room's name as this user should see it."""
    given = text(room.content("m.room.name").get("name"))
    given = given or text(room.content("m.room.canonical_alias").get("alias"))
    if given:
        return given
    present = [m for m in room.members("join", "invite") if m != user]
    past = [m for m in room.members("leave", "ban") if m != user]
    people = present or past
    if not people:
        return "Empty Room"
    names = join_names([room.display_name(m) or m for m in people[:5]], len(people))
    return names if present else f"Empty Room (was {names})"


def group(event, room, user, rule):
    """What a line says of a user, and of all others of whom it says the same."""
    tweaks = TWEAKS[rule]
    loud = event["type"] == "m.room.encrypted" or tweaks.get("highlight") or tweaks.get("sound")
    said = {"rule_id": rule, "prio": "high" if loud else "low", "tweaks": tweaks}
    said["room_name"] = room_name(room, user)
    if event["type"] == "m.room.member" and event["state_key"] == user:
        said["user_is_target"] = True
    return said


def line(event, room, notified):
    """One line of golden.jsonl; notified maps users, in order, to their rules."""
    said = {"event_id": event["event_id"]}
    if name := room.display_name(event["sender"]):
        said["sender_display_name"] = name
    if alias := text(room.content("m.room.canonical_alias").get("alias")):
        said["room_alias"] = alias
    if event["type"] == "m.room.member":
        said["membership"] = event["content"]["membership"]
    groups = []
    for user, rule in notified.items():
        mine = group(event, room, user, rule)
        for other in groups:
            if mine == {key: other[key] for key in other if key != "users"}:
                other["users"].append(user)
                break
        else:
            groups.append({**mine, "users": [user]})
    return {**said, "notified": groups}


def derive(events, pushers):
    """All lines in order, the count for each rule, and the final rooms."""
    rooms, owned = defaultdict(Room), Counter(pusher["user_id"] for pusher in pushers)
    lines, counts = [], defaultdict(Counter)
    for event in events:
        room = rooms[event["room_id"]]
        room.apply(event)
        asked = {user: first_rule(event, room, user) for user in candidates(event, room)}
        notified = {user: rule for user, rule in asked.items() if rule in TWEAKS}
        for user, rule in asked.items():
            counts[rule]["asked"] += 1
            if user in notified:
                counts[rule].update(notified=1, reachable=owned[user] > 0, pokes=owned[user])
        for rule in set(asked.values()):
            counts[rule]["events"] += 1
        if notified:
            lines.append(line(event, room, notified))
    return lines, counts, rooms


def thread_of(event, threads):
    """The root of the thread an event belongs to, or None for the main timeline.

    A thread's root is in the main timeline itself; a reaction, an edit or a
    reference is where its target is.

    >>> of = lambda kind, target: {"content": {"m.relates_to": {"rel_type": kind, "event_id": target}}}
    >>> threads = {"$root": None, "$reply": "$root"}
    >>> [thread_of(event, threads) for event in (
    ...     {"content": {}}, of("m.thread", "$root"), of("m.replace", "$reply"), of("m.annotation", "$root"))]
    [None, '$root', '$root', None]
    """
    target = dig(event["content"], "m.relates_to", "event_id")
    kind = dig(event["content"], "m.relates_to", "rel_type")
    if not isinstance(target, str):
        return None
    if kind == "m.thread":
        return target
    return threads.get(target) if kind in ("m.annotation", "m.replace", "m.reference") else None


def reader(event, joined):
    """Who has read the room because of what an event is, or None.

    The sender of a message of any type; a member who leaves, is kicked or
    banned; a member who was not joined and joins. Reactions and redactions are
    no messages.
    """
    if event["type"] == "m.room.member" and "state_key" in event:
        user, membership = event["state_key"], event["content"].get("membership")
        if membership in ("leave", "ban") or (membership == "join" and user not in joined):
            return user
    if "state_key" in event or event["type"] in ("m.reaction", "m.room.redaction"):
        return None
    return event["sender"]


def redacted(event):
    """The event that a redaction is of; since room version 11 content names it."""
    if event["type"] != "m.room.redaction" or "state_key" in event:
        return None
    return text(event["content"].get("redacts")) or text(event.get("redacts"))


class Unread:
    """What every user has been notified of and has not read.

    >>> unread = Unread()
    >>> for number, (event_id, thread) in enumerate([("$a", None), ("$b", "$a"), ("$c", None)]):
    ...     unread.notify("@u", "!r", number, thread, event_id)
    >>> unread.read("@u", "!r", 1, {"thread_id": "main"}); unread.ids("@u")
    ['$b', '$c']
    >>> unread.read("@u", "!r", 1, {}); unread.ids("@u")
    ['$c']
    >>> unread.read("@u", "!r", 0, {}); unread.read("@u", "!s", 9, {}); unread.ids("@u")
    ['$c']
    """

    def __init__(self):
        self.left = defaultdict(list)  # user -> (room, number, thread, event id)

    def notify(self, user, room, number, thread, event_id):
        self.left[user].append((room, number, thread, event_id))

    def read(self, user, room, up_to, receipt):
        """Read a room up to an event: all threads, or the one the receipt names."""
        of = receipt.get("thread_id")

        def covered(entry):
            in_room, number, thread, _ = entry
            return in_room == room and number <= up_to and of in (None, thread or "main")

        self.left[user] = [entry for entry in self.left[user] if not covered(entry)]

    def redact(self, event_id):
        for user, entries in self.left.items():
            self.left[user] = [entry for entry in entries if entry[3] != event_id]

    def ids(self, user):
        return [entry[3] for entry in self.left[user]]


def derive_unread(events, receipts, lines):
    """What each user has unread at the end: event ids in the order of the events."""
    notified = {said["event_id"]: [user for part in said["notified"] for user in part["users"]] for said in lines}
    after = defaultdict(list)
    for receipt in receipts:
        after[receipt["after_event_id"]].append(receipt)
    numbers, threads, joined, unread = {}, {}, defaultdict(set), Unread()
    for number, event in enumerate(events):
        event_id, room = event["event_id"], event["room_id"]
        numbers[event_id], threads[event_id] = number, thread_of(event, threads)
        for user in notified.get(event_id, []):
            unread.notify(user, room, number, threads[event_id], event_id)
        if user := reader(event, joined[room]):
            own = threads[event_id]
            unread.read(user, room, number, {"thread_id": own} if own else {})
        if event["type"] == "m.room.member" and "state_key" in event:
            member, joins = event["state_key"], event["content"].get("membership") == "join"
            (joined[room].add if joins else joined[room].discard)(member)
        if target := redacted(event):
            unread.redact(target)
        for receipt in after.pop(event_id, []):
            read_receipt(unread, receipt, numbers)
    assert not after, "a receipt comes after an event that was not recorded"
    return {user: unread.ids(user) for user in sorted(unread.left)}


def read_receipt(unread, receipt, numbers):
    """One m.receipt EDU: private receipts count like public ones."""
    for event_id, kinds in receipt["content"].items():
        for kind in ("m.read", "m.read.private"):
            for user, body in kinds.get(kind, {}).items():
                unread.read(user, receipt["room_id"], numbers[event_id], body)


def check(lines, counts, rooms, pushers):
    """Stop if the totals do not add up or the replayed state is not the recorded one."""
    recorded = json.loads((HERE.parent / "state.json").read_text(encoding="utf-8"))
    for room_id, state in recorded.items():
        replayed = {event["event_id"] for event in rooms[room_id].state.values()}
        assert replayed == {event["event_id"] for event in state}, room_id
    owned = Counter(pusher["user_id"] for pusher in pushers)
    users = [user for said in lines for part in said["notified"] for user in part["users"]]
    assert len(users) == sum(row["notified"] for row in counts.values())
    assert sum(owned[user] for user in users) == sum(row["pokes"] for row in counts.values())


def print_counts(counts):
    columns = ["events", "asked", "notified", "reachable", "pokes"]
    print(f"{'rule':36}" + "".join(f"{c:>10}" for c in columns))
    for rule in RULES + [None]:
        print(f"{rule or '(no rule)':36}" + "".join(f"{counts[rule][c]:>10}" for c in columns))
    totals = [sum(row[c] for row in counts.values()) for c in columns]
    print(f"{'total':36}{'':10}" + "".join(f"{n:>10}" for n in totals[1:]))


def read_lines(path):
    return [json.loads(said) for said in path.read_text(encoding="utf-8").split("\n") if said]


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for said in lines:
            out.write(json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n")


def print_unread(unread, pushers):
    owned = Counter(pusher["user_id"] for pusher in pushers)
    left = sum(len(ids) for ids in unread.values())
    pokes = sum(owned[user] * len(ids) for user, ids in unread.items())
    print(f"unread at the end: {left} notifications of {len(unread)} users, {pokes} pokes")


def main():
    events = read_lines(HERE.parent / "events.jsonl")
    receipts = read_lines(HERE.parent / "receipts.jsonl")
    pushers = json.loads((HERE.parent / "pushers.json").read_text(encoding="utf-8"))
    lines, counts, rooms = derive(events, pushers)
    check(lines, counts, rooms, pushers)
    unread = derive_unread(events, receipts, lines)
    write_lines(HERE / "golden.jsonl", lines)
    write_lines(HERE / "unread.jsonl", [{"user_id": user, "event_ids": ids} for user, ids in unread.items()])
    print_counts(counts)
    print_unread(unread, pushers)


if __name__ == "__main__":
    main()
