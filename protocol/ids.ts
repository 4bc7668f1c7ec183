import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * `constructor`, `toString` and others: under these a record has what nobody put there, and `__proto__` is no key of JSON at all. Whatever
 * others choose and a record is asked for is none of them (`NoObjectWord`), or it is asked for by `own`.
 */
const objectWords: readonly string[] = Object.getOwnPropertyNames(Object.prototype);
const notThese = `(?!(?:${objectWords.join('|')})$)`;
const NoObjectWord = new RegExp(`^${notThese}`);

/** What a record itself has under that key, whatever words it was made of. */
export const own = <Value>(
  record: Readonly<Record<string, Value>> | null | undefined,
  key: string,
): Value | undefined => (record != null && Object.hasOwn(record, key) ? record[key] : undefined);

/** A node's identity: the libp2p peer id of its Ed25519 key (the simulation uses short names). */
export const NodeId = z.string().regex(new RegExp(`^${notThese}[A-Za-z0-9-]{1,64}$`));
export type NodeId = z.infer<typeof NodeId>;

/** A node's human name, unique in its mesh; also usable as a tag `node-<name>`. */
export const NodeName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a name is a-z, 0-9 and -, at most 63 characters');
export type NodeName = z.infer<typeof NodeName>;

/** A mesh's name as it may be given, and shown to strangers: printable on one line, no blank at its ends. */
export const MeshName = z
  .string()
  .min(1)
  .max(limits.nameChars)
  .regex(
    /^(?! )[^\p{C}\p{Zl}\p{Zp}]*(?<! )$/u,
    `a mesh's name has 1 to ${limits.nameChars} printable characters, on one line`,
  );

/** Minted when a store is created and kept in it: a voter is (node, store), SAFETY L8. */
export const StoreId = z.string().min(1).max(64);
export type StoreId = z.infer<typeof StoreId>;

/** The kernel's boot id: tells a rebooted machine from a restarted agent. */
export const BootId = z.string().min(1).max(64);

/** Short opaque ids: grants, requests, runs, invites, nonces. */
export const ShortId = z.string().min(1).max(128).regex(NoObjectWord);

/** The data of one hosted GitLab: stands in its marker, its container's name and labels, and in paths. */
export const DataId = z.string().regex(/^[a-z0-9][a-z0-9-]{7,47}$/);
export type DataId = z.infer<typeof DataId>;

/** GitLab's numeric ids. */
export const JobId = z.int().positive();
export const Tag = z.string().min(1).max(limits.tagChars);
export const Sentence = z.string().max(limits.sentenceChars);
/** What others say in words, as far as a message takes it. */
export const asSentence = (text: string): string => text.slice(0, limits.sentenceChars);
/** Milliseconds since the Unix epoch: for display and for expiry of invitations, never for safety. */
export const WallMs = z.number().nonnegative();
export const Bytes = z.number().nonnegative();

/**
 * The key of a class: its tags, sorted and joined by a comma; the empty string for untagged jobs. One tag that is a word of every object
 * has a comma before it: no other class is called so.
 */
export const ClassKey = z.string().max(8000);
export function classKey(tags: readonly string[]): string {
  const key = tags.length < 2 ? (tags[0] ?? '') : [...new Set(tags)].sort().join(',');
  return objectWords.includes(key) ? `,${key}` : key;
}
/** The same for people. */
export const shownClass = (key: string): string => (key === '' ? 'untagged jobs' : key.replace(/^,/, ''));
