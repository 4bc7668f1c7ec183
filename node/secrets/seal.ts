import { randomBytes } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';
import { decrypt, encrypt } from './aes-gcm.ts';

const meshKeyBytes = 32;

function keyBytes(keyHex: string): Buffer {
  const key = Buffer.from(keyHex, 'hex');
  if (key.length !== meshKeyBytes || key.toString('hex') !== keyHex.toLowerCase())
    throw new AutogitError('store-corrupt', 'the mesh key is not 32 bytes in hex');
  return key;
}

/** A new mesh key: 32 bytes in hex. */
export const newMeshKey = (): string => randomBytes(meshKeyBytes).toString('hex');

/** Encrypts text with the mesh key: base64 of nonce | ciphertext | tag (AES-256-GCM). Never the same twice. */
export const seal = (keyHex: string, text: string): string => encrypt(keyBytes(keyHex), text).toString('base64');

/** Opens what `seal` made. Throws `store-corrupt` when the key is another one or the text was changed. */
export function unseal(keyHex: string, sealed: string): string {
  const key = keyBytes(keyHex);
  try {
    return decrypt(key, Buffer.from(sealed, 'base64'));
  } catch (cause) {
    throw new AutogitError('store-corrupt', 'a sealed secret does not open with the mesh key of this machine', {
      cause,
      hint: 'the key was rotated or the store is older than the mesh: move the store folder away and join again',
    });
  }
}
