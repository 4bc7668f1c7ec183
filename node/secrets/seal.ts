import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';

const bytes = { key: 32, nonce: 12, tag: 16 } as const;

function keyBytes(keyHex: string): Buffer {
  const key = Buffer.from(keyHex, 'hex');
  if (key.length !== bytes.key || key.toString('hex') !== keyHex.toLowerCase())
    throw new AutogitError('store-corrupt', 'the mesh key is not 32 bytes in hex');
  return key;
}

/** A new mesh key: 32 bytes in hex. */
export const newMeshKey = (): string => randomBytes(bytes.key).toString('hex');

/** Encrypts text with the mesh key: base64 of nonce | ciphertext | tag (AES-256-GCM). Never the same twice. */
export function seal(keyHex: string, text: string): string {
  const nonce = randomBytes(bytes.nonce);
  const cipher = createCipheriv('aes-256-gcm', keyBytes(keyHex), nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

/** Opens what `seal` made. Throws `store-corrupt` when the key is another one or the text was changed. */
export function unseal(keyHex: string, sealed: string): string {
  const key = keyBytes(keyHex);
  const all = Buffer.from(sealed, 'base64');
  try {
    const cipher = createDecipheriv('aes-256-gcm', key, all.subarray(0, bytes.nonce));
    cipher.setAuthTag(all.subarray(all.length - bytes.tag));
    return Buffer.concat([cipher.update(all.subarray(bytes.nonce, all.length - bytes.tag)), cipher.final()]).toString(
      'utf8',
    );
  } catch (cause) {
    throw new AutogitError('store-corrupt', 'a sealed secret does not open with the mesh key of this machine', {
      cause,
      hint: 'the key was rotated or the store is older than the mesh: move the store folder away and join again',
    });
  }
}
