# What a job in a container tries at the page of its machine, by nothing but bash. Arguments: the page's port, then addresses at which the
# machine may be; the container's own loopback and its way out are tried as well. A line for each: ASKED ADDRESS PATH STATUS.
port=$1
shift

gateway() {
  while read -r _ to by _; do
    if [ "$to" = 00000000 ]; then printf '%d.%d.%d.%d' "0x${by:6:2}" "0x${by:4:2}" "0x${by:2:2}" "0x${by:0:2}"; fi
  done </proc/net/route
}

ask() {
  local said='' line=''
  if ! { exec 3<>"/dev/tcp/$1/$port"; } 2>/dev/null; then
    echo "ASKED $1 $3 none"
    return
  fi
  printf '%s %s HTTP/1.1\r\nhost: %s:%s\r\n%s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n' "$2" "$3" "$1" "$port" "$4" >&3
  # Who is let in to a stream is told at once, and hears no end.
  while read -r -t 10 line <&3 || [ -n "$line" ]; do
    said+="$line "
    line=''
  done
  exec 3>&-
  echo "ASKED $1 $3 ${said:9:3}"
  case $said in *leader* | *'"mesh"'* | *autogit_*) echo "TOLD $3: $said" ;; esac
}

for at in 127.0.0.1 "$(gateway)" "$@"; do
  for path in / /api/status '/api/jobs?all=1' /api/events '/api/logs?job=1' /api/summary /metrics /api/openapi.json; do
    ask "$at" GET "$path" 'x-a: b'
  done
  ask "$at" GET /api/me 'authorization: Bearer agk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
  ask "$at" POST /api/acts/drain 'x-autogit: page'
done
