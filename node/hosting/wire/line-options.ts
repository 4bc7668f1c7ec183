import type { CipherNameAndProtocol } from 'node:tls';

export const lineTimings = {
  /** Nobody came by then: the door is shut. */
  doorMs: 10_000,
  /** An answer that needs no disk. */
  answerMs: 10_000,
  keepAliveMs: 5_000,
  /** A standby says so often how much of a round has arrived, also when nothing does. */
  pulseMs: 500,
  /** In the midst of a round. */
  silentMs: 60_000,
} as const;

/** Node knows keys of two sides in TLS 1.2 alone; each key is for one connection, and the exchange is made anew for it. */
const cipher: CipherNameAndProtocol['name'] = 'DHE-PSK-AES256-GCM-SHA384';
export const tlsOptions = { ciphers: cipher, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', dhparam: 'auto' } as const;
