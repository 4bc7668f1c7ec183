#!/usr/bin/env bash
# A command that `docker exec` begins in a container whose control group is frozen by its own file (cgroup.freeze, as by whoever watches
# over it from outside; `docker pause` refuses the command) stands still in there as "runc:[2:INIT]", before it is the command. Until the
# group is thawed or that process is killed, the engine answers neither `docker inspect` nor `docker kill` of that container: it holds the
# list of its commands, and the container, meanwhile. A kill -9 of that process, which version 2 delivers to what is frozen, ends it.
# Seen with Docker 20.10.24 and runc 1.1.5. Needs root, an engine, busybox (busybox-static) and a freezer of version 2. Fails when that changes.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo 'run as root'; exit 2; }
place=$(mktemp -d "${TMPDIR:-/tmp}/t-frozen-finding-XXXXXX")
image=t-frozen-finding:$$
container=
away() {
  [ -z "$container" ] || { echo 0 > "$group/cgroup.freeze"; docker rm -f "$container" > /dev/null; } 2> /dev/null || true
  docker rmi "$image" > /dev/null 2>&1 || true
  rm -rf "$place"
}
trap away EXIT
cp "$(command -v busybox)" "$place/busybox"
tar -C "$place" -c busybox | docker import - "$image" > /dev/null
container=$(docker run -d "$image" /busybox sleep 600)
group=$(find /sys/fs/cgroup -type d -name "*$container*" -exec test -e '{}/cgroup.freeze' ';' -print -quit)
[ -n "$group" ] || { echo 'no freezer of version 2 has it here'; exit 2; }

echo 1 > "$group/cgroup.freeze"
docker exec "$container" /busybox true > /dev/null 2>&1 &
for _ in $(seq 100); do stuck=$(sed 1d "$group/cgroup.procs"); [ -n "$stuck" ] && break; sleep 0.1; done
[ -n "$stuck" ] || { echo 'a command does not enter what is frozen now'; exit 1; }
sleep 1
if timeout 5 docker inspect "$container" > /dev/null; then echo 'it is answered about now'; exit 1; fi
if timeout 5 docker kill "$container" > /dev/null; then echo 'it is killed now'; exit 1; fi

kill -9 $stuck
timeout 10 docker inspect "$container" > /dev/null
