// What an app does with matrix-js-sdk: it logs in, starts, sets a pusher, changes push rules,
// reads, redacts and logs out. It fails at the first thing that does not work.
//
//   node live.mjs <base url> <user> <password> <gateway url> <pushkey> <room> <up|down>
//
// It prints "ready" when a message may come to the room, and "read" once it has read it. After
// each it goes on once it is told so by a line of standard input.
import assert from "node:assert/strict";
import * as sdk from "matrix-js-sdk";

const [baseUrl, user, password, gateway, pushkey, room, phase] = process.argv.slice(2);
for (const level of ["trace", "debug", "info", "warn"]) console[level] = () => {}; // the library says what rules it adds
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild: () => quiet };
const { access_token: accessToken, user_id: userId, device_id: deviceId } =
    await sdk.createClient({ baseUrl, logger: quiet }).loginRequest({
        type: "m.login.password", identifier: { type: "m.id.user", user }, password,
    });
const client = sdk.createClient({ baseUrl, accessToken, userId, deviceId, logger: quiet });
const told = () => new Promise((resolve) => process.stdin.once("data", resolve));
const rule = async (id) => (await client.getPushRules()).global.content.find((r) => r.rule_id === id);

// An app starts: it asks for the push rules before its first sync.
const prepared = new Promise((resolve, reject) => {
    client.on(sdk.ClientEvent.Sync, (state, _, data) => {
        if (state === "PREPARED") resolve();
        if (state === "ERROR") reject(data?.error ?? new Error("the first sync failed"));
    });
});
await client.startClient({ initialSyncLimit: 10 });
await prepared;

await client.setPusher({
    pushkey, kind: "http", app_id: "org.example.js", app_display_name: "Live", device_display_name: "Node.js",
    lang: "en", data: { url: gateway }, append: true,
});
assert.ok((await client.getPushers()).pushers.some((p) => p.pushkey === pushkey), "the pusher is listed");
await client.addPushRule("global", "content", "live", { pattern: "rhubarb", actions: ["notify"] });
assert.equal((await rule("live")).pattern, "rhubarb");
await client.setPushRuleEnabled("global", "content", "live", false);
await client.deletePushRule("global", "content", "live");
assert.equal(await rule("live"), undefined);

await client.joinRoom(room);
if (phase === "up") {
    const hello = new Promise((resolve) => {
        client.on(sdk.RoomEvent.Timeline, (event) => {
            if (event.getRoomId() === room && event.getContent().body === "hello") resolve(event);
        });
    });
    process.stdout.write("ready\n");
    const [event] = await Promise.all([hello, told()]);
    await client.sendReadReceipt(event);
    process.stdout.write("read\n");
    await told();
    const { event_id: sent } = await client.sendTextMessage(room, "by mistake");
    await client.redactEvent(room, sent);
}
await client.removePusher(pushkey, "org.example.js");
await client.logout(true);
process.exit(0); // the library's timers go on
