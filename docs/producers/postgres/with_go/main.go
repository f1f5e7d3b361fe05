// Go with pgx: go run . URL
package main

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
)

func place(ctx context.Context, conn *pgx.Conn, item string) error {
	// One transaction: both rows or neither. BeginFunc commits when the function returns nil, and else rolls back.
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (item) VALUES ($1)", item); err != nil {
			return err
		}
		_, err := tx.Exec(ctx,
			"INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id) VALUES ($1, $2, $3, $4) "+
				"ON CONFLICT (project_id, event_id) DO NOTHING", // idempotent: a repeat inserts nothing
			"proj_1", "lead.created", `{"lead": {"id": "lead_52"}}`, "lead-52-created")
		return err
	})
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := place(ctx, conn, "boots"); err != nil {
		log.Fatal(err)
	}
}
