"""One decoder family; knows no data, no loss, no optimizer."""
