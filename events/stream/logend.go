package stream

// LogEnd returns the newest sequence of NOTIFICATIONS that this process knows of: what it
// writes from now on has a higher one. It is 0 until one is known.
func (c *Conn) LogEnd() uint64 { return c.logEnd.Load() }

// NoteLogged records that NOTIFICATIONS has a message with this sequence.
func (c *Conn) NoteLogged(seq uint64) {
	for known := c.logEnd.Load(); seq > known; known = c.logEnd.Load() {
		if c.logEnd.CompareAndSwap(known, seq) {
			return
		}
	}
}

// CutLog records that NOTIFICATIONS ends at a sequence, which is lower than the known one if
// the stream has lost its end, as after a power cut.
func (c *Conn) CutLog(end uint64) { c.logEnd.Store(end) }
