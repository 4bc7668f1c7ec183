import type { ByteName } from '../executors/byte-names.ts';

/** Git's own files end here; an index of a million names has some 100 MiB. */
export const mostIndexBytes = 256 << 20;

const mostNameBytes = 1 << 16;
const cut = new Error('it is cut off or damaged');

/**
 * The names that an index of git tracks, as bytes, and those of them that are submodules (gitformat-index, versions 2 to 4).
 * Throws on what is no index; `hashBytes`: 20, or 32 in a repository of SHA-256.
 */
export function trackedNames(index: Buffer, hashBytes: 20 | 32): { names: Set<ByteName>; links: Set<ByteName> } {
  if (index.length < 12 || index.toString('latin1', 0, 4) !== 'DIRC') throw new Error('it is no index of git');
  const version = index.readUInt32BE(4);
  if (version < 2 || version > 4) throw new Error(`it has version ${version}`);
  const names = new Set<ByteName>();
  const links = new Set<ByteName>();
  let at = 12;
  let last = '';
  for (let left = index.readUInt32BE(8); left > 0; left--) {
    const flagsAt = at + 40 + hashBytes;
    if (flagsAt + 4 > index.length) throw cut;
    const isLink = index.readUInt32BE(at + 24) >>> 12 === 0o16;
    const isExtended = version > 2 && (index.readUInt16BE(flagsAt) & 0x4000) !== 0;
    let nameAt = flagsAt + (isExtended ? 4 : 2);
    let kept = '';
    if (version === 4) {
      const { value, next } = offset(index, nameAt);
      nameAt = next;
      kept = last.slice(0, Math.max(0, last.length - value));
    }
    const end = index.indexOf(0, nameAt);
    if (end < 0) throw cut;
    last = kept + index.toString('latin1', nameAt, end);
    if (last.length > mostNameBytes) throw new Error('it has a name that is too long');
    names.add(last);
    if (isLink) links.add(last);
    // Up to version 3 entries are filled to a multiple of eight, with one zero at least.
    at = version === 4 ? end + 1 : at + Math.ceil((end + 1 - at) / 8) * 8;
  }
  return { names, links };
}

/** How many bytes of the name before are dropped: seven bits a byte, as in packs. */
function offset(index: Buffer, from: number): { value: number; next: number } {
  let at = from;
  let byte = index[at++];
  if (byte === undefined) throw cut;
  let value = byte & 0x7f;
  while (byte & 0x80) {
    byte = index[at++];
    if (byte === undefined || value > 1 << 24) throw cut;
    value = (value + 1) * 128 + (byte & 0x7f);
  }
  return { value, next: at };
}
