// Package events defines the data that a homeserver, the registry and the dispatchers
// exchange: typed ids, room events, receipts, pushers, push rules, notifications and dead
// letters, and their encoding in NATS messages. It imports no NATS client and starts no
// goroutine.
//
//	who                    writes                          read by
//	homeserver             RoomEvent, receipts             match         package publish
//	                       AccountChange                   registry
//	registry               UserPushers, UserPushRules,     dispatchers   package stream
//	                       VAPID
//	match                  LogNotification, Read,          deliver
//	                       Redaction
//	deliver                Backlog, InboxRoom, Pause,      deliver, operators
//	                       DeadLetter
//	                       Rejection                       registry
//
// Input is checked once, where it is parsed: [ParseRoomEvent], [ParseReceipts],
// [ParseLog] and [CheckJSON] refuse what cannot be used, or what a push gateway
// could not read. Their errors wrap [ErrBadEvent] or [ErrBadNotification]. A reader of a
// stream turns such a message into a dead letter and goes on.
//
// Subjects contain ids as unpadded base64url ([Token]), never a pushkey, content or a
// wildcard (G9). [PartitionOf] a token is the same in every process and in nats-server.
package events
