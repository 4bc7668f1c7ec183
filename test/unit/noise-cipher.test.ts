import { createHash } from 'node:crypto';
import { asCrypto } from '@libp2p/noise/crypto';
import { expect, it, vi } from 'vitest';
import { noiseCipher } from '../../node/network/noise-cipher.ts';

const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => (at * 31 + seed) % 256);
const key = bytes(32, 1);
const nonce = bytes(12, 2);
const whole = (one: { subarray(): Uint8Array }): Uint8Array => Uint8Array.from(one.subarray());

it('reads what an agent of before wrote with the cipher in WebAssembly, and is read by it', () => {
  for (const length of [0, 1, 60, 600, 1199, 1200, 65_519]) {
    const text = bytes(length, 3);
    const extra = bytes(length % 33, 4);
    const ours = whole(noiseCipher.chaCha20Poly1305Encrypt(text, nonce, extra, key));
    const theirs = whole(asCrypto.chaCha20Poly1305Encrypt(text, nonce, extra, key));
    expect(ours).toEqual(theirs);
    expect(whole(noiseCipher.chaCha20Poly1305Decrypt(theirs, nonce, extra, key))).toEqual(text);
  }
});

it('takes no WebAssembly, however short the message', () => {
  const seal = vi.spyOn(asCrypto, 'chaCha20Poly1305Encrypt');
  const open = vi.spyOn(asCrypto, 'chaCha20Poly1305Decrypt');
  const sealed = noiseCipher.chaCha20Poly1305Encrypt(bytes(9, 3), nonce, bytes(0, 0), key);
  noiseCipher.chaCha20Poly1305Decrypt(whole(sealed), nonce, bytes(0, 0), key);
  expect([seal.mock.calls, open.mock.calls]).toEqual([[], []]);
  expect(whole(noiseCipher.hashSHA256(bytes(64, 5)))).toEqual(
    Uint8Array.from(createHash('sha256').update(bytes(64, 5)).digest()),
  );
});

it('refuses what was changed or cut on the way, at each of its bytes', () => {
  const sealed = whole(noiseCipher.chaCha20Poly1305Encrypt(bytes(20, 3), nonce, bytes(8, 4), key));
  for (let at = 0; at < sealed.length; at++) {
    const changed = Uint8Array.from(sealed);
    changed[at] = (changed[at] as number) ^ 1;
    for (const bad of [changed, sealed.subarray(0, at)])
      expect(() => noiseCipher.chaCha20Poly1305Decrypt(bad, nonce, bytes(8, 4), key)).toThrow();
  }
  expect(() => noiseCipher.chaCha20Poly1305Decrypt(sealed, nonce, bytes(8, 5), key)).toThrow();
});
