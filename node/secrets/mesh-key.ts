import { hkdfSync } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';
import type { Store } from '../ports.ts';
import { seal, unseal } from './seal.ts';

const fact = 'mesh-key';
const mark = 'sealed:';

/** By `identity.key`, which lies beside the store and never in it: who gets hold of the store alone opens nothing. */
const restKey = (seed: Uint8Array): string =>
  Buffer.from(hkdfSync('sha256', seed, '', 'autogit-node: mesh key at rest', 32)).toString('hex');

/** Keeps the mesh key, sealed by this node's identity (`seed`: its raw Ed25519 private key). */
export const keepMeshKey = (store: Store, seed: Uint8Array, meshKey: string): Promise<void> =>
  store.put(fact, `${mark}${seal(restKey(seed), meshKey)}`);

/**
 * The mesh key of the store. One that an earlier version left in the clear is sealed, and the clear one leaves the
 * store's files for good. Throws `store-corrupt` when there is none, or it does not open with this identity.
 */
export async function readMeshKey(store: Store, seed: Uint8Array): Promise<string> {
  const kept = await store.get(fact);
  if (kept === null || kept === '')
    throw new AutogitError('store-corrupt', 'the store has a ledger but not the key of its mesh');
  if (kept.startsWith(mark)) return unseal(restKey(seed), kept.slice(mark.length));
  await keepMeshKey(store, seed, kept);
  await store.rewrite();
  return kept;
}
