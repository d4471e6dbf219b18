package directory

import "poked/events"

// watched is how far the watch of a bucket has come.
type watched struct {
	revision uint64 // newest
	all      bool   // everything up to revision is known; false while the watch starts over
}

// reached reports whether everything up to a revision of the bucket is known.
func (w *watched) reached(revision uint64) bool { return w.all && w.revision >= revision }

// Reached reports whether the directory knows everything up to the revisions of a barrier. If
// not, the channel is closed when it has heard of something more.
func (d *Directory) Reached(b events.Barrier) (yes bool, news <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watched.reached(b.Pushers) && d.watchedRules.reached(b.PushRules) {
		return true, nil
	}
	if d.news == nil {
		d.news = make(chan struct{})
	}
	return false, d.news
}

// announce tells those who wait that the directory has heard of something. The caller holds
// the mutex.
func (d *Directory) announce() {
	if d.news != nil {
		close(d.news)
		d.news = nil
	}
}
