import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import type tls from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';

/** Where the gate itself speaks TLS: GitLab's nginx behind it has no certificate, and people read a page in whatever state it is. */

/** Loaded where a door needs it: a gate in the clear is smaller. */
const loaded = (): typeof tls => process.getBuiltinModule('node:tls');

/** A client that does not come to an end of its handshake is no client. */
const handshakeMs = 10_000;

/** Below each client that speaks TLS: only that one can be reset. */
const raws = new WeakMap<Socket, Socket>();

/** Of TLS 1.2 what keeps yesterday's traffic secret from whoever gets the key: "intermediate" of Mozilla's, without DHE. */
const ciphers = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ...['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
].join(':');

/** How the gate speaks TLS. `pem`: key and certificates, in any order. A client negotiates once, and not again in the middle. */
export const doorTls = (pem: string) =>
  ({ cert: pem, key: pem, minVersion: 'TLSv1.2', ciphers, secureOptions: constants.SSL_OP_NO_RENEGOTIATION }) as const;

/** Throws on what is no key with its certificate. */
export const secureContext = (pem: string): SecureContext => loaded().createSecureContext(doorTls(pem));

interface Spoken {
  /** The client has shown that it speaks TLS. */
  ready(client: TLSSocket): void;
  /** It speaks what looks like http. */
  inTheClear(client: Socket): void;
}

/** By the first byte: a TLS client begins with a handshake (RFC 8446 §5.1). Who says nothing is gone after a time, who says else at once. */
export function speakTls(raw: Socket, context: SecureContext, spoken: Spoken): void {
  const late = setTimeout(() => raw.destroy(), handshakeMs);
  raw.once('close', () => clearTimeout(late));
  raw.once('data', (first: Buffer) => {
    raw.pause();
    raw.unshift(first);
    if (first[0] === 0x16)
      return handshake(raw, context, (client) => {
        clearTimeout(late);
        spoken.ready(client);
      });
    clearTimeout(late);
    if (/^[A-Z]/.test(first.toString('latin1', 0, 1))) spoken.inTheClear(raw);
    else raw.destroy();
  });
}

function handshake(raw: Socket, context: SecureContext, ready: (client: TLSSocket) => void): void {
  const { TLSSocket: Secured } = loaded();
  const client = new Secured(raw, { isServer: true, secureContext: context, ALPNProtocols: ['http/1.1'] });
  raws.set(client, raw);
  client.once('close', () => raw.destroy());
  raw.once('close', () => client.destroy());
  client.on('error', () => raw.destroy());
  client.once('secure', () => ready(client));
}

export const reset = (socket: Socket): void => {
  const raw = raws.get(socket);
  if (raw === undefined) socket.resetAndDestroy();
  else {
    raw.resetAndDestroy();
    socket.destroy();
  }
};
