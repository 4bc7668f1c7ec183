import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';

export interface Identity {
  /** The libp2p peer id: a node's id in the mesh. */
  readonly id: NodeId;
  readonly privateKey: PrivateKey;
  /** Sentences for the person at the terminal, for example permissions that were corrected. */
  readonly warnings: readonly string[];
}

export const identityFile = (home: string): string => join(home, 'identity.key');

/**
 * The node's Ed25519 key, raw protobuf bytes in `identity.key` (0600). Made on first use, atomically: two agents that
 * start at once end with the same key. Throws `identity-unreadable` when there is a file that is no such key: a node
 * must never become somebody else by accident.
 */
export async function loadIdentity(home: string): Promise<Identity> {
  const file = identityFile(home);
  if (!exists(file)) writeOnce(file, privateKeyToProtobuf(await generateKeyPair('Ed25519')));
  const warnings = closePermissions(file);
  const privateKey = readKey(file);
  return { id: peerIdFromPrivateKey(privateKey).toString(), privateKey, warnings };
}

/** The id of the node whose home this is, null when it has no identity yet. Makes nothing. */
export async function readIdentity(home: string): Promise<NodeId | null> {
  const file = identityFile(home);
  return exists(file) ? peerIdFromPrivateKey(readKey(file)).toString() : null;
}

function exists(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw unreadable(file, error);
  }
}

const unreadable = (file: string, cause: unknown): AutogitError =>
  new AutogitError('identity-unreadable', `${file} cannot be read: ${sentenceOf(cause)}`, { cause });

function readKey(file: string) {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw unreadable(file, error);
  }
  try {
    const key = privateKeyFromProtobuf(bytes);
    if (key.type !== 'Ed25519') throw new Error(`it is a key of type ${key.type}`);
    return key;
  } catch (cause) {
    throw new AutogitError('identity-unreadable', `${file} is no Ed25519 key of autogit-node`, { cause });
  }
}

/** Others who could read the key could be this node: close it, and say so. */
function closePermissions(file: string): string[] {
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) === 0) return [];
  try {
    chmodSync(file, 0o600);
  } catch (cause) {
    throw new AutogitError('identity-unreadable', `${file} is readable by others and cannot be closed`, {
      cause,
      hint: `chmod 600 ${file}`,
    });
  }
  return [
    `${file} was readable by others (mode ${mode.toString(8)}); it is 0600 now. If somebody may have copied it, move it away and join anew`,
  ];
}

/** A full file appears under its name in one step; whoever comes second leaves the first one's. */
function writeOnce(file: string, bytes: Uint8Array): void {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    const handle = openSync(draft, 'wx', 0o600);
    try {
      writeFileSync(handle, bytes);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    try {
      linkSync(draft, file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      unlinkSync(draft);
    }
    syncFolder(file);
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${file} cannot be written: ${sentenceOf(cause)}`, { cause });
  }
}

function syncFolder(file: string): void {
  const folder = openSync(join(file, '..'), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
