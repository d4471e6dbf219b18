package chaos

import (
	"testing"

	"poked/cmd/internal/clitest"
	"poked/cmd/internal/labtest"
)

func lab(t *testing.T, args ...string) clitest.Result {
	t.Helper()
	return labtest.Run[Commands](t, args...)
}

func TestMain(m *testing.M) { labtest.Main[Commands](m) }
