// Package operate holds what operators ask of a running deployment and do to it, whether they
// use a command or the page: what is read, put together and shown as words is the same.
//
//	cli, page ──▶ operate ──▶ operator.Client: dispatchers, DEAD
//	                     ├──▶ stream.Conn: buckets
//	                     └──▶ dispatcher/trace: what became of pokes before
//
// It formats nothing for a terminal or a browser, and shows no pushkey; the message of a dead
// letter is left out. Where a part of an answer cannot be had, such as the names of devices,
// the rest is given without it and the caller is told.
package operate
