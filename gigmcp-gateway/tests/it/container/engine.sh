#!/bin/sh
# Docker's engine for one test, in a network namespace that is there already: engine.sh DIRECTORY CGROUP RESOLV_CONF
# It ends, and takes everything along, when its standard input does.
set -eu
directory=$1 cgroup=$2 resolve=$3
mount --bind "$resolve" /etc/resolv.conf
mount -t tmpfs engine /run
# Containers reach the tests' internet by way of this namespace, as they do on a host.
echo 1 >/proc/sys/net/ipv4/ip_forward
dockerd --host "unix://$directory/socket" --data-root /run/data --exec-root /run/engine --pidfile /run/engine.pid \
  --cgroup-parent "/$cgroup" --ip6tables=false >"$directory/log" 2>&1 &
read -r _ || :
kill $! || :
wait $! || :
find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} \;
