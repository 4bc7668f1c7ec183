// What noise encrypts small messages with, by Node's own OpenSSL instead of a WebAssembly module (@chainsafe/as-chacha20poly1305): an agent
// that compiles no WebAssembly takes 3 MiB less, and a heartbeat costs some microseconds more. deploy/bundle.mjs puts it in that one's place.
const { createCipheriv, createDecipheriv } = require('node:crypto');

const name = 'chacha20-poly1305';
const tagBytes = 16;

exports.newInstance = () => null;

exports.ChaCha20Poly1305 = class {
  seal(key, nonce, plaintext, associated) {
    const cipher = createCipheriv(name, key, nonce, { authTagLength: tagBytes });
    cipher.setAAD(associated, { plaintextLength: plaintext.length });
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  /** Null when it was not made with this key. */
  open(key, nonce, sealed, associated) {
    const length = sealed.length - tagBytes;
    if (length < 0) return null;
    const decipher = createDecipheriv(name, key, nonce, { authTagLength: tagBytes });
    decipher.setAAD(associated, { plaintextLength: length });
    decipher.setAuthTag(sealed.subarray(length));
    const plaintext = decipher.update(sealed.subarray(0, length));
    try {
      decipher.final();
    } catch {
      return null;
    }
    return plaintext;
  }
};
