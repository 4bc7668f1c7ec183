import { defaultCrypto, nodeCrypto } from '@libp2p/noise/crypto';

/**
 * The cipher of our connections: Node's for short messages, too, for which Noise by itself takes WebAssembly. That has V8 load its optimizing
 * compiler, 4 MiB of each agent, so deploy/left-out.mjs leaves it out. On the wire both are the same.
 */
export const noiseCipher = { ...defaultCrypto, ...nodeCrypto };
