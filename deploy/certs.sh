#!/bin/sh
# Makes the certificates of the link and brings each host its own, where the units in systemd/ look for them.
#
#   certs.sh DIR HOST…        for instance: certs.sh ~/signalbox-pki edge-1 edge-2 core-1
#
# HOST is both the name in the certificate and where ssh finds the host. DIR keeps the key of the CA (ca-key.pem), which
# stays here: whoever has it can join the cluster. To add a host later, run it again with the new name.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 DIR HOST..." >&2
    exit 64
fi
dir=$1
shift

core-registrar certs --dir "$dir" "$@"

for host in "$@"; do
    for pair in ca:ca "$host:node" "$host-key:node-key"; do
        # shellcheck disable=SC2029  # the name is meant to be filled in here
        ssh "root@$host" "umask 077 && mkdir -p /etc/signalbox && cat > /etc/signalbox/${pair#*:}.pem" \
            < "$dir/${pair%%:*}.pem"
    done
done
