#!/bin/sh
# Ten orders, keyed by customer, written and read with kcat.
set -eu
broker=${1:-127.0.0.1:9092}
for n in 0 1 2 3 4 5 6 7 8 9; do
    echo "customer-$((n % 3)):order $n"
done | kcat -P -b "$broker" -t orders-shell -K :
kcat -C -b "$broker" -t orders-shell -e -q -f '%k: %s (partition %p, offset %o)\n'
