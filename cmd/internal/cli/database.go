package cli

import "poked/registry/database"

// passwordFlags are the flags beside the address of a database.
type passwordFlags struct {
	PasswordFile string `name:"database-password-file" placeholder:"FILE" type:"path" env:"POKED_DATABASE_PASSWORD_FILE" help:"File with the password for PostgreSQL in its first line."`
}

func (f passwordFlags) options() database.Options {
	return database.Options{PasswordFile: f.PasswordFile}
}
