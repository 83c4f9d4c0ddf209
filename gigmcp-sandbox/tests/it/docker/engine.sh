#!/bin/sh
# Docker's engine for one test, in namespaces of its own: engine.sh DIRECTORY CGROUP
# It ends, and takes everything along, when its standard input does.
set -eu
mount -t tmpfs engine /run
dockerd --host "unix://$1/socket" --data-root /run/data --exec-root /run/engine --pidfile /run/engine.pid \
  --cgroup-parent "/$2" --bridge none --iptables=false --ip6tables=false --ip-forward=false >"$1/log" 2>&1 &
read -r _ || :
kill $! || :
wait $! || :
find /sys/fs/cgroup -depth -type d -path "*/$2*" -exec rmdir {} \;
