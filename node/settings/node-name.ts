import { limits } from '../../protocol/limits.ts';

/** A host name as a node's name: `Kang.fritz.box` -> `kang`. */
export function nameFromHost(host: string): string {
  const name = (host.split('.')[0] ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, limits.nameChars);
  return name === '' ? 'machine' : name;
}
