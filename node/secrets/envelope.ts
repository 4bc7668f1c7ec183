import {
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { peerIdFromString } from '@libp2p/peer-id';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { decrypt, encrypt } from './aes-gcm.ts';

/**
 * A secret for some nodes and nobody else: `v2.` and the JSON of one envelope a node. An envelope is made with a key of
 * its own (X25519, ephemeral) and the node's identity: base64 of ephemeral public key | nonce | ciphertext | tag
 * (AES-256-GCM, key by HKDF-SHA256 over both public keys). X25519 of an identity is its Ed25519 key on the other form of
 * the same curve (RFC 7748), as libsodium and age do it.
 */
const prefix = 'v2.';
const keyBytes = 32;
const p = 2n ** 255n - 19n;

export const isEnvelopes = (sealed: string): boolean => sealed.startsWith(prefix);

/** For whom it was sealed; none for what is sealed in another way, or broken. */
export function recipientsOf(sealed: string): NodeId[] {
  return Object.keys(envelopesOf(sealed));
}

export function sealFor(nodes: readonly NodeId[], text: string): string {
  return prefix + JSON.stringify(Object.fromEntries(nodes.map((node) => [node, sealOne(node, text)])));
}

/** Throws `unsupported` when there is no envelope for this node, `store-corrupt` when it does not open. */
export function openEnvelope(self: NodeId, seed: Uint8Array, sealed: string): string {
  const all = envelopesOf(sealed);
  const mine = Object.hasOwn(all, self) ? all[self] : undefined;
  if (mine === undefined)
    throw new AutogitError('unsupported', 'this secret is sealed for the machines that vote, and this one does not', {
      hint: 'type it on a machine that votes; which do: autogit-node status -o wide',
    });
  return openOne(self, seed, mine);
}

function envelopesOf(sealed: string): Record<NodeId, string> {
  if (!isEnvelopes(sealed)) return {};
  try {
    const found: unknown = JSON.parse(sealed.slice(prefix.length));
    return typeof found === 'object' && found !== null ? (found as Record<NodeId, string>) : {};
  } catch {
    return {};
  }
}

export function sealOne(node: NodeId, text: string): string {
  const theirs = publicKey(montgomery(identityKey(node)));
  const own = generateKeyPairSync('x25519');
  const ownBytes = rawPublic(own.publicKey);
  const key = keyOf(own.privateKey, theirs, ownBytes, node);
  return Buffer.concat([ownBytes, encrypt(key, text)]).toString('base64');
}

export function openOne(self: NodeId, seed: Uint8Array, envelope: string): string {
  const all = Buffer.from(envelope, 'base64');
  try {
    const theirs = all.subarray(0, keyBytes);
    return decrypt(keyOf(privateKey(seed), publicKey(theirs), theirs, self), all.subarray(keyBytes));
  } catch (cause) {
    throw new AutogitError('store-corrupt', 'a secret that is sealed for this machine does not open', {
      cause,
      hint: 'its identity.key is another one than when it was let in; leave, then join anew: autogit-node leave',
    });
  }
}

function keyOf(own: KeyObject, theirs: KeyObject, ephemeral: Uint8Array, node: NodeId): Buffer {
  const shared = diffieHellman({ privateKey: own, publicKey: theirs });
  const info = Buffer.concat([Buffer.from('autogit-envelope-2\0'), ephemeral, Buffer.from(node)]);
  return Buffer.from(hkdfSync('sha256', shared, Buffer.alloc(0), info, keyBytes));
}

/** The Ed25519 public key that is a node's id. */
function identityKey(node: NodeId): Uint8Array {
  const id = peerIdFromString(node);
  if (id.type !== 'Ed25519') throw new AutogitError('bad-message', `${node} is no identity of autogit-node`);
  return id.publicKey.raw;
}

/** u = (1 + y) / (1 - y), little-endian, the sign bit left out. */
function montgomery(edwards: Uint8Array): Uint8Array {
  const flat = Uint8Array.from(edwards);
  flat[31] = (flat[31] as number) & 0x7f;
  const y = numberOf(flat);
  const u = (((1n + y) % p) * power((((1n - y) % p) + p) % p, p - 2n)) % p;
  const out = new Uint8Array(keyBytes);
  for (let index = 0, left = u; index < keyBytes; index++, left >>= 8n) out[index] = Number(left & 0xffn);
  return out;
}

const numberOf = (little: Uint8Array): bigint => little.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  let square = base % p;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * square) % p;
    square = (square * square) % p;
  }
  return result;
}

const url = (raw: Uint8Array): string => Buffer.from(raw).toString('base64url');
const publicKey = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: url(raw) }, format: 'jwk' });
const rawPublic = (key: KeyObject): Buffer => Buffer.from(key.export({ format: 'jwk' }).x as string, 'base64url');

/** As Ed25519 itself makes its scalar of the seed (RFC 8032); X25519 clamps it. */
function privateKey(seed: Uint8Array): KeyObject {
  const scalar = createHash('sha512').update(seed.subarray(0, keyBytes)).digest().subarray(0, keyBytes);
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), scalar]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}
