import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const bytes = { nonce: 12, tag: 16 } as const;

/** Encrypts text with a key of 32 bytes: nonce | ciphertext | tag (AES-256-GCM). Never the same twice. */
export function encrypt(key: Uint8Array, text: string): Buffer {
  const nonce = randomBytes(bytes.nonce);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/** Opens what `encrypt` made. Throws Node's error when the key is another one or the bytes were changed. */
export function decrypt(key: Uint8Array, box: Uint8Array): string {
  const tagAt = box.length - bytes.tag;
  const cipher = createDecipheriv('aes-256-gcm', key, box.subarray(0, bytes.nonce));
  cipher.setAuthTag(box.subarray(tagAt));
  return Buffer.concat([cipher.update(box.subarray(bytes.nonce, tagAt)), cipher.final()]).toString('utf8');
}
