package registry

import (
	"log/slog"

	"poked/registry/database"
)

// Check returns the first reason why a registry with this configuration would not start: it
// validates the values and reads the token file or the registration, and the file with the
// password of the database. It opens neither the database nor a connection.
func Check(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	if err := database.Check(cfg.Database, cfg.options()); err != nil {
		return err
	}
	source, err := openAuthSource(cfg, slog.New(slog.DiscardHandler))
	if source.client != nil {
		source.client.Close()
	}
	return err
}
