package deliver

import "errors"

// errNotOwner reports that another worker may own the partition by now.
var errNotOwner = errors.New("the partition may be another worker's by now")

// errNotKnown reports that an inbox left memory before it was used.
var errNotKnown = errors.New("what the user has not read is not in memory any more")
