#!/usr/bin/env bash
# A link-local IPv6 address is reached only with its interface: Node.js connects to fe80::…%eth0. A multiaddr has a form
# for that (/ip6zone/eth0/ip6/fe80::…/tcp/…), and the TCP transport of libp2p says that it dials such a one (`dialFilter`
# lets it through) but leaves the interface out when it does: the kernel answers EINVAL. So of two machines that share a
# cable and have no other IPv6 address, libp2p for JavaScript connects by IPv4 only.
# Seen 2026-12 with @libp2p/tcp 11.0.28, @multiformats/multiaddr 13.0.3, Node.js 20: what is printed below. Fails when
# that changes. Needs iproute2 and unshare: the two ends of a cable are in a network namespace of the script's own.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
printf '{"name":"finding","private":true,"type":"module"}\n' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error \
  @libp2p/tcp@11.0.28 @libp2p/logger@6.2.13 @multiformats/multiaddr@13.0.3 >install.log 2>&1
cat >dial.js <<'JS'
import { createServer, connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { defaultLogger } from '@libp2p/logger';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';

const { address, scopeid } = networkInterfaces().cable0.find((one) => one.address.startsWith('fe80'));
if (!scopeid) throw new Error('the kernel names no scope of it');
const server = createServer((socket) => socket.end()).listen(0, '::');
await new Promise((resolve) => server.once('listening', resolve));
const { port } = server.address();
const byNode = await new Promise((resolve) => {
  const socket = connect(port, `${address}%cable0`);
  socket.once('connect', () => resolve('connected'));
  socket.once('error', (error) => resolve(error.code));
});
const place = multiaddr(`/ip6zone/cable0/ip6/${address}/tcp/${port}`);
const transport = tcp()({ logger: defaultLogger() });
const isTaken = transport.dialFilter([place]).length === 1;
const upgrader = { upgradeOutbound: async () => ({ close() {} }), createInboundAbortSignal: () => AbortSignal.timeout(5000) };
const byLibp2p = await transport.dial(place, { signal: AbortSignal.timeout(5000), upgrader }).then(
  () => 'connected',
  (error) => /E[A-Z]{4,}/.exec(String(error.message))?.[0] ?? error.message,
);
const seen = { 'Node.js': byNode, 'dialFilter lets it through': isTaken, 'libp2p dials': byLibp2p };
console.table(seen);
process.exit(byNode === 'connected' && isTaken && byLibp2p === 'EINVAL' ? 0 : 1);
JS
unshare --map-root-user --net bash -ec '
  ip link set lo up
  ip link add cable0 type veth peer name cable1
  ip link set cable0 up
  ip link set cable1 up
  for _ in $(seq 50); do ip -6 addr show dev cable0 | grep -q "fe80.*link" && ! ip -6 addr show dev cable0 | grep -q tentative && break; sleep 0.1; done
  exec node dial.js'
echo 'as seen: the zone is taken, and dropped at the dial'
