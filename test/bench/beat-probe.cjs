// Loaded into an agent before anything else (NODE_OPTIONS=--require): when which bytes went to and came from which other
// machine, so that the bench can follow a heartbeat from its leader to who hears it. Chunks are counted by their place in
// the stream of bytes, which both ends of a connection see alike. On SIGUSR2 what was noted since the last SIGUSR2 goes to
// $BEAT_PROBE, one JSON line; times are of the computer's monotonic clock, which all its processes share. A datagram is a
// chunk of a line `udp …`, whose place is its sender's own number of it; only those that are beats are noted.
const { isMainThread } = require('node:worker_threads');
const { appendFileSync } = require('node:fs');
const { Socket } = require('node:net');
const datagrams = require('node:dgram').Socket.prototype;
const file = process.env.BEAT_PROBE;
if (isMainThread && file && process.argv.includes('join')) {
  const most = 200_000;
  let noted = [];
  const nowMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;
  const places = new WeakMap();
  const note = (socket, isSent, bytes) => {
    const place = places.get(socket) ?? { sent: 0, heard: 0 };
    places.set(socket, place);
    const { localAddress, localPort, remoteAddress, remotePort } = socket;
    const [from, to] = [`${localAddress}:${localPort}`, `${remoteAddress}:${remotePort}`];
    place[isSent ? 'sent' : 'heard'] += bytes;
    const until = isSent ? place.sent : place.heard;
    if (remoteAddress === undefined || noted.length >= most) return;
    noted.push({ at: nowMs(), isSent, line: isSent ? `${from}-${to}` : `${to}-${from}`, until, bytes });
  };
  const { push, write } = Socket.prototype;
  Socket.prototype.push = function (data, ...rest) {
    if (data?.byteLength > 0) note(this, false, data.byteLength);
    return push.call(this, data, ...rest);
  };
  Socket.prototype.write = function (data, ...rest) {
    if (data?.byteLength > 0) note(this, true, data.byteLength);
    return write.call(this, data, ...rest);
  };
  const noteDatagram = (socket, isSent, data) => {
    if (data?.byteLength !== 41 || data[0] !== 1 || noted.length >= most) return;
    const shown = ({ address, port }) => `${address}:${port}`;
    const [own, other] = [shown(socket.address()), shown(socket.remoteAddress())];
    const line = `udp ${isSent ? `${own}-${other}` : `${other}-${own}`}`;
    noted.push({ at: nowMs(), isSent, line, until: data.readUIntBE(1, 6), bytes: data.byteLength });
  };
  const { emit, send } = datagrams;
  datagrams.emit = function (name, ...args) {
    if (name === 'message') noteDatagram(this, false, args[0]);
    return emit.call(this, name, ...args);
  };
  datagrams.send = function (data, ...rest) {
    noteDatagram(this, true, data);
    return send.call(this, data, ...rest);
  };
  process.on('SIGUSR2', () => {
    appendFileSync(file, `${JSON.stringify(noted)}\n`);
    noted = [];
  });
}
