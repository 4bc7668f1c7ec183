import { z } from 'zod';

/**
 * A secret encrypted with the mesh key (AES-256-GCM, base64 of nonce|ciphertext|tag), or for some nodes only
 * (node/secrets/envelope.ts). The core and the store only ever see it sealed; the shell opens it at the moment of use.
 */
export const Sealed = z.string().min(1).max(8192);
export type Sealed = z.infer<typeof Sealed>;
