package events_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
)

// places writes notifications as the rooms and sequences they stand at.
func places(list []events.LoggedNotification) string {
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
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x", "@b:x", "@nobody:x"})
		if err != nil || places(newest["@a:x"]) != "!r1@8 !r0@9 " || places(newest["@b:x"]) != "!r0@10 " || len(newest) != 2 {
			t.Errorf("%s, %s, %d users, %v", places(newest["@a:x"]), places(newest["@b:x"]), len(newest), err)
		}
		if newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@nobody:x"}); err != nil || len(newest) != 0 {
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
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x", "@b:x"})
		if err != nil || len(newest["@a:x"]) != rooms || places(newest["@b:x"]) != fmt.Sprintf("!r@%d ", rooms+2) {
			t.Fatalf("%d rooms, %s, %v", len(newest["@a:x"]), places(newest["@b:x"]), err)
		}
		if last := newest["@a:x"][rooms-1]; last.Room != "!r0" || last.Seq != rooms+1 {
			t.Errorf("the newest is %s", places([]events.LoggedNotification{last}))
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
		page, more, err := conn.NotificationsInRoom(t.Context(), "@a:x", "!r0", 3, 2)
		if err != nil || places(page) != "!r0@5 !r0@7 " || more != 1 {
			t.Errorf("%s, %d more, %v", places(page), more, err)
		}
		if page, more, err := conn.NotificationsInRoom(t.Context(), "@a:x", "!r0", 9, 2); err != nil || len(page) != 0 || more != 0 {
			t.Errorf("after the last: %s, %d more, %v", places(page), more, err)
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
		server.Publish(fmt.Sprintf("notify.%d.%s.?", events.PartitionOf(token, conn.Partitions()), token), "{}")
		notify(t, conn, "@a:x", "!r", 1)
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@a:x"})
		if err != nil || places(newest["@a:x"]) != "!r@2 " {
			t.Errorf("%s, %v", places(newest["@a:x"]), err)
		}
	})
}
