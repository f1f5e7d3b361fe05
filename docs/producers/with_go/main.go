// Go with mattn/go-sqlite3 (cgo: it needs a C compiler): go run . FILE
package main

import (
	"context"
	"database/sql"
	"log"
	"net/url"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3"
)

// open waits for other writers (busy_timeout) and takes the write lock when a transaction begins, so that it is waited for.
// With synchronous=FULL what was committed survives power loss.
func open(file string) (*sql.DB, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw&_busy_timeout=5000&_txlock=immediate&_synchronous=FULL"}
	return sql.Open("sqlite3", name.String())
}

func place(ctx context.Context, db *sql.DB, item string) error {
	tx, err := db.BeginTx(ctx, nil) // one short transaction: both rows or neither
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, once it is committed
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (item) VALUES (?)", item); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		"INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, ?, ?, ?) "+
			"ON CONFLICT (project_id, event_id) DO NOTHING", // idempotent: a repeat inserts nothing
		"proj_1", "lead.created", `{"lead": {"id": "lead_52"}}`, "lead-52-created")
	if err != nil {
		return err
	}
	return tx.Commit()
}

func main() {
	db, err := open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := place(context.Background(), db, "boots"); err != nil {
		log.Fatal(err)
	}
}
