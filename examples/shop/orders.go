package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// orders is a file of one line an order. All instances append to the same one;
// the kernel keeps whole writes with O_APPEND apart.
type orders struct{ file *os.File }

// openOrders opens the file in dir; without a dir no order can be taken.
func openOrders(dir string) (*orders, error) {
	if dir == "" {
		return &orders{}, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "orders"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open orders: %w", err)
	}
	return &orders{file: f}, nil
}

// write returns when the line of order id is in the file. It is not synced: a
// killed process loses nothing by that, a dead machine may.
func (o *orders) write(id string, who identity) error {
	if o.file == nil {
		return errors.New("write order: started without --data")
	}
	if _, err := fmt.Fprintf(o.file, "%s %s %s\n", id, who.Version, who.Instance); err != nil {
		return fmt.Errorf("write order: %w", err)
	}
	return nil
}
