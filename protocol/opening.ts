import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * The first frame, both ways, of a mesh stream: "I take you for a member, and this is where I am". Only then is the
 * stream open. The addresses are fresher than the ledger's, above all the evidence port of an agent that restarted.
 */
export const Opening = z.object({
  v: z.literal(1),
  addresses: z.array(z.string().max(256)).max(limits.addresses),
  /** It knows datagrams for beats: it may be offered them. Absent in earlier versions, to which such a frame is rubbish. */
  datagrams: z.boolean().optional(),
});
export type Opening = z.infer<typeof Opening>;

/** Bytes of an opening at most; the frames after it have `limits.frameBytes`. */
export const openingBytes = 8 << 10;

/**
 * A frame that offers datagrams begins with this byte, and no frame of JSON does. Behind it comes a `DatagramOffer` as JSON.
 */
export const datagramOfferByte = 1;

/** Where the sender hears beats of this link as datagrams, and the key that proves them. It is of this stream and ends with it. */
export const DatagramOffer = z.object({
  v: z.literal(1),
  /** UDP port, at the address of the stream's connection. */
  port: z.int().positive().max(65_535),
  /** 32 bytes, Base64. */
  key: z.base64().length(44),
});
export type DatagramOffer = z.infer<typeof DatagramOffer>;

/** Bytes of an offer at most. */
export const datagramOfferBytes = 256;
