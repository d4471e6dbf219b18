#!/usr/bin/env python3
"""Derive golden.jsonl: every poke the recorded events must cause.

The derivation knows the Matrix specification (client-server API v1.19, "Push
Notifications"; push gateway API) and the recordings one directory up, nothing
of the program under test. It is slow and plain on purpose: each function can
be checked against one paragraph of README.md, which explains the choices.

    python3 derive.py            write golden.jsonl, print the counts
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


def main():
    recorded = (HERE.parent / "events.jsonl").read_text(encoding="utf-8").split("\n")
    events = [json.loads(event) for event in recorded if event]
    pushers = json.loads((HERE.parent / "pushers.json").read_text(encoding="utf-8"))
    lines, counts, rooms = derive(events, pushers)
    check(lines, counts, rooms, pushers)
    with open(HERE / "golden.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for said in lines:
            out.write(json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n")
    print_counts(counts)


if __name__ == "__main__":
    main()
