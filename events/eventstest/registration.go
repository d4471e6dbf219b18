package eventstest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// HSToken is the hs_token of [WriteRegistration].
const HSToken = "hs-token-of-the-test" //nolint:gosec // opens nothing outside of a test

// WriteRegistration writes the text of a registration with [ASToken] and [HSToken] in
// place of its own into a directory of the test's, and returns its path.
func WriteRegistration(t testing.TB, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "as_token:"):
			line = "as_token: " + ASToken + "\n"
		case strings.HasPrefix(line, "hs_token:"):
			line = "hs_token: " + HSToken + "\n"
		}
		out.WriteString(line)
	}
	path := filepath.Join(t.TempDir(), "registration.yaml")
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// PutTransaction sends a transaction to an application service, as a homeserver that
// has [HSToken], and returns the status.
func PutTransaction(ctx context.Context, url, id, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/_matrix/app/v1/transactions/"+id, strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("put transaction: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+HSToken)
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, fmt.Errorf("put transaction: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return res.StatusCode, fmt.Errorf("read answer to transaction: %w", err)
	}
	return res.StatusCode, nil
}
