import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { escapeHtml } from '../../escape-html.ts';

/** What the gate itself says where GitLab may not answer: to browsers and programs, to git, to ssh. */

/** One line, as a terminal may show it. */
const plain = (text: string): string => text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, ' ');

const isGit = (request: IncomingMessage): boolean =>
  /^(?:JGit|git)\//i.test(request.headers['user-agent'] ?? '') ||
  /\/(?:info\/refs|git-upload-pack|git-receive-pack)(?:\?|$)/.test(request.url ?? '');

const page = (because: string): string => `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>GitLab is on its way</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:4em auto;max-width:40em;padding:0 1em}</style></head>
<body><h1>GitLab is on its way</h1><p>${escapeHtml(because)}</p><p>This page asks again every 5 seconds.</p></body></html>
`;

/** 503: programs try again. git prints the lines of a text/plain answer as "remote:", and nothing of an HTML one. */
export function answerPage(request: IncomingMessage, response: ServerResponse, because: string): void {
  const [type, text] = isGit(request)
    ? ['text/plain; charset=utf-8', `${plain(because)}; try again in a moment\n`]
    : ['text/html; charset=utf-8', page(because)];
  response.writeHead(503, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'Retry-After': '5',
    'Cache-Control': 'no-store',
    Connection: 'close',
  });
  response.end(request.method === 'HEAD' ? undefined : text);
  // What a push sends behind its request is read and let go, or the reset of unread bytes would take the answer along.
  request.resume();
}

/** A host as a URL has it, and a port that is left out where it is that of https. */
const hostShape = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])$/i;

/** `port`: where TLS is spoken. For good, so that browsers and git ask there the next time; a body is sent there again. */
export function answerRedirect(request: IncomingMessage, response: ServerResponse, port: number): void {
  const host = (request.headers.host ?? '').replace(/:\d{1,5}$/, '');
  const { method = '', url = '' } = request;
  const isKnown = hostShape.test(host) && url.startsWith('/');
  const isRead = method === 'GET' || method === 'HEAD';
  const where = `https://${host}${port === 443 ? '' : `:${port}`}${url}`;
  const text = isKnown ? `GitLab is at ${where}\n` : 'GitLab is reached by https\n';
  response.writeHead(!isKnown ? 400 : isRead ? 301 : 308, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
    ...(isKnown && { Location: where }),
    Connection: 'close',
  });
  response.end(method === 'HEAD' ? undefined : text);
  request.resume();
}

/** To a push that was held back for long, as bytes: a connection that GitLab answers on is no server of ours. */
export function heldAnswer(because: string): string {
  const text = `${plain(because)}; its refs are told to nobody before; try again in a moment\n`;
  const head = ['HTTP/1.1 503 Service Unavailable', 'Content-Type: text/plain; charset=utf-8'];
  const rest = [`Content-Length: ${Buffer.byteLength(text)}`, 'Retry-After: 10', 'Cache-Control: no-store'];
  return [...head, ...rest, 'Connection: close', '', text].join('\r\n');
}

const sshString = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

/** SSH_MSG_DISCONNECT (RFC 4253 §11.1), "service not available", in the clear as before a key exchange. */
export function sshDisconnect(because: string): Buffer {
  const head = Buffer.alloc(5);
  head[0] = 1;
  head.writeUInt32BE(7, 1);
  const payload = Buffer.concat([head, sshString(plain(because)), sshString('en')]);
  // Length, length of padding, payload and padding together are a multiple of 8; padding is 4 at least (§6).
  const padding = 4 + ((8 - ((5 + payload.length + 4) % 8)) % 8);
  const packet = Buffer.alloc(5);
  packet.writeUInt32BE(1 + payload.length + padding);
  packet[4] = padding;
  return Buffer.concat([packet, payload, Buffer.alloc(padding)]);
}

/** OpenSSH prints the sentence when it comes behind the exchange of versions. */
export function answerSsh(socket: Socket, because: string): void {
  socket.setTimeout(10_000, () => socket.destroy());
  socket.write('SSH-2.0-autogit\r\n');
  let said = '';
  socket.on('data', (chunk: Buffer) => {
    if (said.includes('\n')) return;
    said = (said + chunk.toString('latin1')).slice(0, 300);
    if (said.includes('\n')) socket.end(sshDisconnect(because));
    else if (said.length >= 300) socket.destroy();
  });
  socket.on('error', () => socket.destroy());
}

/** PROXY protocol, version 1: who the client is, for an nginx that is told to believe the gate. */
export function proxyLine(socket: Pick<Socket, 'remoteAddress' | 'remotePort' | 'localAddress' | 'localPort'>): string {
  // Node names the interface behind an address of the link (fe80::7%eth0), which is no address to nginx.
  const bare = (address = ''): string => address.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '');
  const [from, to] = [bare(socket.remoteAddress), bare(socket.localAddress)];
  if (from === '' || to === '' || from.includes(':') !== to.includes(':')) return 'PROXY UNKNOWN\r\n';
  const family = from.includes(':') ? 'TCP6' : 'TCP4';
  return `PROXY ${family} ${from} ${to} ${socket.remotePort} ${socket.localPort}\r\n`;
}
