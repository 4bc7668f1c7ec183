#!/usr/bin/env bash
# nginx sends no more of a request once it has passed on the head of its answer (ngx_http_upstream_send_request_handler: header_sent), and
# neither ends the answer nor the connection: with a server behind it that answers early and reads on, and a client that sends all first,
# all three wait until a timeout. With proxy_request_buffering on and off. git http-backend prints its head before it reads, so whoever
# hands that on at once hangs in pushes of more than the buffers between; a server that reads the request first does not.
# Seen with nginx 1.22.1 (Debian 12) and Node 20. Needs nginx, node and curl; no root. Fails when that changes.
set -euo pipefail
command -v nginx > /dev/null || { echo 'needs nginx: apt-get install nginx'; exit 2; }
place=$(mktemp -d "${TMPDIR:-/tmp}/t-nginx-finding-XXXXXX")
behind= front=
away() {
  for pid in $front $behind; do kill "$pid" 2> /dev/null || true; done
  rm -rf "$place"
}
trap away EXIT

cat > "$place/behind.js" << 'END'
require('node:http').createServer((request, response) => {
  if (request.url === '/early') { response.writeHead(200); response.write('head'); }
  let bytes = 0;
  request.on('data', (chunk) => { bytes += chunk.length; });
  request.on('end', () => response.end(` ${bytes} bytes\n`));
}).listen(process.argv[2] + '/behind', () => console.log('up'));
END
cat > "$place/nginx.conf" << END
daemon off; master_process off; pid $place/pid; error_log $place/errors;
events { }
http {
  access_log off; client_max_body_size 0; proxy_request_buffering off;
  client_body_temp_path $place/body; proxy_temp_path $place/proxy; fastcgi_temp_path $place/fastcgi; uwsgi_temp_path $place/uwsgi; scgi_temp_path $place/scgi;
  server { listen unix:$place/front; location / { proxy_http_version 1.1; proxy_pass http://unix:$place/behind:; } }
}
END
node "$place/behind.js" "$place" > /dev/null & behind=$!
nginx -c "$place/nginx.conf" 2> "$place/words" & front=$!
for _ in $(seq 100); do [ -S "$place/front" ] && [ -S "$place/behind" ] && break; sleep 0.1; done

head -c 48M /dev/zero > "$place/much"
send() { curl -s --max-time 10 --unix-socket "$place/front" -H 'Transfer-Encoding: chunked' -H 'Expect:' -T "$place/much" "http://x/$1" || echo "ended with $?"; }
late=$(send late)
[ "$late" = ' 50331648 bytes' ] || { echo "a server that reads first got: $late"; exit 1; }
early=$(send early)
case $early in *'ended with 28') ;; *) echo "a server that answers early got the whole request: $early"; exit 1 ;; esac
echo "as seen: read first, 48 MiB pass; answered early, the request stands still ($early)"
