package stream_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// places writes notifications as the rooms and sequences they stand at.
func places(list []stream.LoggedNotification) string {
	text := ""
	for _, n := range list {
		text += fmt.Sprintf("%s@%d ", n.Room, n.Seq)
	}
	return text
}

func TestNewestInRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for i := range 9 {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i%2)), uint64(i)+1)
		}
		notify(t, conn, "@b:x", "!r0", 10)
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x", "@b:x", "@nobody:x"}, 0)
		if err != nil || places(newest["@a:x"]) != "!r1@8 !r0@9 " || places(newest["@b:x"]) != "!r0@10 " || len(newest) != 2 {
			t.Errorf("%s, %s, %d users, %v", places(newest["@a:x"]), places(newest["@b:x"]), len(newest), err)
		}
		if newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@nobody:x"}, 0); err != nil || len(newest) != 0 {
			t.Errorf("%v, %v", newest, err)
		}
	})
}

// More rooms than the server tells at once, for one user or for several.
func TestNewestInVeryManyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		const rooms = 1100
		for i := range rooms {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i)), 1)
		}
		notify(t, conn, "@a:x", "!r0", 2)
		notify(t, conn, "@b:x", "!r", 1)
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x", "@b:x"}, 0)
		if err != nil || len(newest["@a:x"]) != rooms || places(newest["@b:x"]) != fmt.Sprintf("!r@%d ", rooms+2) {
			t.Fatalf("%d rooms, %s, %v", len(newest["@a:x"]), places(newest["@b:x"]), err)
		}
		if last := newest["@a:x"][rooms-1]; last.Room != "!r0" || last.Seq != rooms+1 {
			t.Errorf("the newest is %s", places([]stream.LoggedNotification{last}))
		}
	})
}

func TestNotificationsInRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for i := range 10 {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i%2)), uint64(i)+1)
		}
		all, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		newest := all["@a:x"][0] // of !r0, at 9
		page, more, err := conn.NotificationsInRoom(t.Context(), newest, 3, 2)
		if err != nil || places(page) != "!r0@5 !r0@7 " || more != 1 {
			t.Errorf("%s, %d more, %v", places(page), more, err)
		}
		page, more, err = conn.NotificationsInRoom(t.Context(), newest, 8, 2)
		if err != nil || places(page) != "!r0@9 " || more != 0 {
			t.Errorf("%s, %d more, %v", places(page), more, err)
		}
	})
}

// A replica that has not heard yet of what there is must not pass for one that
// says that there is nothing.
func TestAnswersFromBehindAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		if _, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"}, 1); err != nil {
			t.Errorf("as of the newest: %v", err)
		}
		if newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"}, 2); err == nil {
			t.Errorf("as of what the server does not know yet: %s", places(newest["@a:x"]))
		}
		all, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		newest := all["@a:x"][0]
		newest.Seq = 2
		for _, after := range []uint64{0, 1} {
			page, _, err := conn.NotificationsInRoom(t.Context(), newest, after, 5)
			if err == nil {
				t.Errorf("up to what the server does not know yet: %s", places(page))
			}
		}
	})
}

// A message whose subject cannot be read must not keep a reader of the log from
// what else there is.
func TestNewestInRoomsPassesAStrangeSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		token := events.Token("@a:x")
		server.Publish(fmt.Sprintf("notify.%d.%s.?._", events.PartitionOf(token, conn.Partitions()), token), "{}")
		notify(t, conn, "@a:x", "!r", 1)
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"}, 0)
		if err != nil || places(newest["@a:x"]) != "!r@2 " {
			t.Errorf("%s, %v", places(newest["@a:x"]), err)
		}
	})
}
