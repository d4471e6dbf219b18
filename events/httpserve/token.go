package httpserve

import (
	"errors"
	"net/http"
	"strings"
)

// ErrTwoTokens reports that a request has more than one access token. Two programs that
// read it could then take it for two different users' request.
var ErrTwoTokens = errors.New("the request has more than one access token: send only one, in the header Authorization: Bearer")

// Tokens returns the access tokens in the header "Authorization: Bearer" and in the query
// parameter access_token of old versions of the Matrix specification. Each is "" if it is
// absent; if both are present they are equal.
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
