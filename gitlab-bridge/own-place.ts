import { isIP } from 'node:net';

/** Where the mesh's own GitLab is at this moment, by addresses. */
interface Place {
  /** For this machine's own calls. */
  address: string;
  /** For containers of this machine, which may outlive a move; null where none is known that does. */
  forContainers: string | null;
}

/** By host name: one a process, but for tests with several agents. Asked at each call, as GitLab moves. */
const places = new Map<string, () => Place | null>();

/** From now on that name is looked up so, whatever this machine's DNS knows; null: by DNS. */
export function lookUpSo(host: string, where: (() => Place | null) | null): void {
  if (where === null) places.delete(host);
  else places.set(host, where);
}

/** Null where nothing is said of that address's name, or nothing is known. */
export function ownPlaceOf(url: string): Place | null {
  return URL.canParse(url) ? (places.get(new URL(url).hostname)?.() ?? null) : null;
}

/** For `http.request`: leads to that address without a question. */
export const lookupOf =
  ({ address }: Place) =>
  (_name: string, { all }: { all?: boolean }, done: (error: null, found: never, family: number) => void): void =>
    done(null, (all ? [{ address, family: isIP(address) }] : address) as never, isIP(address));

/** `http.curloptResolve` of git's: host, port and address. Git before 2.37 reads over it. */
export function gitResolveOf(url: string): string | null {
  const place = ownPlaceOf(url);
  if (place === null) return null;
  const { hostname, port, protocol } = new URL(url);
  const at = place.address.includes(':') ? `[${place.address}]` : place.address;
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}:${at}`;
}

/** The same of http by its address alone, for a git before 2.37; null where nothing is said of that name, or its certificate is for it. */
export function byAddress(url: string): string | null {
  const place = ownPlaceOf(url);
  if (place === null || !url.startsWith('http:')) return null;
  const at = new URL(url);
  at.hostname = place.address.includes(':') ? `[${place.address}]` : place.address;
  return at.origin;
}

/** Lines for the hosts file of a container of a job. */
export const containerHosts = (): string[] =>
  [...places].flatMap(([host, where]) => {
    const address = where()?.forContainers ?? null;
    return address === null ? [] : [`${host}:${address}`];
  });
