package httpserve

import (
	"errors"
	"net/http"
	"strings"
)

// ErrTwoTokens reports that a request shows more than one access token, so that it would
// depend on who looks whose request it is.
var ErrTwoTokens = errors.New("the request has more than one access token: one header Authorization: Bearer is enough")

// Tokens returns the access token that a request has in the header "Authorization:
// Bearer", and the one that it has in the query, where old versions of the Matrix
// specification had it; each is "" if there is none. If both are there they are the same.
func Tokens(r *http.Request) (header, query string, err error) {
	headers, queries := r.Header.Values("Authorization"), r.URL.Query()["access_token"]
	if len(headers) > 1 || len(queries) > 1 {
		return "", "", ErrTwoTokens
	}
	if len(headers) == 1 {
		header = bearer(headers[0])
	}
	if len(queries) == 1 {
		query = queries[0]
	}
	if strings.ContainsAny(header, " \t") || header != "" && query != "" && header != query {
		return "", "", ErrTwoTokens
	}
	return header, query, nil
}

func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
