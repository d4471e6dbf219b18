// Package events is the nouns that a homeserver, the registry and the dispatchers share:
// typed ids, room events, receipts, pushers, push rules, notifications, dead letters, and
// how each of them stands in a NATS message. It imports no NATS client and starts nothing.
//
//	who                    writes                          read by
//	homeserver             RoomEvent, receipts             match         package publish
//	                       AccountChange                   registry
//	registry               UserPushers, UserPushRules      dispatchers   package stream
//	match                  Notification, Read, Redaction   deliver
//	deliver                Backlog, Pause, DeadLetter,     deliver, operators
//	                       Rejection                       registry
//
// What comes from outside is checked where it is parsed, once: [ParseRoomEvent],
// [ParseReceipts], [ParseNotification] and [CheckJSON] refuse what nobody could use or a
// push gateway could not read, with an error that wraps [ErrBadEvent] or
// [ErrBadNotification]. Whoever follows a stream makes a dead letter of it and goes on.
//
// Ids stand in subjects as unpadded base64url ([Token]), so no pushkey, content or
// wildcard does (G9), and [PartitionOf] a token is the same in every process and in
// nats-server.
package events
