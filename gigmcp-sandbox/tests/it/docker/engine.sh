#!/bin/sh
# Docker's engine for one test, in namespaces of its own: engine.sh DIRECTORY CGROUP [USERS]
# It ends, and takes everything along, when its standard input does. With USERS, uid 0 of containers is
# that uid of the host, and so on.
set -eu
directory=$1 cgroup=$2 users=${3:-}
mount -t tmpfs engine /run
set -- --host "unix://$directory/socket" --data-root /run/data --exec-root /run/engine --pidfile /run/engine.pid \
  --cgroup-parent "/$cgroup" --bridge none --iptables=false --ip6tables=false --ip-forward=false
if [ -n "$users" ]; then
  mkdir /run/upper /run/work
  mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work etc /etc
  echo "daemon:$users:65536" | tee /etc/subuid >/etc/subgid
  set -- "$@" --userns-remap daemon
fi
dockerd "$@" >"$directory/log" 2>&1 &
read -r _ || :
kill $! || :
wait $! || :
find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} \;
