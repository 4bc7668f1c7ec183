import { constants, deflateRawSync } from 'node:zlib';
import { spareBytes } from './cache-layout.ts';

/** A level of zlib's, or of zstd's; `least`: whatever takes least time for what it saves. */
export type Effort = number | 'least';

/** Of a block so much is looked at, from places all over it. */
const parts = 4;
const partBytes = 4 << 10;
/**
 * Of a block that is packed so much is left at most, else it stays as it is. Huffman's codes alone cost 8 ms of CPU a MiB, and 6 more each time that
 * it is unpacked; a search for repeats is dearer. A quarter of a MiB less is written, read and summed up in 2, and comes in 2 from a LAN of 1 Gbit/s.
 */
const mostLeft = 0.7;

/** Null: it is best left as it is. A block of its own: nothing before it is needed to unpack it. */
export function deflated(bytes: Uint8Array, effort: Effort): Buffer | null {
  // Output in one piece. What would not fit is not smaller, and not taken.
  const chunkSize = bytes.length + spareBytes;
  if (effort !== 'least') return deflateRawSync(bytes, { level: effort, chunkSize });
  const way = wayOf(bytes);
  if (way === 'none') return null;
  // Level five costs three times the time of one, and saves a tenth.
  const strategy = way === 'symbols' ? constants.Z_HUFFMAN_ONLY : constants.Z_DEFAULT_STRATEGY;
  return deflateRawSync(bytes, { level: 1, strategy, chunkSize });
}

/**
 * What packing has a use: `repeats` to look for what was there before; `symbols` only to write frequent bytes shorter, as in
 * text of random letters, which takes a third of the time; `none` for what is packed already. Pure.
 */
export function wayOf(bytes: Uint8Array): 'repeats' | 'symbols' | 'none' {
  const sample = sampleOf(bytes);
  const bySymbols = bytesBySymbols(sample);
  const byRepeats = deflateRawSync(sample, { level: 1, chunkSize: sample.length + spareBytes }).length;
  if (Math.min(byRepeats, bySymbols) > mostLeft * sample.length) return 'none';
  return byRepeats < 0.96 * bySymbols ? 'repeats' : 'symbols';
}

function sampleOf(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= parts * partBytes) return bytes;
  const sample = new Uint8Array(parts * partBytes);
  const step = Math.floor((bytes.length - partBytes) / (parts - 1));
  for (let part = 0; part < parts; part++)
    sample.set(bytes.subarray(part * step, part * step + partBytes), part * partBytes);
  return sample;
}

/** What is left at least when each byte is written by how often it is there (Shannon), and takes a bit. */
function bytesBySymbols(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (let at = 0; at < bytes.length; at++) counts[bytes[at] as number]!++;
  let bits = 0;
  for (const count of counts) if (count > 0) bits += count * Math.log2(bytes.length / count);
  return Math.max(bits, bytes.length) / 8;
}
