// Sets and reads pushers and push rules with matrix-js-sdk, as Element Web does,
// and fails at the first thing that is not as such a client expects it.
//
//   node check.mjs <base url> <access token> <user id> <gateway url>
//
// It leaves one pusher (pushkey "js-phone") and one keyword rule ("js-keyword",
// for "rhubarb", with the sound "js.caf" and a highlight) behind, so that the caller may see a
// poke.
import assert from "node:assert/strict";
import * as sdk from "matrix-js-sdk";

const [baseUrl, accessToken, userId, gateway] = process.argv.slice(2);
const quiet = { trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error, getChild: () => quiet };
const client = sdk.createClient({ baseUrl, accessToken, userId, logger: quiet });

const pusher = (pushkey) => ({
    pushkey,
    kind: "http",
    app_id: "org.example.js",
    app_display_name: "Check",
    device_display_name: "Node.js",
    lang: "en",
    data: { url: gateway },
    append: false,
});
const pushkeys = async () => (await client.getPushers()).pushers.map((p) => p.pushkey).sort();
const rules = async (kind) => (await client.getPushRules()).global[kind];
const find = async (kind, id) => (await rules(kind)).find((rule) => rule.rule_id === id);
const status = async (promise) => promise.then(() => 200, (error) => error.httpStatus);

// Pushers.
await client.setPusher(pusher("js-phone"));
await client.setPusher(pusher("js-desk"));
assert.deepEqual(await pushkeys(), ["js-desk", "js-phone"]);
const [{ pushkey, ...seen }] = (await client.getPushers()).pushers.filter((p) => p.pushkey === "js-phone");
assert.equal(seen.data.url, gateway);
assert.equal(seen["org.matrix.msc3881.enabled"], true);
await client.setPusher({ ...pusher("js-desk"), "org.matrix.msc3881.enabled": false });
assert.deepEqual(
    (await client.getPushers()).pushers.map((p) => [p.pushkey, p["org.matrix.msc3881.enabled"]]).sort(),
    [["js-desk", false], ["js-phone", true]],
);
await client.removePusher("js-desk", "org.example.js");
assert.deepEqual(await pushkeys(), ["js-phone"]);

// The predefined rules, and that the library's own evaluator can work with them.
const before = await client.getPushRules();
assert.equal(before.global.override[0].rule_id, ".m.rule.master");
assert.equal(before.global.override[0].enabled, false);
assert.deepEqual(Object.keys(before.global).sort(), ["content", "override", "room", "sender", "underride"]);
const event = new sdk.MatrixEvent({
    type: "m.room.message", event_id: "$x", room_id: "!r:x", sender: "@other:x", content: { body: "hello", "m.mentions": { user_ids: [userId] } },
});
assert.deepEqual(client.getPushActionsForEvent(event).tweaks, { sound: "default", highlight: true });

// A keyword, a muted room and a muted sender.
const room = "!room/with#odd%signs:example.org";
await client.addPushRule("global", "content", "js-keyword", { pattern: "rhubarb", actions: ["notify", { set_tweak: "sound", value: "js.caf" }, { set_tweak: "highlight" }] });
await client.addPushRule("global", "room", "!muted#room:example.org", { actions: [] });
await client.addPushRule("global", "sender", "@loud:example.org", { actions: ["dont_notify"] });
await client.addPushRule("global", "override", "js-override", {
    actions: [], conditions: [{ kind: "event_match", key: "room_id", pattern: "!muted#room:example.org" }],
});
assert.equal((await find("content", "js-keyword")).pattern, "rhubarb");
assert.deepEqual((await find("room", "!muted#room:example.org")).actions, []);
assert.equal((await rules("override"))[1].rule_id, "js-override");
assert.equal(await status(client.addPushRule("global", "room", room, { actions: [] })), 400);
assert.equal(await status(client.addPushRule("global", "content", ".m.mine", { pattern: "x", actions: [] })), 400);

// Switching and changing them, predefined ones too.
await client.setPushRuleEnabled("global", "sender", "@loud:example.org", false);
assert.equal((await find("sender", "@loud:example.org")).enabled, false);
await client.setPushRuleActions("global", "underride", ".m.rule.message", ["notify", { set_tweak: "sound", value: "soft" }]);
assert.deepEqual((await find("underride", ".m.rule.message")).actions, ["notify", { set_tweak: "sound", value: "soft" }]);
await client.setPushRuleEnabled("global", "override", ".m.rule.master", true);
assert.equal((await find("override", ".m.rule.master")).enabled, true);
await client.setPushRuleEnabled("global", "override", ".m.rule.master", false);

// Taking them back.
for (const [kind, id] of [["room", "!muted#room:example.org"], ["sender", "@loud:example.org"], ["override", "js-override"]]) {
    await client.deletePushRule("global", kind, id);
    assert.equal(await find(kind, id), undefined);
}
assert.equal(await status(client.deletePushRule("global", "room", "!muted#room:example.org")), 404);
console.log("matrix-js-sdk is content");
