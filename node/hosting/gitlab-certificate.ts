import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, isIP } from 'node:net';
import type tls from 'node:tls';
import type { PeerCertificate, Server } from 'node:tls';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { doorTls } from './gate/tls-door.ts';

/** A certificate for GitLab's address as a person brings it: PEM, the address's own first, those between it and its CA behind. */
export interface GivenCertificate {
  certificate: string;
  key: string;
  /** Whom the mesh shall believe for that address, as PEM; else those that its machines believe anyway. */
  ca?: string | undefined;
}

export interface KnownCertificate {
  /** By whom it is, in words of its own. */
  issuer: string;
  /** Wall time, ms. */
  endsAt: number;
}

/** From so many days on it is said that a certificate ends. */
const soonDays = 21;
const dayMs = 86_400_000;
const handshakeMs = 10_000;

const bad = (sentence: string, hint: string): AutogitError => new AutogitError('bad-flag', sentence, { hint });
const blocks = (pem: string): string[] =>
  pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];

function firstOf(pem: string): X509Certificate {
  const [first] = blocks(pem);
  const hint = 'the full chain as PEM: it begins with -----BEGIN CERTIFICATE-----';
  if (first === undefined) throw bad('the file of the certificate has none in it', hint);
  try {
    return new X509Certificate(first);
  } catch {
    throw bad('the certificate cannot be read', hint);
  }
}

function keyOf(pem: string): KeyObject {
  if (/ENCRYPTED/.test(pem))
    throw bad(
      'the key has a password, and nobody is there to type it when GitLab is started',
      'without one: openssl pkey -in KEY -out NEW',
    );
  try {
    return createPrivateKey(pem);
  } catch {
    throw bad('the file of the key has no private key that can be read', 'it begins with -----BEGIN PRIVATE KEY-----');
  }
}

/** `O = Let's Encrypt` of many lines. */
const issuerOf = ({ issuer }: X509Certificate): string =>
  (/^O=(.+)$/m.exec(issuer)?.[1] ?? /^CN=(.+)$/m.exec(issuer)?.[1] ?? 'nobody who is named').slice(0, 80);

/** Of one that was checked when it was given. Null where it makes no sense any more. */
export function knownCertificate(pem: string): KnownCertificate | null {
  try {
    const found = firstOf(pem);
    return { issuer: issuerOf(found), endsAt: Date.parse(found.validTo) };
  } catch {
    return null;
  }
}

function whyNotNamed(found: X509Certificate, hostname: string): string | null {
  const isNamed = isIP(hostname) === 0 ? found.checkHost(hostname, { subject: 'never' }) : found.checkIP(hostname);
  if (isNamed !== undefined) return null;
  return `the certificate is not for ${hostname}: it names ${found.subjectAltName?.slice(0, 200) ?? 'no address'}`;
}

/** Null where that certificate, checked when it was given, is good for that name or address too. */
export const whyNotFor = (pem: string, hostname: string): string | null => whyNotNamed(firstOf(pem), hostname);

/** Days that it is good for, rounded down; below zero once it has ended. */
export const daysLeft = ({ endsAt }: KnownCertificate, wallMs: number): number => Math.floor((endsAt - wallMs) / dayMs);

/** Null while there is time. */
export function endsSoon(known: KnownCertificate | null, wallMs: number): string | null {
  if (known === null) return 'the certificate of its address cannot be read';
  const left = daysLeft(known, wallMs);
  if (left < 0) return 'the certificate of its address has ended: browsers, git and the mesh itself refuse it';
  return left > soonDays ? null : `the certificate of its address ends in ${left === 1 ? '1 day' : `${left} days`}`;
}

/**
 * All that can be wrong with it before anybody is served with it, whether this agent's own calls would believe it included: the mesh
 * asks GitLab by that very address. Throws `bad-flag` with what to do.
 */
export async function checkCertificate(
  { certificate, key, ca }: GivenCertificate,
  hostname: string,
  wallMs: number,
): Promise<KnownCertificate> {
  if (certificate.length + key.length > limits.certificateChars)
    throw bad(
      `certificate and key have more than ${limits.certificateChars >> 10} KiB together`,
      'the chain of this certificate alone, without its root',
    );
  if (ca !== undefined) checkCa(ca);
  const found = firstOf(certificate);
  const fresh = 'bring one that is good now';
  if (!found.checkPrivateKey(keyOf(key)))
    throw bad('the key does not belong to the certificate', 'the two files that were made together');
  const unnamed = whyNotNamed(found, hostname);
  if (unnamed !== null) throw bad(unnamed, 'deploy by a name that it has: --hostname https://NAME');
  if (Date.parse(found.validFrom) > wallMs)
    throw bad(`the certificate counts from ${found.validFrom} on`, `${fresh}, or see this machine's clock`);
  if (Date.parse(found.validTo) <= wallMs) throw bad(`the certificate ended at ${found.validTo}`, fresh);
  const refused = await handshake({ certificate, key, ca }, hostname);
  if (refused !== null)
    throw ca === undefined
      ? bad(
          `this agent does not believe the certificate (${refused}), and each machine of the mesh asks GitLab by that address`,
          'take one of a public CA, with its full chain; or name the CA, which the mesh believes for that address then: --tls-ca FILE',
        )
      : bad(
          `the certificate is not one of that CA (${refused})`,
          'the chain from the address to below the CA in --tls-cert, and the CA itself in --tls-ca',
        );
  return { issuer: issuerOf(found), endsAt: Date.parse(found.validTo) };
}

/** It stands in the ledger in the clear: nothing but certificates. */
function checkCa(pem: string): void {
  const hint = "the CA's own certificate as PEM, and nothing else in that file";
  if (/PRIVATE KEY/.test(pem)) throw bad('the file of the CA has a private key in it', hint);
  if (pem.length > limits.caChars) throw bad(`the file of the CA has more than ${limits.caChars >> 10} KiB`, hint);
  if (blocks(pem).length === 0) throw bad('the file of the CA has no certificate in it', hint);
  for (const one of blocks(pem))
    try {
      new X509Certificate(one);
    } catch {
      throw bad('a certificate in the file of the CA cannot be read', hint);
    }
}

/** As a machine of the mesh will meet it. Null when it is believed; else why not. */
async function handshake({ certificate, key, ca }: GivenCertificate, hostname: string): Promise<string | null> {
  // Loaded where it is needed: an agent that calls nobody by https has 1 MiB less.
  const { checkServerIdentity, connect, createServer }: typeof tls = process.getBuiltinModule('node:tls');
  let server: Server;
  try {
    server = createServer(doorTls(`${key}\n${certificate}`));
  } catch (error) {
    // A key that is too short, for one.
    return sentenceOf(error).slice(0, 200);
  }
  server.on('tlsClientError', () => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({
    ...{ host: '127.0.0.1', port: (server.address() as AddressInfo).port, timeout: handshakeMs },
    ...(isIP(hostname) === 0 && { servername: hostname }),
    ...(ca !== undefined && { ca }),
    checkServerIdentity: (_: string, peer: PeerCertificate) => checkServerIdentity(hostname, peer),
  });
  try {
    return await new Promise((done) => {
      client.once('secureConnect', () => done(null));
      client.once('timeout', () => done('nobody answered'));
      client.on('error', ({ message }) => done(message.slice(0, 200)));
    });
  } finally {
    client.destroy();
    server.close();
  }
}
