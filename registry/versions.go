package registry

import (
	"context"
	"fmt"

	"poked/events/pushrule"
)

// pathVersions is under no prefix (client-server API, "GET /_matrix/client/versions").
// Without it SDKs do not talk to a server at all.
const pathVersions = "/_matrix/client/versions"

// newestMinor is the newest version of the specification that the registry implements, of
// which every one since v1.1 is listed.
const newestMinor = 19

// versions is the answer of a registry without a homeserver.
type versions struct {
	Versions         []string        `json:"versions"`
	UnstableFeatures map[string]bool `json:"unstable_features"`
}

// getVersions returns the homeserver's answer with what poked adds to it, since its clients use
// all of its API, or without a homeserver the versions whose pushers and push rules the registry implements.
func (a *api) getVersions(ctx context.Context, c *call) (any, error) {
	if a.upstream == nil {
		v := ownVersions()
		if a.browsers != nil {
			v.UnstableFeatures[featureWebPush] = true
		}
		if a.store.Options().Offers&pushrule.MSC4028 != 0 {
			v.UnstableFeatures["org.matrix.msc4028"] = true
		}
		return v, nil
	}
	own := map[string]any{}
	if a.browsers != nil {
		own[featureWebPush] = true
	}
	return a.merged(ctx, c, "unstable_features", own)
}

func ownVersions() versions {
	v := versions{Versions: []string{"r0.6.1"}, UnstableFeatures: map[string]bool{"org.matrix.msc3881": true, "org.matrix.msc4173": true}}
	for minor := range newestMinor {
		v.Versions = append(v.Versions, fmt.Sprintf("v1.%d", minor+1))
	}
	return v
}
